"""Values at many instants are those that serving gives at each of them."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import get_args

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula.schemas.outcomes import Status
from tegula.schemas.signatures import SIGNATURES
from tegula.schemas.time import DAY_US, HOUR_US
from tegula.schemas.windows import WindowSpec
from tegula.windows.instants.rows import Asked
from tegula.windows.instants.values import values_at
from tests.oracle.cases import INPUTS
from tests.support.instants import (
    PAIRS,
    build_of,
    differences,
    drawn,
    every_aggregate,
    every_choice,
    every_pair,
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
OTHERS = {
    "running including": tg.tumbling("90m", current=True, include_instant=True),
    "running hops": tg.hopping("1h", "25m", current=True, include_instant=True),
    "last day": tg.calendar("day", tz="Europe/Berlin", current=False, include_instant=True),
    "last own day": tg.calendar("day", tz=pl.col("zone"), current=False, include_instant=True),
    "lifetime including": tg.lifetime(include_instant=True),
    "last including": tg.last(2, include_instant=True),
    "since including": tg.since("yes", include_instant=True),
    "session late": tg.session("10m", lateness="1h"),
    "series including": tg.series("1h", "7m", 2, resolution="exact", include_instant=True),
}
"""Whatever else may be said of them, over fewer aggregates."""
KINDS: dict[str, str] = {
    "last of": "last",
    "session including": "session",
    "last including": "last",
    "since including": "since",
    "session late": "session",
    "series including": "series",
    "lifetime including": "lifetime",
}


def test_every_kind_of_window_and_all_that_may_be_said_of_it_is_among_them():
    said: dict[type, set[str]] = {kind: set() for kind in get_args(WindowSpec)}
    for window in (*WINDOWS.values(), *OTHERS.values()):
        for one in fields(window):
            if one.default is not MISSING and getattr(window, one.name) != one.default:
                said[type(window)].add(one.name)
    kinds = {type(window) for window in WINDOWS.values()}
    assert kinds == said.keys()
    for kind, names in said.items():
        assert names == {one.name for one in fields(kind) if one.default is not MISSING}, kind


def test_every_aggregate_of_every_kind_of_input_is_among_them():
    window = tg.sliding("1h")
    made = {name for name, _ in (*every_aggregate(window, "sliding"), *every_pair(window))}
    chosen = dict(every_choice(window, "sliding"))
    sources = {name: one.kinds for name, one in INPUTS.items()}
    sources |= {name: kinds for name, (_, kinds) in PAIRS.items()}
    for name, signature in SIGNATURES.items():
        of = [kinds for source, kinds in sources.items() if f"{name}_{source}" in made]
        assert {kinds[0] for kinds in of if kinds} == signature.kinds, name
        assert {one for kinds in of for one in kinds[1:]} == (signature.second or set()), name
        assert signature.optional == (() in of), name
        assert any(one.startswith(f"{name}_") for one in chosen), name
    assert {name for name in chosen if name.endswith("_by")}


def compare(features, rng) -> None:
    """Hold all features at random instants against what serving gives."""
    build = build_of(features)
    span_us = int(rng.choice([HOUR_US, 3 * HOUR_US, 2 * DAY_US]))
    rows = drawn(build, rng, 60, 3, span_us, step_us=int(rng.choice([1, 60_000_000])))
    at_us = rng.choice([*rows.order.event_us, *rng.integers(0, span_us * 2, 30)], 12)
    asked = Asked(rng.integers(0, 4, 12), at_us)
    got = values_at(build.shape, rows, asked)
    assert not differences(build.shape, got, served(build.shape, rows, asked))


@pytest.mark.parametrize("name", WINDOWS)
def test_oracle_every_aggregate_is_what_serving_gives(name, seed):
    compare(every_aggregate(WINDOWS[name], KINDS.get(name, name)), np.random.default_rng(seed))


def test_key_is_found_until_the_microsecond_when_retention_ends():
    build = build_of([("n", tg.agg.count().over(tg.sliding("10m")))])
    shape, event_us = build.shape, 7 * HOUR_US
    assert shape.retention_us is not None
    rows = drawn(build, np.random.default_rng(0), 1, 1, 1)
    rows = replace(rows, order=replace(rows.order, event_us=np.array([event_us])))
    asked = Asked(np.zeros(3, np.int64), event_us + shape.retention_us + np.array([-1, 0, 1]))
    got = values_at(shape, rows, asked)
    assert got[0].statuses.tolist() == [Status.EMPTY, Status.EMPTY, Status.NOT_FOUND]
    assert not differences(shape, got, served(shape, rows, asked))


@pytest.mark.parametrize("name", OTHERS)
def test_oracle_every_window_is_what_serving_gives(name, seed):
    compare(some_aggregates(OTHERS[name], KINDS.get(name, name)), np.random.default_rng(seed))


@pytest.mark.parametrize("name", ["exact", "own day"])
def test_oracle_every_aggregate_of_some_events_and_by_category_is_what_serving_gives(name, seed):
    compare(every_choice(WINDOWS[name], "sliding"), np.random.default_rng(seed))


@pytest.mark.parametrize("name", ["exact", "session"])
def test_oracle_every_aggregate_of_several_columns_is_what_serving_gives(name, seed):
    compare(every_pair(WINDOWS[name]), np.random.default_rng(seed))


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
