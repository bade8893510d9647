"""Validation as a whole; what each fault says stands in `tests/golden/errors`."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tegula as tg
from tegula import agg, sliding
from tegula.schemas.codec import collect
from tegula.schemas.definitions import Definitions
from tegula.schemas.errors import DefinitionErrors, DefinitionFault
from tegula.schemas.validation import faults, validate

CARD = tg.Entity("card", keys={"card_id": tg.String})
PAYMENTS = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "amount": tg.Float64, "at": tg.Timestamp},
    event_time="at",
)


def view(**changes):
    whole = {"entity": CARD, "stream": PAYMENTS, "features": {"n": agg.count().over(sliding("1h"))}}
    return tg.FeatureView("spend", **(whole | changes))


def test_definitions_without_fault_pass_unchanged():
    definitions = collect(tg.FeatureService("fraud", version=1, features=[view()]))
    assert validate(definitions) is definitions


def test_nothing_defined_is_no_fault():
    assert validate(Definitions()) == Definitions()


def test_all_faults_are_reported_together():
    wrong = view(
        where=pl.col("amout") > 0,
        history="soon",
        features={"A": agg.count(), "b": agg.sum("card_id").over(sliding("0s"))},
    )
    with pytest.raises(DefinitionErrors) as raised:
        validate(collect(wrong))
    codes = [fault.code for fault in raised.value.faults]
    assert codes == ["TG-106", "TG-103", "TG-101", "TG-114", "TG-106", "TG-104"]


def test_fault_of_a_stream_is_reported_once_not_for_every_view():
    stream = tg.Stream("payments", schema={"card_id": str, "at": tg.Timestamp}, event_time="at")
    views = [
        tg.FeatureView(
            name,
            entity=CARD,
            stream=stream,
            features={"n": agg.count("card_id").over(sliding("1h"))},
        )
        for name in ("a", "b")
    ]
    assert [fault.code for fault in faults(collect(views))] == ["TG-117"]


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.just(object()),
    st.just(len),
    st.just(int),
    st.just(CARD),
    st.just(PAYMENTS),
    st.just(view()),
    st.just(pl.col("amount")),
    st.just(pl.col("amount").sum()),
    st.just(tg.String),
    st.just(agg.count()),
    st.just(agg.sum(None).over(None)),
    st.just(sliding("1h")),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.one_of(st.integers(), st.text(max_size=3)), st.none(), max_size=2),
)


@given(st.data())
def test_law_validation_reports_whatever_it_is_given(data):
    def some(right):
        return data.draw(st.one_of(st.just(right), anything))

    entity = tg.Entity(some("card"), keys=some({"card_id": tg.String}), description=some(""))
    stream = tg.Stream(
        some("payments"),
        schema=some({"card_id": tg.String, "at": some(tg.Timestamp)}),
        event_time=some("at"),
        disorder=some("0s"),
        partition_by=some(None),
        source=some(tg.Kafka(some("payments"), format=some("json"))),
    )
    spec = agg.sum(some("amount"))
    window = tg.sliding(some("1h"), resolution=some("auto"))
    feature = some(spec.over(some(window), default=some(None)))
    one = tg.FeatureView(
        some("spend"),
        entity=some(entity),
        stream=some(stream),
        features=some({data.draw(st.sampled_from(["n", "N", 7, None])): feature})
        if data.draw(st.booleans())
        else {"n": feature},
        where=some(None),
    )
    service = tg.FeatureService(some("s"), version=some(1), features=some([some(one), one["n"]]))
    found = faults(Definitions((entity,), (stream,), (one,), (service,)))
    assert all(isinstance(fault, DefinitionFault) and fault.where for fault in found)
    told = "".join(map(str, found))
    assert "\n" not in told
    assert " at 0x" not in told
