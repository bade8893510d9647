"""Span after span of time gives what all rows together give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tegula.schemas.time import DAY_US, HOUR_US
from tegula.windows.instants import Asked, EventRows, FeatureValues, joined, turn_of, values_at
from tegula.windows.shape import Shape
from tests.support.instants import (
    alike,
    build_of,
    drawn,
    every_aggregate,
    plain,
    some_aggregates,
    with_known,
)
from tests.unit.windows.instants.test_values import DELAYS, KINDS, WINDOWS


def in_turns(
    shape: Shape, rows: EventRows, asked: Asked, keys: int, ends_us: np.ndarray
) -> list[FeatureValues]:
    """All features, the rows given span by span."""
    event_us = rows.order.event_us
    span = np.searchsorted(ends_us, event_us, "right")
    turn = np.searchsorted(ends_us, asked.at_us, "right")
    before: Any = keys
    held, parts, order = np.empty(0, np.int64), [], []
    for number in range(len(ends_us) + 1):
        until_us = int(ends_us[number]) if number < len(ends_us) else None
        mine = np.concatenate((held, np.flatnonzero(span == number)))
        pairs = np.flatnonzero(turn == number)
        done = turn_of(shape, rows.take(mine), asked.take(pairs), shape.features, before, until_us)
        parts.append(done.values)
        order.append(pairs)
        before, held = done.carried, mine[done.kept]
    back = np.argsort(np.concatenate(order))
    return [joined(columns).take(back) for columns in zip(*parts, strict=True)]


def unlike(
    shape: Shape, got: list[FeatureValues], wanted: list[FeatureValues]
) -> list[tuple[str, str, Any, Any]]:
    """Where the two are not the same; floats to the last bits."""
    faults: list[tuple[str, str, Any, Any]] = []
    for feature, mine, theirs in zip(shape.features, got, wanted, strict=True):
        for value, want in zip(plain(mine.values), plain(theirs.values), strict=True):
            if not alike(value, want):
                faults.append((feature.name, "values", value, want))
        for name in ("statuses", "start_us", "end_us", "newest_us"):
            one, other = getattr(mine, name).tolist(), getattr(theirs, name).tolist()
            if one != other:
                faults.append((feature.name, name, one, other))
    return faults


def apart(rows: EventRows, rng: np.random.Generator) -> EventRows:
    """The rows on some days far from each other, so that what is kept of a day is forgotten."""
    days = rng.choice([0, 5, 9, 30], len(rows)) * DAY_US
    return replace(rows, order=replace(rows.order, event_us=rows.order.event_us + days))


@pytest.mark.parametrize("name", WINDOWS)
def test_law_turns_give_the_values_of_all_rows_together(name, seed):
    rng = np.random.default_rng(seed)
    build = build_of(every_aggregate(WINDOWS[name], KINDS.get(name, name)))
    span_us = int(rng.choice([HOUR_US, 3 * HOUR_US]))
    rows = drawn(build, rng, 90, 3, span_us, step_us=int(rng.choice([1, 60_000_000])))
    rows = apart(rows, rng)
    near_us = rows.order.event_us + rng.integers(0, HOUR_US, len(rows))
    at_us = rng.choice([*rows.order.event_us, *near_us, *rng.integers(0, 40 * DAY_US, 20)], 40)
    asked = Asked(rng.integers(-1, 5, 40), at_us)
    wanted = values_at(build.shape, rows, asked)
    ends_us = np.unique(rng.choice([*rows.order.event_us, *at_us], rng.integers(1, 7)))
    assert not unlike(build.shape, in_turns(build.shape, rows, asked, 4, ends_us), wanted)


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize(
    "name", ["exact", "own day", "lifetime", "last", "last of", "since", "session"]
)
def test_law_turns_know_what_was_known(name, delay, seed):
    rng = np.random.default_rng(seed)
    build = build_of(some_aggregates(WINDOWS[name], KINDS.get(name, name)))
    span_us = 3 * HOUR_US
    rows = drawn(build, rng, 80, 2, span_us, step_us=int(rng.choice([1, 60_000_000])))
    rows = apart(rows, rng)
    known_us = rows.order.event_us + DELAYS[delay](rng, len(rows))
    rows = with_known(rows, known_us)
    near_us = known_us + rng.integers(0, HOUR_US, len(rows))
    at_us = rng.choice([*known_us, *known_us + 1, *near_us, *rng.integers(0, 40 * DAY_US, 20)], 40)
    asked = Asked(rng.integers(0, 3, 40), at_us)
    wanted = values_at(build.shape, rows, asked)
    ends_us = np.unique(rng.choice([*rows.order.event_us, *at_us], rng.integers(1, 9)))
    assert not unlike(build.shape, in_turns(build.shape, rows, asked, 2, ends_us), wanted)
