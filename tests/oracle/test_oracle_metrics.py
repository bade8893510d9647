"""Readings of 47 real metrics over four years, against the same windows computed in SQL.

Each series keeps its own order, duplicates and a step back in time included; the series are mixed
by time, as they would come from one log. A seed draws which series and at which instants; windows
are asked for at readings' own times too, and where a reading lies on an edge.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula import agg, hopping, lifetime, sliding, tumbling
from tegula.schemas.time import DAY_US, HOUR_US
from tests.oracle.real import blocks, different, micros, naive, read
from tests.support.oracles import oracle

SERIES_COUNT = 12
BLOCK_US = 3 * DAY_US
PROBES_A_BLOCK = 20

READINGS = tg.Stream(
    "readings",
    schema={"series": tg.String, "value": tg.Float64, "at": tg.Timestamp.of("us")},
    event_time="at",
    disorder="2h",
)
METRICS = tg.FeatureView(
    "metrics",
    entity=tg.Entity("series", keys={"series": tg.String}),
    stream=READINGS,
    history="3d",  # as long as a block
    features={
        "count_6h": agg.count().over(sliding("6h", resolution="exact")),
        "mean_6h": agg.mean("value").over(sliding("6h", resolution="exact")),
        "max_6h_closed": agg.max("value").over(
            sliding("6h1us", resolution="exact", include_instant=True)
        ),
        "min_day_before": agg.min("value").over(sliding("1d", resolution="exact", offset="1d")),
        "spread_1d": agg.stddev("value").over(sliding("1d", resolution="exact")),
        "count_hour": agg.count().over(tumbling("1h")),
        "sum_hour_so_far": agg.sum("value").over(tumbling("1h", current=True)),
        "count_hop": agg.count().over(hopping("3h", "20m")),
        "last": agg.last("value").over(lifetime()),
        "count_ever": agg.count().over(lifetime(include_instant=True)),
    },
)
HOUR, DAY, HOP = HOUR_US, DAY_US, HOUR_US // 3
QUERY = f"""
    select
        count(*) filter (event_us >= t - 6 * {HOUR} and event_us < t) as count_6h,
        avg(value) filter (event_us >= t - 6 * {HOUR} and event_us < t) as mean_6h,
        max(value) filter (event_us >= t - 6 * {HOUR} and event_us <= t) as max_6h_closed,
        min(value) filter (event_us >= t - 2 * {DAY} and event_us < t - {DAY}) as min_day_before,
        stddev_samp(value) filter (event_us >= t - {DAY} and event_us < t) as spread_1d,
        count(*) filter (event_us >= t // {HOUR} * {HOUR} - {HOUR}
            and event_us < t // {HOUR} * {HOUR}) as count_hour,
        coalesce(fsum(value) filter (event_us >= t // {HOUR} * {HOUR} and event_us < t), 0.0)
            as sum_hour_so_far,
        count(*) filter (event_us >= t // {HOP} * {HOP} - 3 * {HOUR}
            and event_us < t // {HOP} * {HOP}) as count_hop,
        arg_max(value, (event_us, place)) filter (event_us < t) as last,
        count(*) filter (event_us <= t) as count_ever
    from probes left join readings
        on readings.series = probes.series and place < until
    group by probe, t
    order by probe
"""


def readings(rng: np.random.Generator) -> pl.DataFrame:
    """Some series mixed by time: each row at the greatest time that its series had reached."""
    every = pl.read_parquet(oracle("real/nab_metrics.parquet")).with_columns(at=micros("ts"))
    names = every["series"].unique(maintain_order=True).to_list()
    steps_back = "realKnownCause/machine_temperature_system_failure"
    chosen = {steps_back, *rng.choice(names, SERIES_COUNT, replace=False).tolist()}
    some = every.filter(pl.col("series").is_in(list(chosen)))
    reached = pl.col("at").cum_max().over("series", order_by="row")
    return (
        some.with_columns(reached=reached)
        .sort("reached", "series", "row")
        .with_row_index("place")
        .with_columns(pl.col("place").cast(pl.Int64))
    )


def probes(rng: np.random.Generator, rows: pl.DataFrame, end_us: int) -> pl.DataFrame:
    """Random instants of the block, and instants at which a reading lies on an edge."""
    count = min(PROBES_A_BLOCK, rows.height)
    picked = rows[rng.choice(rows.height, count, replace=False).tolist()]
    anywhere = rng.integers(end_us - BLOCK_US, end_us, count)
    shift_us = rng.choice([0, 1, 6 * HOUR_US, DAY_US, 2 * DAY_US, HOUR_US], count)
    on_edge = np.minimum(picked["at"].to_numpy() + shift_us, end_us - 1)
    at_us = np.where(rng.random(count) < 0.5, anywhere, on_edge)
    return picked.select("series", t=pl.Series(at_us), until=rows["place"].max() + 1)


@pytest.mark.slow
def test_oracle_metrics_have_the_windows_that_sql_gives(seed):
    rng = np.random.default_rng(seed)
    events = readings(rng)
    asked, got = [], {name: [] for name in METRICS.features}
    with tg.TestDriver(METRICS, at=int(events["at"][0]), shards=2) as driver:
        for end_us, rows in blocks(events, "reached", BLOCK_US):
            driver.advance_to(end_us)
            driver.send("readings", rows.select(*READINGS.schema).to_dicts(), partition="0")
            ask = probes(rng, rows, end_us)
            keys = [(name,) for name in ask["series"]]
            for name, column in read(driver, "metrics", keys, ask["t"].to_list()).items():
                got[name] += column
            asked.append(ask)
        outcomes = driver.outcomes("metrics")
    assert outcomes["folded"] == events.height
    every = pl.concat(asked).with_row_index("probe")
    expected = naive(
        QUERY, probes=every, readings=events.drop("row", "ts", "reached").rename({"at": "event_us"})
    )
    assert different(got, expected, rel_tol=1e-9, abs_tol=1e-9) == []
    assert every.height > 1_000
