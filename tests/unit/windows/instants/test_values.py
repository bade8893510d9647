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
KINDS = {"last of": "last", "session including": "session"}


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
