"""Which changes need a new build, and which do not."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula import agg, calendar, hopping, last, series, session, since, sliding, tumbling
from tegula.schemas import fingerprints
from tegula.schemas.civil import Clock, civil_periods
from tegula.schemas.fingerprints import operational, structural, structure
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US

SCHEMA = {"card_id": tg.String, "shop": tg.String, "amount": tg.Float64, "at": tg.Timestamp}
FEATURES = {
    "n": agg.count().over(sliding("1h")),
    "spent": agg.sum("amount").over(sliding("1d")),
}


def view(stream: dict[str, Any] | None = None, **changes: Any) -> tg.FeatureView:
    payments: dict[str, Any] = {"schema": SCHEMA, "event_time": "at"}
    whole: dict[str, Any] = {
        "entity": tg.Entity("card", keys={"card_id": tg.String}),
        "stream": tg.Stream(changes.pop("stream_name", "payments"), **(payments | (stream or {}))),
        "where": pl.col("amount") > 0,
        "features": FEATURES,
    }
    return tg.FeatureView(changes.pop("name", "spend"), **(whole | changes))


def features(**changes: Any) -> tg.FeatureView:
    return view(features=FEATURES | changes)


SAME = {
    "features in another order": view(features=dict(reversed(FEATURES.items()))),
    "columns in another order": view({"schema": dict(reversed(SCHEMA.items()))}),
    "an input spelled as an expression": features(
        spent=agg.sum(pl.col("amount")).over(sliding("1d"))
    ),
    "a span spelled otherwise": features(spent=agg.sum("amount").over(sliding(timedelta(days=1)))),
    "no offset, said aloud": features(n=agg.count().over(sliding("1h", offset="0h"))),
    "a constant of another width": view(where=pl.col("amount") > pl.lit(0, dtype=pl.Int16)),
}

OPERATIONAL = {
    "owner": view(owner="risk"),
    "description": view(description="what a card spends"),
    "history": view(history="1h"),
    "disorder": view({"disorder": "1m"}),
    "source": view({"source": tg.Kafka("payments")}),
    "partition column": view({"partition_by": "card_id"}),
    "a column that is not read": view({"schema": SCHEMA | {"note": tg.String}}),
    "unit of time in the log": view({"schema": SCHEMA | {"at": tg.Timestamp.of("ms")}}),
    "another name for a feature": view(
        features={"count": FEATURES["n"], "spent": FEATURES["spent"]}
    ),
    "default": features(n=agg.count().over(sliding("1h"), default=0)),
    "the same aggregate over a window that is there": features(
        spent_1h=agg.sum("amount").over(sliding("1h"))
    ),
}

STRUCTURAL = {
    "allowed lateness": view(allowed_lateness="1h"),
    "where": view(where=pl.col("amount") >= 0),
    "no where": view(where=None),
    "a constant of another type": view(where=pl.col("amount") > 0.0),
    "another input": features(spent=agg.sum(pl.col("amount") * 2).over(sliding("1d"))),
    "another aggregate": features(spent=agg.max("amount").over(sliding("1d"))),
    "one aggregate more": features(least=agg.min("amount").over(sliding("1h"))),
    "a parameter": features(spent=agg.variance("amount", ddof=0).over(sliding("1d"))),
    "a longer window": features(n=agg.count().over(sliding("7d"))),
    "a finer resolution": features(n=agg.count().over(sliding("1h", resolution="exact"))),
    "an offset": features(n=agg.count().over(sliding("1h", offset="1h"))),
    "the instant included": features(n=agg.count().over(sliding("1h", include_instant=True))),
    "a window that hops": features(n=agg.count().over(hopping("1h", "5m"))),
    "the last events": features(n=agg.count().over(last(5))),
    "more of the last events": features(n=agg.count().over(last(6))),
    "the last events of a day": features(n=agg.count().over(last(5, within="1d"))),
    "the last events before the newest": features(n=agg.count().over(last(5, skip=1))),
    "a match": features(n=agg.count().over(since(pl.col("amount") > 1))),
    "another match": features(n=agg.count().over(since(pl.col("amount") > 2))),
    "a session": features(n=agg.count().over(session("30m"))),
    "a longer gap": features(n=agg.count().over(session("31m"))),
    "a series": features(n=agg.count().over(series("1h", "1h", 3))),
    "a longer series": features(n=agg.count().over(series("1h", "1h", 4))),
    "a window by the clock": features(n=agg.count().over(calendar("day", tz="UTC"))),
    "a window by each key's clock": features(
        n=agg.count().over(calendar("day", tz=pl.col("shop")))
    ),
    "another column of clocks": features(
        n=agg.count().over(calendar("day", tz=pl.col("shop").fill_null("UTC")))
    ),
    "a category": features(spent=agg.sum("amount", by="shop").over(sliding("1d"))),
    "another kind of window": features(n=agg.count().over(tumbling("1h"))),
    "the key": view(entity=tg.Entity("card", keys={"shop": tg.String})),
    "one key column more": view(
        entity=tg.Entity("card", keys={"card_id": tg.String, "shop": tg.String})
    ),
    "the stream": view(stream_name="refunds"),
    "the type of a column that is read": view({"schema": SCHEMA | {"amount": tg.Int64}}),
    "event time": view({"schema": SCHEMA | {"seen": tg.Timestamp}, "event_time": "seen"}),
}


@pytest.mark.parametrize("change", SAME)
def test_spelling_changes_no_fingerprint(change):
    assert structural(SAME[change]) == structural(view())
    if change != "columns in another order":
        assert operational(SAME[change]) == operational(view())


@pytest.mark.parametrize("change", OPERATIONAL)
def test_operational_change_leaves_the_state_as_it_is(change):
    assert structural(OPERATIONAL[change]) == structural(view())
    assert operational(OPERATIONAL[change]) != operational(view())


@pytest.mark.parametrize("change", STRUCTURAL)
def test_structural_change_needs_a_new_build(change):
    assert structural(STRUCTURAL[change]) != structural(view())
    assert operational(STRUCTURAL[change]) != operational(view())


def test_another_cap_leaves_the_state_as_it_is_and_another_category_does_not():
    one, other, third = (
        features(spent=agg.sum("amount", by=by, cap=cap).over(sliding("1d")))
        for by, cap in (("shop", 100), ("shop", 5), ("card_id", 5))
    )
    assert structural(one) == structural(other) != structural(third)
    assert operational(one) != operational(other)


def test_order_of_key_columns_is_structural_because_keys_are_encoded_in_it():
    keys = {"card_id": tg.String, "shop": tg.String}
    one = view(entity=tg.Entity("card", keys=keys))
    other = view(entity=tg.Entity("card", keys=dict(reversed(keys.items()))))
    assert structural(one) != structural(other)


def test_structure_tells_what_a_fingerprint_covers():
    told = structure(view())
    assert told["columns"] == {"amount": "Float64"}
    assert {one["name"] for one in told["aggregates"]} == {"sum", "count"}
    assert len(told["windows"]) == 2


def by_clock(monkeypatch: pytest.MonkeyPatch, *changes: tuple[str, int]) -> str:
    """The fingerprint of a view by the clock, where clocks were changed at these instants (UTC)."""
    since = [-80 * 366 * DAY_US]
    since += [int(datetime.fromisoformat(at).timestamp()) * 1_000_000 for at, _ in changes]
    clock = Clock(np.array(since), np.array([0, *(ahead_us for _, ahead_us in changes)]))
    made = civil_periods("day", "UTC", clock)
    monkeypatch.setattr(fingerprints, "periods", lambda unit, zone: made)
    return structural(features(n=agg.count().over(calendar("day", tz="UTC"))))


def test_changed_time_zone_is_structural_where_tiles_rest_on_it(monkeypatch):
    one = by_clock(monkeypatch, ("2024-03-31T01Z", HOUR_US), ("2024-10-27T01Z", 0))
    moved = by_clock(monkeypatch, ("2024-04-07T01Z", HOUR_US), ("2024-10-20T01Z", 0))
    assert moved == one  # other edges, on the same grid and within the same reach
    finer = by_clock(monkeypatch, ("2024-03-31T01Z", 30 * MINUTE_US), ("2024-10-27T01Z", 0))
    longer = by_clock(monkeypatch, ("2024-03-31T01Z", 2 * HOUR_US), ("2024-10-27T01Z", 0))
    assert len({one, finer, longer}) == 3


STORED_STRUCTURE = (
    '{"aggregates":['
    '{"input":null,"name":"count","params":{}},'
    '{"input":{"column":"amount"},"name":"sum","params":{}}],'
    '"columns":{"amount":"Float64"},'
    '"event_time":"at",'
    '"key":[["card_id",{"type":"String"}]],'
    '"stream":"payments",'
    '"where":{"args":[{"column":"amount"},{"literal":0,"type":"Int64"}],"op":"gt"},'
    '"windows":['
    '{"kind":"sliding","length":"1d","resolution":"auto"},'
    '{"kind":"sliding","length":"1h","resolution":"auto"}]}'
)


def test_golden_structural_fingerprint():
    # If this fails, no state that was ever built fits its definition any more: write a migration.
    assert structural(view()) == blake2b(STORED_STRUCTURE.encode(), digest_size=16).hexdigest()
