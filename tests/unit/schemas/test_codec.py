from __future__ import annotations

import json
import types
from datetime import UTC, datetime

import polars as pl
import pytest

import tegula as tg
from tegula import agg, calendar, hopping, last, lifetime, series, session, since, sliding, tumbling
from tegula.schemas.codec import FORMAT, collect, dump, load
from tegula.schemas.definitions import Definitions
from tegula.schemas.errors import FormatUnknown
from tegula.schemas.expressions import lower
from tegula.schemas.fingerprints import operational, structural
from tegula.schemas.nodes import to_json
from tegula.schemas.stored_windows import load_window
from tegula.schemas.validation import validate

CARD = tg.Entity("card", keys={"card_id": tg.String, "bank": tg.Int64}, description="plastic")
PAYMENTS = tg.Stream(
    "payments",
    schema={
        "card_id": tg.String,
        "bank": tg.Int64,
        "amount": tg.Float64,
        "tags": tg.List(tg.String),
        "at": tg.Timestamp.of("ms"),
    },
    event_time="at",
    disorder="90s",
    partition_by="card_id",
    source=tg.Kafka("payments", bootstrap="127.0.0.1:9092"),
    owner="core",
)
SPEND = tg.FeatureView(
    "spend",
    entity=CARD,
    stream=PAYMENTS,
    where=(pl.col("amount") > 0) & (pl.col("at").dt.hour() < 22) & pl.col("bank").is_in([2, 1]),
    features={
        "n": agg.count().over(sliding("60m")),
        "large": agg.sum(pl.col("amount") * 1.5).over(sliding("7d", resolution="exact")),
        "recent": agg.mean("amount").over(sliding("1d", resolution="5m"), default=0.5),
        "often": agg.rate(per="60s", where=pl.col("amount") > 9).over(sliding("7d")),
        "together": agg.covariance("amount", pl.col("bank") + 1).over(sliding("7d")),
        "by_bank": agg.sum("amount", by=pl.col("bank") + 1, where=pl.col("amount") > 0, cap=7).over(
            sliding("1d"), default={"1": 0.0}
        ),
        "tags": agg.union("tags", where=pl.col("amount") > 0).over(sliding("60m")),
        "each": agg.count(by="bank").over(sliding("1d")),
        "spread": agg.stddev("amount", ddof=0).over(tumbling("1d", current=True)),
        "last_at": agg.last("at").over(lifetime(), description="when it was seen last"),
        "week_before": agg.count().over(sliding("7d", offset="168h")),
        "by_hour": agg.count().over(hopping("1d", "60m")),
        "this_hour": agg.count().over(hopping("1d", "1h", current=True, include_instant=True)),
        "by_day": agg.sum("amount").over(series("1d", "24h", 7, resolution="60m")),
        "by_clock": agg.count().over(calendar("week", tz="Asia/Kathmandu")),
        "last_year": agg.count().over(calendar("year", tz="UTC", current=False)),
        "own_day": agg.count().over(calendar("day", tz=pl.col("card_id").fill_null("UTC"))),
        "seen": agg.count().over(lifetime(include_instant=True)),
        "of_5": agg.sum("amount").over(last(5, include_instant=True)),
        "of_2_before": agg.sum("amount").over(last(2, within="24h", skip=1)),
        "since_big": agg.count().over(since(pl.col("amount") > 20, cap=50)),
        "session": agg.max("at").over(session("30m", lateness="24h")),
        "today": agg.count().over(tumbling("1d", include_instant=True)),
    },
    allowed_lateness="1h",
)
AT = datetime(2024, 1, 1, tzinfo=UTC)
FRAUD = tg.FeatureService("fraud", version=2, features=[SPEND["n"], SPEND["large"]])
WHOLE = tg.FeatureService("fraud", version=3, features=[SPEND], owner="risk")


@pytest.fixture
def definitions() -> Definitions:
    return validate(collect(FRAUD, WHOLE))


def test_stored_definitions_come_back_the_same(definitions):
    stored = json.loads(json.dumps(dump(definitions)))
    again = validate(load(stored))
    assert dump(again) == dump(definitions)
    assert again.entities == definitions.entities
    assert structural(again.views[0]) == structural(SPEND)
    assert operational(again.views[0]) == operational(SPEND)


def test_loaded_expressions_compute_the_same(definitions):
    frame = pl.DataFrame(
        {
            "amount": [1.0, -1.0, 3.0],
            "bank": [1, 2, 3],
            "at": [datetime(2024, 1, 1, tzinfo=UTC)] * 3,
        }
    )
    again = load(dump(definitions)).views[0]
    assert frame.select(again.where).equals(frame.select(SPEND.where))


def test_stored_form_of_another_version_is_refused(definitions):
    stored = dump(definitions)
    with pytest.raises(FormatUnknown, match="format 99"):
        load(stored | {"format": 99})
    assert stored["format"] == FORMAT


def test_stored_windows_are_spelled_one_way(definitions):
    stored = dict(dump(definitions)["views"][0]["features"])
    assert stored["n"]["window"] == {"kind": "sliding", "length": "1h", "resolution": "auto"}
    assert stored["week_before"]["window"]["offset"] == "7d"
    assert stored["by_hour"]["window"] == {
        "kind": "hopping",
        "size": "1d",
        "hop": "1h",
        "current": False,
    }
    assert stored["of_5"]["window"] == {"kind": "last", "count": 5, "include_instant": True}
    assert stored["of_2_before"]["window"] == {
        "kind": "last",
        "count": 2,
        "within": "1d",
        "skip": 1,
    }
    assert stored["session"]["window"] == {"kind": "session", "gap": "30m", "lateness": "1d"}
    assert stored["since_big"]["window"]["kind"] == "since"
    assert stored["by_day"]["window"] == {
        "kind": "series",
        "length": "1d",
        "step": "1d",
        "count": 7,
        "resolution": "1h",
    }
    assert stored["by_clock"]["window"] == {
        "kind": "calendar",
        "unit": "week",
        "tz": "Asia/Kathmandu",
        "current": True,
    }
    assert stored["own_day"]["window"]["kind"] == "zoned_calendar"
    assert stored["own_day"]["window"]["tz"] == to_json(lower(pl.col("card_id").fill_null("UTC")))
    assert stored["seen"]["window"] == {"kind": "lifetime", "include_instant": True}


def test_stored_window_of_an_unknown_kind_is_refused_and_not_taken_for_another():
    with pytest.raises(FormatUnknown, match="a window of the kind lunar"):
        load_window({"kind": "lunar"})


def test_collect_finds_all_that_a_service_refers_to():
    assert collect(FRAUD) == Definitions((CARD,), (PAYMENTS,), (SPEND,), (FRAUD,))


def test_collect_looks_through_modules_in_order_and_passes_over_the_rest():
    module = types.ModuleType("features")
    module.np, module.HOUR, module.entity, module.payments = pl, 3600, CARD, PAYMENTS
    module.views = SPEND
    assert collect(module) == Definitions((CARD,), (PAYMENTS,), (SPEND,), ())


def test_collect_takes_a_definition_once_however_often_it_is_found():
    same_card = tg.Entity("card", keys=dict(CARD.keys), description="plastic")
    assert collect([CARD, same_card], {"a": SPEND}, SPEND, collect(SPEND)) == collect(CARD, SPEND)


def test_collect_keeps_different_definitions_of_one_name():
    other = tg.Entity("card", keys={"card_id": tg.Int64})
    assert collect(CARD, other).entities == (CARD, other)
