"""Values at many instants are those that serving gives at each of them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula.schemas.time import DAY_US, HOUR_US
from tegula.windows.instants.rows import Asked
from tegula.windows.instants.values import values_at
from tests.support.instants import (
    build_of,
    differences,
    drawn,
    every_aggregate,
    served,
    served_known,
    some_aggregates,
    with_known,
)

WINDOWS = {
    "sliding": tg.sliding("10m"),
    "exact": tg.sliding("1h", resolution="exact"),
    "offset": tg.sliding("1h", offset="25m"),
    "exact offset": tg.sliding("1h", resolution="exact", offset="25m"),
    "including": tg.sliding("10m", resolution="7s", include_instant=True),
    "tumbling": tg.tumbling("90m"),
    "running": tg.tumbling("90m", current=True),
    "hopping": tg.hopping("1h", "25m"),
    "day": tg.calendar("day", tz="Europe/Berlin"),
    "own day": tg.calendar("day", tz=pl.col("zone")),
    "lifetime": tg.lifetime(),
    "last": tg.last(3),
    "last of": tg.last(2, within="1h", skip=1),
    "since": tg.since("yes", cap=4),
    "session": tg.session("10m"),
    "session including": tg.session("1us", include_instant=True),
    "series": tg.series("1h", "1h", 3),
}
KINDS: dict[str, str] = {"last of": "last", "session including": "session"}


@pytest.mark.parametrize("name", WINDOWS)
def test_oracle_every_aggregate_is_what_serving_gives(name, seed):
    rng = np.random.default_rng(seed)
    build = build_of(every_aggregate(WINDOWS[name], KINDS.get(name, name)))
    span_us = int(rng.choice([HOUR_US, 3 * HOUR_US, 2 * DAY_US]))
    rows = drawn(build, rng, 60, 3, span_us, step_us=int(rng.choice([1, 60_000_000])))
    at_us = rng.choice([*rows.order.event_us, *rng.integers(0, span_us * 2, 30)], 12)
    asked = Asked(rng.integers(0, 4, 12), at_us)
    got = values_at(build.shape, rows, asked)
    assert not differences(build.shape, got, served(build.shape, rows, asked))


DELAYS = {
    "landing": lambda rng, size: np.full(size, HOUR_US // 3),
    "jitter": lambda rng, size: rng.integers(0, HOUR_US // 4, size),
    "any": lambda rng, size: rng.integers(-HOUR_US, DAY_US, size),
    "stragglers": lambda rng, size: np.where(rng.random(size) < 0.2, HOUR_US, 0),
}


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("name", ["sliding", "own day", "last", "last of", "since", "session"])
def test_oracle_only_what_was_known_counts(name, delay, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr("tegula.windows.instants.visible.PATIENCE", int(rng.integers(0, 4)))
    monkeypatch.setattr("tegula.windows.instants.visible._MORE_PATIENCE", 2)
    monkeypatch.setattr("tegula.windows.instants.visible.LOOSE_MAX", int(rng.integers(1, 60)))
    build = build_of(some_aggregates(WINDOWS[name], KINDS.get(name, name)))
    span_us = 3 * HOUR_US
    rows = drawn(build, rng, 40, 2, span_us, step_us=int(rng.choice([1, 60_000_000])))
    known_us = rows.order.event_us + DELAYS[delay](rng, len(rows))
    rows = with_known(rows, known_us)
    at_us = rng.choice([*known_us, *known_us + 1, *rng.integers(0, span_us * 2, 30)], 8)
    asked = Asked(rng.integers(0, 3, 8), at_us)
    got = values_at(build.shape, rows, asked)
    assert not differences(build.shape, got, served_known(build.shape, rows, asked))
