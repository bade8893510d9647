"""Hourly statistics of drivers: the value at or before an instant, no older than its lifetime.

What a feature store's own join gave for 60 probes: nothing after the probe's instant, a value
whose age is exactly the lifetime is still valid, an unknown driver has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

import tegula as tg
from tegula import agg, lifetime, sliding
from tegula.schemas.time import DAY_US, HOUR_US
from tests.oracle.real import blocks, different, from_history, micros, read
from tests.support.oracles import oracle

STATS = tg.Stream(
    "stats",
    schema={
        "driver_id": tg.Int64,
        "conv_rate": tg.Float64,
        "avg_daily_trips": tg.Int64,
        "at": tg.Timestamp.of("us"),
    },
    event_time="at",
)


def closed(length_us: int) -> Any:
    """Both sides closed: so long ago counts, and so does now."""
    return sliding(f"{length_us + 1}us", resolution="exact", include_instant=True)


TTLS = {
    "1h": closed(HOUR_US),
    "1d": closed(DAY_US),
    "none": lifetime(include_instant=True),
}
DRIVERS = tg.FeatureView(
    "drivers",
    entity=tg.Entity("driver", keys={"driver_id": tg.Int64}),
    stream=STATS,
    history="2d",
    features={
        f"{column}_ttl_{ttl}": agg.last(column).over(window)
        for ttl, window in TTLS.items()
        for column in ("conv_rate", "avg_daily_trips")
    },
)


def test_oracle_drivers_have_the_values_that_the_feature_store_joined():
    stats = pl.read_parquet(oracle("real/feast_driver_stats.parquet"))
    stats = stats.with_columns(
        at=pl.col("event_timestamp").dt.timestamp("us"), conv_rate=pl.col("conv_rate").cast(float)
    ).sort("at", maintain_order=True)
    asked, compared, wrong = probes(), 0, []
    with tg.TestDriver(DRIVERS, at=int(stats["at"][0]), shards=2) as driver:
        before_us = 0
        for block_end_us, rows in blocks(stats, "at", DAY_US):
            end_us = block_end_us
            driver.advance_to(end_us)
            driver.send("stats", rows.select(*STATS.schema).to_dicts(), partition="0")
            due = asked.filter(pl.col("t") >= before_us, pl.col("t") < end_us)
            before_us = end_us
            keys = [(number,) for number in due["driver_id"]]
            got = read(driver, "drivers", keys, due["t"].to_list())
            wrong += unlike(got, due)
            compared += due.height
    assert (wrong, compared) == ([], 60)


def test_oracle_drivers_have_the_joined_values_in_a_training_set_of_imported_history():
    asked, file = probes(), oracle("real/feast_driver_stats.parquet")
    assert unlike(from_history(DRIVERS, file, asked, {"at": "event_timestamp"}), asked) == []
    assert asked.height == 60


def probes() -> pl.DataFrame:
    """What the feature store was asked for, and gave."""
    asked = pl.read_csv(oracle("real/feast_driver_stats_expected_first60.csv"))
    return asked.with_columns(t=micros_of(asked["ts"]))


def unlike(got: Mapping[str, Sequence[Any]], asked: pl.DataFrame) -> list[Any]:
    """Every difference; the file holds 32 bits of each rate."""
    expected = asked.select(*DRIVERS.features).to_dict(as_series=False)
    return different(got, expected, rel_tol=1e-6)


def micros_of(texts: pl.Series) -> pl.Series:
    """RFC 3339 texts as µs since 1970."""
    instants = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
    return instants.to_frame("ts").select(micros("ts")).to_series()
