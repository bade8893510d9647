"""Real flights as training sets: values of another engine, and those that were served."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

import tegula as tg
from tegula.cli.demo.data import events_of, read_flights
from tegula.cli.demo.features import TEXT
from tegula.schemas.outcomes import Status
from tegula.schemas.time import DAY_US, HOUR_US
from tegula.serving.plan import resolve
from tegula.serving.protocol import FeatureRequest
from tegula.serving.read import FeatureReader
from tests.oracle.test_oracle_flights import ANSWERS, FLIGHT_COUNT, VIEWS, month, send

DAYS = int(os.environ.get("TEGULA_FLIGHTS_DAYS", "1"))
"""Days of 2013 whose departures are compared; 366 for the whole year."""

EVERY = 10 if DAYS == 1 else 1
"""Of one day only some departures are asked for; all of them are events."""

BLOCK_US = 6 * HOUR_US


@pytest.mark.slow
def test_oracle_every_flight_of_a_month_has_its_expected_values():
    """The log is read as it lies: no engine has taken anything in."""
    flights = month()
    start_us = int(flights["sched_ts"].min())  # type: ignore[arg-type]
    compared = 0
    with tg.TestDriver(*VIEWS.values(), at=start_us + 40 * DAY_US) as driver:
        send(driver, flights.sort("dep_ts", maintain_order=True))
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
    """The demo's views; reading stays exact for some blocks."""
    names: dict[str, Any] = {}
    exec(TEXT, names)
    return [replace(names[name], history="1d") for name in ("airports", "routes", "planes")]


def read(
    driver: tg.TestDriver,
    views: list[tg.FeatureView],
    flights: pl.DataFrame,
    served: dict[str, list[Any]],
) -> None:
    """What serving answers for each flight at its instant, one request a flight and view."""
    registry = driver.engine.registry
    catalogue, head = registry.catalogue(), registry.head()
    assert head is not None
    shards = driver.settings.shards
    resolved = resolve(
        catalogue.version, shards, head.definitions, catalogue.active, registry.builds()
    )
    reader = FeatureReader(driver.engine.mirrors.reader())
    for view in views:
        names = [f"{view.name}:{one}" for one in view.features]
        plan = resolved.plan_of(FeatureRequest(None, tuple(names), {}, 1))
        for row in flights.iter_rows(named=True):
            keys = {name: [row[name]] for name in view.entity.keys}
            encoded = [entity.encode(keys, 1) for entity in plan.entities]
            reply = reader.read(plan, encoded, 1, shards, row["at_us"])
            for name in names:
                assert Status.COARSE not in reply.statuses.get(name, ()), name
                served.setdefault(name, []).extend(reply.values[name])


@pytest.mark.slow
def test_oracle_flights_have_the_values_that_were_served_at_their_instants():
    """Every departure, every feature of the demo, as it was served when it left."""
    views = demo_views()
    events = events_of(read_flights())
    first_us = int(events["at_us"][0]) // DAY_US * DAY_US
    events = events.filter(pl.col("at_us") < first_us + DAYS * DAY_US).with_row_index("row")
    columns = ["at", "carrier", "origin", "dest", "tailnum", "delay", "air_time", "distance"]
    served: dict[str, list[Any]] = {}
    with tg.TestDriver(*views, at=first_us) as driver:
        for begin in range(first_us, first_us + DAYS * DAY_US, BLOCK_US):
            block = events.filter(
                pl.col("at_us").is_between(begin, begin + BLOCK_US, closed="left")
            )
            driver.advance_to(begin + BLOCK_US)
            if block.height:
                driver.send("flights", block.select(columns).to_dicts())
            driver.settle()
            read(driver, views, block.filter(pl.col("row") % EVERY == 0), served)
        asked = events.filter(pl.col("row") % EVERY == 0)
        spine = asked.with_columns(at=pl.col("at_us"))
        made = tg.training_set(spine, views, project=driver.settings, now_us=driver.clock())
    differing = 0
    for name in made.manifest["columns"]:
        got = made.to_polars()[name]
        expected = pl.Series(name, served[name], got.dtype)
        same = got.eq_missing(expected)
        if got.dtype == pl.Float64:
            same |= ((got - expected).abs() <= 1e-9 * expected.abs()).fill_null(value=False)
        differing += int((~same).sum())
    assert differing == 0
    assert made.late_rows <= made.rows
