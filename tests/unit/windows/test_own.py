"""The handle of a user's own aggregate: what it says of itself, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import tegula as tg
from tegula import agg, sliding
from tegula.schemas.codec import collect, dump, load
from tegula.schemas.errors import DefinitionErrors
from tegula.schemas.fingerprints import operational, structural
from tegula.schemas.own import OwnAggregate, signature_of
from tegula.schemas.params import Whole
from tegula.schemas.types import DataType
from tegula.schemas.validation import faults, validate
from tegula.testing import laws
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import StateField, StateNeed
from tegula.windows.own import own_aggregate
from tests.support.own import HOUR_US, HourBits, HoursSeen

HOURS = own_aggregate(HoursSeen(), version=1)
CARD = tg.Entity("card", keys={"card_id": tg.String})
PAYMENTS = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "amount": tg.Float64, "at": tg.Timestamp.of("ms")},
    event_time="at",
)


def view(*, name: str = "spend", **features: Any) -> tg.FeatureView:
    return tg.FeatureView(name, entity=CARD, stream=PAYMENTS, features=features)


def feature(handle: OwnAggregate, column: Any = "at", **options: Any) -> tg.Feature:
    return handle(column, **options).over(sliding("7d"))


def codes_of(*views: tg.FeatureView) -> list[str]:
    return [fault.code for fault in faults(collect(*views))]


def built_on(*monoids: Any, name: str = "mine", kind: str = "time") -> Any:
    """An aggregate that needs these states."""

    @dataclass(frozen=True)
    class Made(HoursSeen):
        name: str = "mine"

        def needs(self, input_kind, params):
            if input_kind != kind:
                raise tg.errors.UnsupportedInput("no")
            return tuple(map(StateNeed, monoids))

    return Made(name=name)


def test_handle_knows_where_it_stands_and_what_it_takes():
    assert (HOURS.name, HOURS.version, HOURS.module) == ("hours_seen", 1, "tests.support.own")
    assert own_aggregate(HoursSeen(), version=1, module=__name__).module == __name__
    assert HOURS.signature is not None
    assert HOURS.signature.kinds == {"time"}
    assert HOURS.signature.second is None
    assert not HOURS.signature.optional
    assert HOURS.signature.varying == frozenset()
    assert HOURS.signature.output(tg.Timestamp.of("ms")) == tg.Int64


def test_aggregate_of_lists_cannot_be_ones_own():
    _, fault = own_aggregate(AGGREGATES["union"], version=1).faults
    assert "takes no input at all" in fault.message


@pytest.mark.parametrize("name", sorted(AGGREGATES.keys() - {"union"}))
def test_handle_of_every_shipped_aggregate_says_what_its_signature_says(name):
    known = agg.SIGNATURES[name]
    one: Any = AGGREGATES[name]
    params = {{"cap": "most"}.get(param, param): one for param, one in known.params.items()}
    (taken,) = own_aggregate(one, version=1, params=params).faults
    assert "already" in taken.message

    class Renamed:
        """Another name for the same."""

        name = "another"

        def __getattr__(self, attribute: str) -> Any:
            return getattr(one, attribute)

    found = own_aggregate(Renamed(), version=1, params=params).signature
    assert found is not None
    assert found.kinds == known.kinds
    assert found.second == known.second
    assert found.optional == known.optional
    assert found.varying == known.varying & found.kinds
    for dtype in (tg.Float64, tg.Int64, tg.Bool, tg.String, tg.Timestamp):
        if dtype.kind in known.kinds:
            assert found.output(dtype) == known.output(dtype)


def test_handle_is_called_as_the_aggregates_of_agg_are():
    spec = HOURS("at", where="online", by="merchant", cap=7)
    assert (spec.name, spec.input, spec.where, spec.by, spec.cap) == (
        "hours_seen",
        "at",
        "online",
        "merchant",
        7,
    )
    assert spec.own is HOURS
    assert signature_of(spec) is HOURS.signature
    pair = own_aggregate(built_on(HourBits(), kind="float,int"), version=1)
    assert pair.signature is not None
    assert pair.signature.second == {"int"}
    assert pair("amount", "at").input == ("amount", "at")


def test_parameters_have_defaults_and_are_judged():
    handle = own_aggregate(HoursSeen(), version=1, params={"n": Whole(9, 3)})
    assert handle("at").params == {"n": 3}
    assert handle("at", n=4).params == {"n": 4}
    assert codes_of(view(n=feature(handle, n=4))) == []
    assert codes_of(view(n=feature(handle, n=10))) == ["TG-116"]
    assert codes_of(view(n=feature(handle, m=1))) == ["TG-116"]
    assert codes_of(view(n=feature(HOURS, n=1))) == ["TG-116"]


@pytest.mark.parametrize(
    ("handle", "code", "said"),
    [
        (own_aggregate(HoursSeen("sum"), version=1), "TG-102", "Tegula has an aggregate 'sum'"),
        (own_aggregate(HoursSeen(), version=0), "TG-116", "version=0"),
        (own_aggregate(HoursSeen(), version=True), "TG-116", "version=True"),
        (own_aggregate(HoursSeen("Hours"), version=1), "TG-101", "cannot be used"),
        (own_aggregate(object(), version=1), "TG-120", "without name, needs, output"),  # type: ignore[arg-type]
        (own_aggregate(built_on(), version=1), "TG-120", "no input at all"),
        (own_aggregate(built_on(7), version=1), "TG-120", "not a state"),
        (own_aggregate(built_on(HourBits(name="sum_int")), version=1), "TG-102", "formats"),
        (
            own_aggregate(built_on(HourBits(), replace(HourBits(), version=2)), version=1),
            "TG-102",
            "formats",
        ),
        (
            own_aggregate(HoursSeen(), version=1, params={"by": Whole(9, 3)}),
            "TG-102",
            "cannot be called 'by'",
        ),
    ],
)
def test_what_is_wrong_with_an_aggregate_is_a_fault_of_the_feature(handle, code, said):
    found = faults(collect(view(n=feature(handle), m=agg.sum("card_id").over(sliding("1h")))))
    assert [fault.code for fault in found] == [code, "TG-104"]  # both are reported
    assert said in str(found[0])
    assert "view 'spend', feature 'n'" in found[0].where


def test_states_that_do_not_compare_are_a_fault():
    class Forgetful(HoursSeen):
        def needs(self, input_kind, params):
            class Bits(HourBits):
                pass

            (need,) = super().needs(input_kind, params)
            return (replace(need, monoid=Bits()),)

    (fault,) = own_aggregate(Forgetful(), version=1).faults
    assert fault.code == "TG-120"
    assert "frozen" in fault.hint


def test_input_of_another_type_is_a_fault():
    assert codes_of(view(n=feature(HOURS, "amount"))) == ["TG-104"]
    assert codes_of(view(n=feature(HOURS, None))) == ["TG-104"]


def test_two_versions_in_one_set_are_a_fault():
    other = own_aggregate(HoursSeen(), version=2)
    assert codes_of(view(a=feature(HOURS), b=feature(HOURS))) == []
    assert codes_of(view(a=feature(HOURS)), view(name="more", b=feature(other))) == ["TG-102"]


def stored(definition: tg.FeatureView) -> dict[str, Any]:
    return dump(validate(collect(definition)))


def test_stored_definitions_name_the_aggregate_and_come_back():
    whole = stored(view(n=feature(HOURS)))
    named = whole["views"][0]["features"][0][1]["aggregate"]["own"]
    assert named == {"version": 1, "module": "tests.support.own", "format": HOURS.format}
    bare = load(whole)
    assert dump(bare) == whole
    own = bare.views[0].features["n"].aggregate.own
    assert own == HOURS
    assert own is not None
    with pytest.raises(tg.TegulaError, match="TG-605"):
        own.resolved()
    assert dump(load(whole, {HOURS: HOURS}.__getitem__)) == whole


def test_fingerprint_changes_with_version_and_format_and_not_with_the_module():
    one = view(n=feature(HOURS))
    moved = view(n=feature(own_aggregate(HoursSeen(), version=1, module="elsewhere")))
    newer = view(n=feature(own_aggregate(HoursSeen(), version=2)))
    wider = HoursSeen(state=replace(HourBits(), fields=(StateField("bits", "<u8"),)))
    other = view(n=feature(own_aggregate(wider, version=1)))
    assert structural(moved) == structural(one)
    assert operational(moved) != operational(one)
    assert len({structural(each) for each in (one, newer, other)}) == 3
    bare = load(stored(one)).views[0]
    assert (structural(bare), operational(bare)) == (structural(one), operational(one))


def test_faulty_aggregate_is_refused_by_the_driver():
    with pytest.raises(DefinitionErrors, match="TG-102"):
        tg.TestDriver(view(n=feature(own_aggregate(HoursSeen("mean"), version=1))))


def test_own_aggregate_in_the_driver_everywhere_it_can_stand():
    hours = {
        "plain": feature(HOURS),
        "where": HOURS("at", where="amount").over(sliding("7d")),
        "last": HOURS("at").over(tg.last(2)),
        "open": HOURS("at").over(tg.session("2h")),
        "since": HOURS("at").over(tg.since("amount")),
        "day": HOURS("at").over(tg.calendar("day", tz="UTC")),
        "series": HOURS("at").over(tg.series("6h", step="6h", count=3)),
        "shops": HOURS("at", by="card_id").over(sliding("7d")),
    }
    stream = replace(PAYMENTS, schema={**PAYMENTS.schema, "amount": tg.Bool, "at": tg.Timestamp})
    spend = tg.FeatureView("spend", entity=CARD, stream=stream, features=hours)
    sent = [("01:10", True), ("01:20", False), ("05:00", True), ("11:00", False), ("11:30", True)]
    events = [{"card_id": "c", "amount": is_on, "at": f"2024-05-01T{at}:00Z"} for at, is_on in sent]
    with tg.TestDriver(spend, at="2024-05-01T12:00:00Z") as driver:
        driver.send("payments", events)
        right = {
            "spend:plain": 3,
            "spend:where": 3,
            "spend:last": 1,
            "spend:open": 1,
            "spend:since": 0,
            "spend:day": 3,
            "spend:series": [1, 2, 0],
            "spend:shops": {"c": 3},
        }
        assert driver.online(spend, {"card_id": "c"}) == right
        many = driver.read(spend, {"card_id": ["c", "d"]}).values
        assert {name: values[0] for name, values in many.items()} == right
        assert driver.offline(spend, {"card_id": "c"}) == right
        driver.crash()
        driver.restart()
        assert driver.online(spend, {"card_id": "c"}) == right
        driver.backfill("spend")
        assert driver.online(spend, {"card_id": "c"}) == right


def test_changed_version_is_built_anew_while_the_other_goes_on():
    class Halves(HoursSeen):
        def finish(self, states, params):
            values, codes = super().finish(states, params)
            return values // 2, codes

        def finish_one(self, states, params):
            return super().finish_one(states, params) // 2

    before, after = (
        view(n=feature(own_aggregate(one, version=version)))
        for version, one in ((1, HoursSeen()), (2, Halves()))
    )
    hours = np.arange(6) * 3_600_000 + 1_714_521_600_000
    events = [{"card_id": "c", "amount": 1.0, "at": int(at)} for at in hours]
    with tg.TestDriver(before, at="2024-05-02T00:00:00Z") as driver:
        driver.send("payments", events)
        assert driver.online(before, {"card_id": "c"}) == {"spend:n": 6}
        driver.apply(after)
        assert driver.online(after, {"card_id": "c"}) == {"spend:n": 6}
        driver.backfill("spend")
        assert driver.online(after, {"card_id": "c"}) == {"spend:n": 3}


def test_types_of_outputs_are_asked_of_the_implementation():
    class Newest(HoursSeen):
        def output(self, input_type: DataType | None, params: Any) -> DataType:
            assert input_type is not None
            return input_type

    found = own_aggregate(Newest(), version=1).signature
    assert found is not None
    assert found.output(tg.Timestamp.of("ms")) == tg.Timestamp


@dataclass(frozen=True)
class HoursAhead(HoursSeen):
    """Hours seen, less the hour of the day at which they are read."""

    name: str = "hours_ahead"

    def finish_at(self, states, params, reading):
        values, codes = HoursSeen.finish(self, states, params)
        return values - reading.at_us // HOUR_US % 24, codes

    def finish_one_at(self, states, params, reading):
        return HoursSeen.finish_one(self, states, params) - reading.at_us // HOUR_US % 24


def test_own_aggregate_may_look_at_the_instant_of_reading():
    handle = own_aggregate(HoursAhead(), version=1)
    assert handle.faults == ()
    laws.check(handle, examples=10)
    spend = view(n=feature(handle))
    events = [
        {"card_id": "c", "amount": 1.0, "at": 1_714_521_600_000 + h * 3_600_000} for h in (1, 3)
    ]
    with tg.TestDriver(spend, at="2024-05-01T05:00:00Z") as driver:
        driver.send("payments", events)
        assert driver.online(spend, {"card_id": "c"}) == {"spend:n": 2 - 5}
        driver.advance_to("2024-05-01T07:30:00Z")
        assert driver.online(spend, {"card_id": "c"}) == {"spend:n": 2 - 7}
