"""A day of edits to Wikipedia, 45 of them with broken times: days too early, weeks too late.

The log's time is the true one, the event time is the file's. What is dated more than `ahead` past
its log timestamp is dead-lettered and moves nothing; what is days behind is expired or late. Which
is which, and every window, is computed again: outcomes in plain Python, windows in SQL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula import agg, last, lifetime, session, since, sliding, tumbling
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US
from tests.oracle import naive as plain
from tests.oracle.real import blocks, different, micros, naive, read
from tests.support.oracles import oracle

BLOCK_US = 40 * MINUTE_US
PROBES_A_BLOCK = 30
DISORDER_US, AHEAD_US, LATENESS_US = 5 * MINUTE_US, 10 * MINUTE_US, 36 * HOUR_US

EDITS = tg.Stream(
    "edits",
    schema={
        "channel": tg.String,
        "user": tg.String,
        "page": tg.String,
        "isRobot": tg.Bool,
        "delta": tg.Int64,
        "at": tg.Timestamp.of("us"),
    },
    event_time="at",
    disorder="5m",
    ahead="10m",
)
robot = pl.col("isRobot")
CHANNELS = tg.FeatureView(
    "channels",
    entity=tg.Entity("channel", keys={"channel": tg.String}),
    stream=EDITS,
    allowed_lateness="36h",
    history="1h",
    features={
        "edits_1h": agg.count().over(sliding("1h", resolution="exact")),
        "delta_1h": agg.sum("delta").over(sliding("1h", resolution="exact")),
        "by_robots_1h": agg.count_if(robot).over(sliding("1h", resolution="exact")),
        "largest_by_people_3h": agg.max("delta", where=~robot).over(
            sliding("3h", resolution="exact")
        ),
        "users_15m": agg.approx_distinct("user").over(sliding("15m", resolution="exact")),
        "all_robots_15m": agg.all(robot).over(sliding("15m", resolution="exact")),
        "edits_quarter": agg.count().over(tumbling("15m")),
        "last_page": agg.last("page").over(lifetime()),
        "edits_ever": agg.count().over(lifetime()),
    },
)
ORDERED = tg.FeatureView(
    "ordered",
    entity=CHANNELS.entity,
    stream=EDITS,
    allowed_lateness="36h",
    history="1h",
    features={
        # An exact window keeps instants, so that a read inside of a second is exact for all.
        "edits_1m": agg.count().over(sliding("1m", resolution="exact")),
        "delta_of_20": agg.mean("delta").over(last(20)),
        "burst": agg.count().over(session("2m", lateness="36h")),
        "burst_began": agg.min("at").over(session("2m", lateness="36h")),
        "since_robot": agg.count().over(since(robot, cap=5_000)),
    },
)
HOUR, QUARTER = HOUR_US, 15 * MINUTE_US
QUERY = f"""
    select
        count(*) filter (event_us >= t - {HOUR}) as edits_1h,
        coalesce(sum(delta) filter (event_us >= t - {HOUR}), 0)::bigint as delta_1h,
        count(*) filter (event_us >= t - {HOUR} and "isRobot") as by_robots_1h,
        max(delta) filter (event_us >= t - 3 * {HOUR} and not "isRobot") as largest_by_people_3h,
        count(distinct "user") filter (event_us >= t - {QUARTER}) as users_15m,
        bool_and("isRobot") filter (event_us >= t - {QUARTER}) as all_robots_15m,
        count(*) filter (event_us >= t // {QUARTER} * {QUARTER} - {QUARTER}
            and event_us < t // {QUARTER} * {QUARTER}) as edits_quarter,
        arg_max(page, (event_us, place)) filter (event_us is not null) as last_page,
        count(event_us) as edits_ever
    from probes left join edits
        on edits.channel = probes.channel and event_us < t and place < until
    group by probe, t
    order by probe
"""

ORDERED_QUERY = f"""
    with held as (
        select probe, t, event_us, edits.place, delta, "isRobot",
            lag(event_us) over (partition by probe order by event_us) as before
        from probes left join edits
            on edits.channel = probes.channel and event_us < t and place < until
    ), marks as (
        select probe,
            max(event_us) filter (before is null or event_us - before > {2 * MINUTE_US}) as began,
            max((event_us, place)) filter ("isRobot") as robot
        from held group by probe
    )
    select
        count(*) filter (event_us >= t - {MINUTE_US}) as edits_1m,
        list_avg(list(delta order by event_us, place) [-20:]) as delta_of_20,
        count(*) filter (event_us >= began) as burst,
        any_value(began) as burst_began,
        count(event_us) filter (robot is null or (event_us, place) > robot) as since_robot
    from held join marks using (probe)
    group by probe
    order by probe
"""


def edits() -> pl.DataFrame:
    """In the order of the file, which is that of the true times (`log`); `at` as the file says."""
    table = pl.read_parquet(oracle("real/wikipedia_edits.parquet"))
    return table.select(
        "channel", "user", "page", "isRobot", pl.col("delta").cast(pl.Int64),
        at=micros("file_ts"), log=micros("ts"), place=pl.col("row").cast(pl.Int64),
    )  # fmt: skip


def probes(rng: np.random.Generator, rows: pl.DataFrame, end_us: int) -> pl.DataFrame:
    """Instants of the block: anywhere, or at an edit and where it leaves a window."""
    picked = rows[rng.integers(0, rows.height, PROBES_A_BLOCK).tolist()]
    anywhere = rng.integers(end_us - BLOCK_US, end_us + 1, PROBES_A_BLOCK)
    on_edge = picked["log"].to_numpy() + rng.choice([0, 1, QUARTER], PROBES_A_BLOCK)
    at_us = np.where(rng.random(PROBES_A_BLOCK) < 0.5, anywhere, np.minimum(on_edge, end_us))
    return picked.select("channel", t=pl.Series(at_us), until=rows["place"].max() + 1)


@pytest.mark.slow
def test_oracle_edits_have_the_outcomes_and_windows_that_are_computed_again(seed):
    rng = np.random.default_rng(seed)
    events = edits()
    asked: list[pl.DataFrame] = []
    got: dict[str, list[Any]] = {name: [] for name in (*CHANNELS.features, *ORDERED.features)}
    records = []
    start_us = int(events["log"][0])
    with tg.TestDriver(CHANNELS, ORDERED, at=start_us, shards=2) as driver:
        for end_us, rows in blocks(events, "log", BLOCK_US):
            driver.advance_to(end_us)
            driver.send("edits", rows.select(*EDITS.schema).to_dicts(), partition="0")
            records += [
                plain.Record(0, place, end_us, channel, at_us)
                for place, channel, at_us in rows.select("place", "channel", "at").iter_rows()
            ]
            ask = probes(rng, rows, end_us)
            keys = [(channel,) for channel in ask["channel"]]
            for view in ("channels", "ordered"):
                for name, column in read(driver, view, keys, ask["t"].to_list()).items():
                    got[name] += column
            asked.append(ask)
        outcomes = driver.outcomes("channels")
        letters = driver.dead_letters("edits")
    folded, expected_outcomes = plain.judge(
        records, plain.Rules(DISORDER_US, AHEAD_US, LATENESS_US)
    )
    counted = {name: outcomes[name] for name in expected_outcomes}
    assert counted == dict(expected_outcomes)
    assert {letter.code for letter in letters} == {"TG-209"}
    assert expected_outcomes["dead_lettered"] == len(letters) > 30
    assert expected_outcomes["late"] > 0
    held = events.filter(pl.col("place").is_in([record.offset for record in folded]))
    every = pl.concat(asked).with_row_index("probe")
    tables = {"probes": every, "edits": held.drop("log").rename({"at": "event_us"})}
    assert different(got, naive(QUERY, **tables)) == []
    assert different(got, naive(ORDERED_QUERY, **tables), rel_tol=1e-9) == []
    assert every["t"].max() - every["t"].min() > 0.9 * DAY_US  # type: ignore[operator]
