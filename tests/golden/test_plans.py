"""Plans as they are printed: a change here is a change of what the engine keeps or reads."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

import tegula as tg
from tegula import agg, calendar, hopping, last, lifetime, series, session, since, sliding, tumbling
from tegula.engine.plan import compile as compile_plan
from tegula.schemas.codec import collect
from tegula.schemas.validation import validate

CARD = tg.Entity("card", keys={"card_id": tg.String})
PAYMENTS = tg.Stream(
    "payments",
    schema={
        "card_id": tg.String,
        "merchant": tg.String,
        "amount": tg.Float64,
        "items": tg.Int64,
        "tags": tg.List(tg.String),
        "at": tg.Timestamp,
    },
    event_time="at",
    disorder="30s",
    source=tg.Kafka(topic="payments", format="json"),
)
SPEND = tg.FeatureView(
    "spend",
    entity=CARD,
    stream=PAYMENTS,
    where=pl.col("amount") > 0,
    features={
        "payments_10m": agg.count().over(sliding("10m")),
        "spent_1h": agg.sum("amount").over(sliding("1h")),
        "merchants_30d": agg.approx_distinct("merchant").over(sliding("30d")),
    },
    owner="risk",
)
EVERY_AGGREGATE = tg.FeatureView(
    "every_aggregate",
    entity=CARD,
    stream=PAYMENTS,
    features={
        "n": agg.count().over(sliding("1h")),
        "n_amount": agg.count("amount").over(sliding("1h")),
        "total": agg.sum("amount").over(sliding("1h")),
        "items": agg.sum("items").over(sliding("1h")),
        "mean": agg.mean("amount").over(sliding("1d")),
        "least": agg.min("amount").over(sliding("1d"), default=0.0),
        "greatest": agg.max("items").over(sliding("1d")),
        "variance": agg.variance("amount").over(sliding("7d")),
        "deviation": agg.stddev("amount", ddof=0).over(sliding("7d")),
        "first": agg.first("merchant").over(sliding("7d")),
        "last": agg.last("at").over(sliding("7d")),
        "merchants": agg.approx_distinct("merchant").over(sliding("7d")),
        "large": agg.count(where=pl.col("amount") > 100).over(sliding("1h")),
        "same": agg.count_if(pl.col("amount") > 100).over(sliding("1d")),
        "any_large": agg.any(pl.col("amount") > 100).over(sliding("1d")),
        "all_large": agg.all(pl.col("amount") > 100).over(sliding("1d")),
        "mean_large": agg.mean("items", where=pl.col("amount") > 100).over(sliding("1d")),
        "per_minute": agg.rate(per="60s").over(sliding("1h")),
        "spread": agg.range("amount").over(sliding("1d")),
        "fall": agg.drawdown("amount").over(sliding("1d")),
        "skew": agg.skew("amount").over(sliding("1d")),
        "kurtosis": agg.kurtosis("amount").over(sliding("1d")),
        "covariance": agg.covariance("amount", "items").over(sliding("1d")),
        "correlation": agg.correlation("amount", "items").over(sliding("1d")),
        "weighted": agg.weighted_mean("amount", "items", where=pl.col("items") > 0).over(
            sliding("1d")
        ),
        "ratio": agg.ratio("amount", "items").over(sliding("1d")),
        "together": agg.vector_sum(["amount", "items", pl.col("amount") * 2]).over(sliding("1d")),
        "middle": agg.vector_mean(["amount", "items"]).over(sliding("1d")),
        "since_first": agg.time_since_first().over(sliding("1d")),
        "since_last": agg.time_since_last(where=pl.col("amount") > 100).over(sliding("1d")),
        "interval": agg.mean_interval().over(sliding("1d")),
        "recent": agg.decayed_sum("amount", half_life="90m").over(sliding("1d")),
        "recently": agg.decayed_count(half_life="1h").over(sliding("1d")),
        "p90": agg.approx_quantile("amount", 0.9).over(sliding("1d")),
        "quartiles": agg.approx_quantiles("amount", [0.25, 0.75]).over(sliding("1d")),
        "median": agg.median("amount").over(sliding("1h")),
        "first_shops": agg.first_n("merchant", 3).over(sliding("1d")),
        "last_amounts": agg.last_n("amount", 3).over(sliding("1d")),
        "before_last": agg.lag("amount", 2).over(sliding("1d")),
        "largest_shop": agg.max_by("merchant", "amount").over(sliding("1d")),
        "least_at": agg.min_by("at", "amount").over(sliding("1d")),
        "top": agg.top_n("amount", 3).over(sliding("1d")),
        "top_shops": agg.top_n_by("merchant", "amount", 3).over(sliding("1d")),
        "newest": agg.last_n_by("amount", "items", 2).over(sliding("1d")),
        "usual": agg.approx_top_k("merchant", k=3).over(sliding("1d")),
        "how_often": agg.approx_top_k_counts("merchant", k=2).over(sliding("1d"), default={}),
        "shops": agg.distinct("merchant", cap=50).over(sliding("1d")),
        "tags": agg.union("tags", cap=50, where=pl.col("amount") > 100).over(sliding("1d")),
        "usual_shop": agg.mode("merchant", cap=50).over(sliding("1d")),
        "shop_entropy": agg.entropy("merchant", cap=50).over(sliding("1d")),
        "sizes": agg.histogram("amount", [0, 10, 100]).over(sliding("1d")),
        "slope": agg.slope("amount", per="1h").over(sliding("1d")),
        "by_shop": agg.sum("amount", by="merchant", cap=50).over(sliding("1d")),
        "mean_by_shop": agg.mean("amount", by="merchant").over(sliding("1h"), default={}),
        "often_by_shop": agg.rate(by="merchant", where=pl.col("amount") > 9).over(sliding("1h")),
        "last_by_items": agg.last("at", by="items").over(sliding("1d")),
    },
)
EVERY_WINDOW = tg.FeatureView(
    "every_window",
    entity=tg.Entity("shop", keys={"merchant": tg.String, "card_id": tg.String}),
    stream=tg.Stream(
        "visits",
        schema={"card_id": tg.String, "merchant": tg.String, "at": tg.Timestamp.of("ms")},
        event_time="at",
        partition_by="merchant",
    ),
    history="1h",
    allowed_lateness="2h",
    features={
        "auto": agg.count().over(sliding("1d")),
        "exact": agg.count().over(sliding("90s", resolution="exact")),
        "on_15m": agg.count().over(sliding("6h", resolution="15m")),
        "yesterday": agg.count().over(tumbling("1d")),
        "this_hour": agg.count().over(tumbling("1h", current=True)),
        "ever": agg.count().over(lifetime()),
        "by_day": agg.count().over(series("1d", "1d", 7)),
        "today": agg.count().over(calendar("day", tz="Asia/Kathmandu")),
        "last_month": agg.count().over(calendar("month", tz="Europe/Berlin", current=False)),
        "week_before": agg.count().over(sliding("1d", offset="7d")),
        "by_5m": agg.count().over(hopping("1h", "5m")),
        "by_5m_now": agg.count().over(hopping("1h", "5m", current=True, include_instant=True)),
        "of_5": agg.last("merchant").over(last(5)),
        "of_5_today": agg.last("merchant").over(last(5, within="1d", include_instant=True)),
        "of_4_before": agg.last("merchant").over(last(4, skip=1)),
        "of_3_before": agg.last("merchant").over(last(3, within="7d", skip=2)),
        "since_20": agg.count().over(since(pl.col("merchant") == "home", cap=50)),
        "session": agg.min("at").over(session("30m", lateness="1d", include_instant=True)),
    },
)
SETS = {
    "spend": tg.FeatureService("fraud", version=1, features=[SPEND]),
    "every_aggregate": tg.FeatureService("all", version=3, features=[EVERY_AGGREGATE["n"]]),
    "every_window": EVERY_WINDOW,
}


@pytest.mark.parametrize("name", SETS)
def test_golden_plan(name: str, golden: Callable[[str, str], None]) -> None:
    definitions = validate(collect(SETS[name]))
    golden(f"plans/{name}", compile_plan(definitions).describe())
