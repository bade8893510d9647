"""From definitions to a plan; how plans are printed stands in `tests/golden/plans`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tegula as tg
from tegula import agg, calendar, hopping, lifetime, series, sliding, tumbling
from tegula.engine.plan import compile as compile_plan
from tegula.engine.plan import compile_view
from tegula.schemas.codec import collect, dump, load
from tegula.schemas.fingerprints import structural
from tegula.schemas.nodes import Column
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.schemas.zones import periods
from tegula.windows.geometry import (
    Calendar,
    Hopping,
    IncludingInstant,
    Lifetime,
    Series,
    Sliding,
    Tumbling,
)

CARD = tg.Entity("card", keys={"card_id": tg.String, "bank": tg.Int64})
PAYMENTS = tg.Stream(
    "payments",
    schema={
        "card_id": tg.String,
        "bank": tg.Int64,
        "amount": tg.Float64,
        "shop": tg.String,
        "at": tg.Timestamp.of("ms"),
    },
    event_time="at",
    disorder="30s",
    ahead="5m",
    idle_timeout="2m",
    partition_by="card_id",
)
HOUR = sliding("1h")


def view(features=None, **changes):
    whole = {
        "entity": CARD,
        "stream": PAYMENTS,
        "features": features or {"n": agg.count().over(HOUR)},
    }
    return tg.FeatureView("spend", **(whole | changes))


def slots(**features):
    return [slot.name for slot in compile_view(view(features), 1).shape.slots]


def test_a_state_that_features_share_is_kept_once():
    shared = slots(
        spent=agg.sum("amount").over(HOUR),
        spent_1d=agg.sum(pl.col("amount")).over(sliding("1d")),
        mean=agg.mean("amount").over(lifetime()),
        n_amount=agg.count("amount").over(HOUR),
    )
    assert shared == ["count_values(amount)", "sum_float(amount)"]


def test_states_of_different_inputs_are_kept_apart():
    doubled = agg.sum(pl.col("amount") * 2).over(HOUR)
    kept = slots(spent=agg.sum("amount").over(HOUR), doubled=doubled)
    assert [name for name in kept if name.startswith("sum")] == [
        "sum_float(amount)",
        "sum_float(amount * 2)",
    ]


def test_feature_reads_its_states_in_the_order_of_the_aggregates_needs():
    build = compile_view(
        view({"a": agg.max("shop").over(HOUR), "b": agg.mean("amount").over(HOUR)}), 1
    )
    for feature in build.shape.features:
        node = build.inputs[build.shape.slots[feature.slots[0]].input]
        needs = feature.aggregate.needs(node[2], feature.params)
        read = [build.shape.slots[number].monoid for number in feature.slots]
        assert read == [need.monoid for need in needs]


aggregates = st.sampled_from(
    [
        agg.count(),
        agg.count("shop"),
        agg.sum("amount"),
        agg.sum(pl.col("amount") * 2),
        agg.mean("bank"),
        agg.last("at"),
        agg.variance("amount"),
        agg.approx_distinct("shop"),
    ]
)
windows = st.sampled_from([HOUR, sliding("1d", resolution="exact"), tumbling("1d"), lifetime()])
views = st.dictionaries(
    st.from_regex(r"[a-z]{1,3}", fullmatch=True),
    st.tuples(aggregates, windows),
    min_size=1,
    max_size=6,
)


@given(views, st.randoms(use_true_random=False))
def test_law_tiles_hold_the_same_states_in_whatever_order_features_are_written(drawn, random):
    features = {name: spec.over(window) for name, (spec, window) in drawn.items()}
    names = list(features)
    random.shuffle(names)
    one = compile_view(view(features), 1)
    other = compile_view(view({f"x_{name}": features[name] for name in names}), 1)
    assert one.fingerprint == other.fingerprint
    assert one.inputs == other.inputs
    assert one.shape.slots == other.shape.slots
    assert one.shape.coarsening == other.shape.coarsening


@given(views)
def test_law_stored_definitions_compile_to_the_same_plan(drawn):
    features = {name: spec.over(window) for name, (spec, window) in drawn.items()}
    definitions = collect(view(features, where=pl.col("at") < datetime(2100, 1, 1, tzinfo=UTC)))
    again = load(dump(definitions))
    assert compile_plan(again).describe() == compile_plan(definitions).describe()


@pytest.mark.parametrize(
    ("spec", "geometry"),
    [
        (sliding("10m"), Sliding(10 * MINUTE_US, SECOND_US)),
        (sliding("1h"), Sliding(HOUR_US, MINUTE_US)),
        (sliding("2h"), Sliding(2 * HOUR_US, 5 * MINUTE_US)),
        (sliding(timedelta(days=1)), Sliding(DAY_US, HOUR_US)),
        (sliding("30d"), Sliding(30 * DAY_US, DAY_US)),
        (sliding("1h", resolution="exact"), Sliding(HOUR_US, 1)),
        (sliding("1h", resolution="90s"), Sliding(HOUR_US, 90 * SECOND_US)),
        (tumbling("1d"), Tumbling(DAY_US, current=False)),
        (tumbling("1d", current=True), Tumbling(DAY_US, current=True)),
        (lifetime(), Lifetime()),
        (sliding("1d", offset="7d"), Sliding(DAY_US, HOUR_US, 7 * DAY_US)),
        (sliding("1h", resolution="exact", offset="1s"), Sliding(HOUR_US, 1, SECOND_US)),
        (hopping("1h", "5m"), Hopping(HOUR_US, 5 * MINUTE_US)),
        (hopping("1h", "5m", current=True), Hopping(HOUR_US, 5 * MINUTE_US, current=True)),
        (
            series("1d", "12h", 3),
            Series(tuple(Sliding(DAY_US, HOUR_US, n * 12 * HOUR_US) for n in range(3))),
        ),
        (
            series("1h", "1d", 2, resolution="exact", include_instant=True),
            Series(tuple(IncludingInstant(Sliding(HOUR_US, 1, n * DAY_US)) for n in range(2))),
        ),
        (
            calendar("month", tz="Europe/Berlin"),
            Calendar(periods("month", "Europe/Berlin"), True, periods("day", "Europe/Berlin")),
        ),
        (
            calendar("day", tz="UTC", current=False, include_instant=True),
            IncludingInstant(Calendar(periods("day", "UTC"), False, periods("day", "UTC"))),
        ),
        (lifetime(include_instant=True), IncludingInstant(Lifetime())),
        (tumbling("1d", include_instant=True), IncludingInstant(Tumbling(DAY_US))),
    ],
)
def test_window_becomes_its_geometry(spec, geometry):
    build = compile_view(view({"n": agg.count().over(spec)}), 1)
    assert build.shape.features[0].window == geometry


def test_build_holds_what_its_view_and_stream_say():
    build = compile_view(view(where=pl.col("amount") > 0, history="1h", allowed_lateness="2h"), 7)
    assert (build.id, build.view, build.entity, build.stream) == (7, "spend", "card", "payments")
    assert build.entity_keys == (("card_id", tg.String), ("bank", tg.Int64))
    assert build.where is not None
    assert build.shape.depth_us == HOUR_US
    assert build.disorder_us == build.shape.disorder_us == 30 * SECOND_US
    assert build.allowed_lateness_us == 2 * HOUR_US
    same = view(where=pl.col("amount") > 0, allowed_lateness="2h")
    assert build.fingerprint == structural(same)


def test_inputs_have_the_kind_of_what_they_compute():
    build = compile_view(
        view(
            {
                "a": agg.last("at").over(HOUR),
                "b": agg.sum(pl.col("amount") > 3).over(HOUR),
                "c": agg.last("shop").over(HOUR),
                "d": agg.max(pl.col("shop").str.len_chars()).over(HOUR),
            }
        ),
        1,
    )
    assert {name: kind for name, _, kind in build.inputs} == {
        "at": "time",
        "amount > 3": "bool",
        "shop": "string",
        "len_chars(shop)": "int",
    }
    assert build.inputs[1][:2] == ("at", Column("at"))


def test_time_as_a_value_leaves_without_the_logs_unit():
    build = compile_view(view({"a": agg.last("at").over(HOUR)}), 1)
    assert build.shape.features[0].output == tg.Timestamp


def test_stream_is_read_as_it_says():
    stream = compile_plan(collect(view())).stream("payments")
    spans = (stream.disorder_us, stream.ahead_us, stream.idle_timeout_us)
    assert spans == (30 * SECOND_US, 5 * MINUTE_US, 2 * MINUTE_US)
    assert (stream.event_time, stream.partition_by, stream.source) == ("at", "card_id", None)


def test_builds_have_the_numbers_that_the_registry_gave():
    plan = compile_plan(collect(view()), {"spend": 12})
    assert [build.id for build in plan.builds] == [12]
    assert plan.build_of("spend").id == 12


def test_service_lists_a_views_features_in_their_order():
    two = view({"b": agg.count().over(HOUR), "a": agg.count().over(HOUR)})
    other = tg.FeatureView(
        "other", entity=CARD, stream=PAYMENTS, features={"x": agg.count().over(HOUR)}
    )
    plan = compile_plan(collect(tg.FeatureService("s", version=1, features=[other["x"], two])))
    assert plan.services[0].features == (("other", "x"), ("spend", "b"), ("spend", "a"))


def test_service_without_a_version_is_its_newest():
    one = view()
    services = [tg.FeatureService("s", version=v, features=[one]) for v in (2, 10, 9)]
    plan = compile_plan(collect(services))
    newest = plan.service("s")
    assert newest is not None
    assert newest.version == 10
    assert plan.service("s", 9) == plan.services[2]
    assert plan.service("s", 3) is None
    assert plan.service("t") is None
