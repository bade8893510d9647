"""Coarser tiles: no value at or after the horizon changes, whatever was folded and when."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.outcomes import Status
from tegula.schemas.zones import periods
from tegula.windows.coarsen import coarsen
from tegula.windows.finish import FeatureColumn, finish
from tegula.windows.geometry import Calendar, Hopping, IncludingInstant, Lifetime, Sliding, Tumbling
from tegula.windows.ladder import DAY, EVER, EVER_START_US, HOUR, MINUTE, SECOND
from tegula.windows.segments import first_kept_hour, to_seconds
from tegula.windows.shape import Shape
from tegula.windows.tiles import (
    NEVER_US,
    KeyedTiles,
    Tiles,
    bounds_of,
    concat_tiles,
    empty_tiles,
    group,
    merge_keyed,
)
from tests.oracle import naive
from tests.support import shapes
from tests.support.shapes import facts, lift_events, shape_of

SECOND_US, MINUTE_US, HOUR_US, DAY_US = shapes.SECOND, shapes.MINUTE, shapes.HOUR, shapes.DAY
AGGREGATES = ("count", "sum", "min", "max", "last")

plain = st.one_of(
    st.builds(
        Sliding,
        st.sampled_from([MINUTE_US, 10 * MINUTE_US, HOUR_US, 90_500_000, DAY_US, 3 * DAY_US]),
        st.sampled_from([1, SECOND_US, MINUTE_US, 5 * MINUTE_US, HOUR_US, 7 * SECOND_US]),
        st.sampled_from([0, 0, 1, 7 * SECOND_US, HOUR_US, DAY_US]),
    ),
    st.builds(Tumbling, st.sampled_from([MINUTE_US, 90 * MINUTE_US, DAY_US]), st.booleans()),
    st.builds(
        Hopping,
        st.sampled_from([90 * MINUTE_US, 61 * MINUTE_US, DAY_US]),
        st.sampled_from([MINUTE_US, 25 * MINUTE_US, HOUR_US]),
        st.booleans(),
    ),
    st.just(Lifetime()),
)
calendars = st.builds(
    lambda unit, zone, current: Calendar(periods(unit, zone), current, periods("day", zone)),
    st.sampled_from(["day", "week", "year"]),
    st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "Africa/Monrovia", "UTC"]),
    st.booleans(),
)
windows = plain | plain | calendars | st.builds(IncludingInstant, plain | calendars)
instants_us = st.one_of(
    st.integers(-3 * DAY_US, 3 * DAY_US),
    st.integers(-5000, 5000).map(lambda second: second * SECOND_US),
    st.integers(-90, 90).map(lambda minute: minute * MINUTE_US),
    st.integers(-9_000_000, 9_000_000),
)
events = st.lists(st.tuples(st.just(0), instants_us, st.integers(-9, 9).map(float)), max_size=12)


@dataclass
class Key:
    """One key whose tiles are folded by hand: all it was given, and what is kept.

    `instants` are those that a fold made part of seconds, of hours that it keeps.
    """

    shape: Shape
    given: list[tuple[int, float]] = field(default_factory=list)
    kept: KeyedTiles | None = None
    horizon_us: int = NEVER_US
    instants: KeyedTiles | None = None

    def add(self, events: list[tuple[int, int, float]]) -> None:
        if events:
            fresh = lift_events(self.shape, [b"k"], events, first_offset=len(self.given))
            self.given.extend((at_us, value) for _, at_us, value in events)
            self.kept = fresh if self.kept is None else merge_keyed(self.shape, [self.kept, fresh])

    def fold(self, horizon_us: int) -> None:
        self.horizon_us = max(self.horizon_us, horizon_us // SECOND_US * SECOND_US)
        if self.kept is not None:
            tiles = self.kept.tiles
            if self.shape.segment_reach_us is not None:
                tiles, are_instants = to_seconds(tiles)
                self.segment(self.kept.tiles.take(np.flatnonzero(are_instants)))
            horizons = np.full(len(tiles), self.horizon_us)
            tiles, keep = coarsen(self.shape, tiles, horizons)
            kept = np.flatnonzero(keep)
            key, tiles = group(self.shape, np.zeros(len(kept), np.int64), tiles.take(kept))
            self.kept = KeyedTiles(self.kept.keys, bounds_of(key, 1), self.kept.newest_us, tiles)

    def segment(self, instants: Tiles) -> None:
        assert self.kept is not None
        if self.instants is not None:
            instants = concat_tiles([instants, self.instants.tiles])
        first = first_kept_hour(self.shape, np.array([self.horizon_us]))[0]
        instants = instants.take(np.flatnonzero(instants.start_us // HOUR_US >= first))
        bounds = np.array([0, len(instants)])
        self.instants = KeyedTiles(self.kept.keys, bounds, self.kept.newest_us, instants)

    def read(self, at_us: int) -> list[FeatureColumn]:
        keyed = self.kept
        if keyed is None:
            keyed = lift_events(self.shape, [b"k"], [])
        horizon_us = np.array([self.horizon_us])
        return finish(self.shape, keyed, at_us, horizon_us, instants=self.instants)


def check(key: Key, at_us: int) -> None:
    """Every feature at `at_us` against the naive recomputation."""
    raw = [naive.Event(when, 0, i, value) for i, (when, value) in enumerate(key.given)]
    newest_us = max((when for when, _ in key.given), default=NEVER_US)
    for feature, column in zip(key.shape.features, key.read(at_us), strict=True):
        status = Status(int(column.statuses[0]))
        if status is Status.COARSE:
            assert at_us < key.horizon_us or newest_us >= at_us, "coarse without a cause"
            assert at_us < key.horizon_us or key.instants is None, "coarse with instants at hand"
            continue
        aggregate = feature.name.split("_")[0]
        expected = naive.value(aggregate, facts(feature.window), raw, at_us)
        assert naive.same(column.values[0], expected), (feature.name, feature.window, status)
        if at_us >= key.horizon_us and newest_us < at_us:
            oldest_us = -np.inf
            if key.shape.retention_us is not None:
                oldest_us = at_us - key.shape.retention_us
            assert (status is not Status.NOT_FOUND) == (newest_us >= oldest_us and bool(raw))


@given(
    windows=st.lists(windows, min_size=1, max_size=4, unique=True),
    steps=st.lists(st.tuples(events, instants_us), min_size=1, max_size=4),
    at=st.lists(instants_us, min_size=1, max_size=6),
    depth_us=st.sampled_from([0, MINUTE_US, 15 * MINUTE_US]),
)
def test_law_no_value_at_or_after_the_horizon_depends_on_folding(windows, steps, at, depth_us):
    key = Key(shape_of(AGGREGATES, windows, depth_us=depth_us))
    for events, horizon_us in steps:
        key.add(events)
        key.fold(horizon_us)
    for at_us in at:
        check(key, at_us)
        check(key, key.horizon_us + abs(at_us))
    check(key, key.horizon_us)


def folded(shape: Shape, horizon_us: int, *times_us: int) -> Key:
    key = Key(shape)
    key.add([(0, at_us, 1.0) for at_us in times_us])
    key.fold(horizon_us)
    return key


def tiles_of(key: Key) -> list[tuple[int, int, int]]:
    """(start, rung, rows) of each tile kept."""
    assert key.kept is not None
    tiles = key.kept.tiles
    return list(zip(tiles.start_us.tolist(), tiles.rung.tolist(), tiles.rows.tolist(), strict=True))


HOUR_BY_MINUTE = shape_of(["count"], [Sliding(HOUR_US, MINUTE_US)])
NOON_US = 12 * HOUR_US


def test_coarsen_leaves_tiles_at_or_after_the_horizon_as_they_are():
    key = folded(HOUR_BY_MINUTE, NOON_US, NOON_US, NOON_US + 1)
    assert tiles_of(key) == [(NOON_US, SECOND, 2)]


def test_coarsen_forms_a_minute_once_it_ends_at_or_before_the_horizon():
    times_us = NOON_US - 1, NOON_US - 30 * SECOND_US
    in_it = folded(HOUR_BY_MINUTE, NOON_US - SECOND_US, *times_us)
    assert [rung for _, rung, _ in tiles_of(in_it)] == [SECOND, SECOND]
    at_its_end = folded(HOUR_BY_MINUTE, NOON_US, *times_us)
    assert tiles_of(at_its_end) == [(NOON_US - MINUTE_US, MINUTE, 2)]


def test_coarsen_waits_with_a_rung_for_every_window_whose_edge_may_cut_it():
    shape = shape_of(["count"], [Sliding(HOUR_US, MINUTE_US), Sliding(DAY_US, HOUR_US)])
    reach_us = HOUR_US + MINUTE_US - 1
    at_us = NOON_US - HOUR_US
    before = folded(shape, NOON_US + reach_us, at_us)
    # The horizon lies on the shape's finest grid, so the first one past the reach is a second on.
    after = folded(shape, NOON_US + reach_us + SECOND_US, at_us)
    assert tiles_of(before) == [(at_us, MINUTE, 1)]
    assert tiles_of(after) == [(at_us, HOUR, 1)]


def test_coarsen_drops_a_tile_only_where_no_instant_from_the_horizon_on_retains_it():
    """At the horizon itself `NOT_FOUND` still depends on all that retention reaches back to."""
    at_us = NOON_US
    last_us = (at_us + SECOND_US) + (HOUR_BY_MINUTE.retention_us or 0)
    kept = folded(HOUR_BY_MINUTE, last_us - SECOND_US, at_us)
    assert tiles_of(kept)[0][2] == 1
    gone = folded(HOUR_BY_MINUTE, last_us + MINUTE_US, at_us)
    assert tiles_of(gone) == []


def test_finish_says_empty_and_not_not_found_at_the_horizon_though_a_fold_swept_the_key():
    times_us = [NOON_US]
    at_us = NOON_US + (HOUR_BY_MINUTE.retention_us or 0)
    swept, untouched = folded(HOUR_BY_MINUTE, at_us, *times_us), Key(HOUR_BY_MINUTE)
    untouched.add([(0, NOON_US, 1.0)])
    for key in (swept, untouched):
        (column,) = key.read(at_us)
        assert (column.values, column.statuses.tolist()) == ([0], [Status.EMPTY])
        (column,) = key.read(at_us + 1)
        assert column.statuses.tolist() == [Status.NOT_FOUND]


def test_coarsen_moves_what_no_bounded_window_reaches_into_the_ever_tile():
    shape = shape_of(["count"], [Sliding(HOUR_US, MINUTE_US), Lifetime()])
    reach_us = HOUR_US + MINUTE_US - 1
    key = folded(shape, NOON_US + MINUTE_US + reach_us, NOON_US, NOON_US - DAY_US, NOON_US + DAY_US)
    assert tiles_of(key) == [
        (EVER_START_US, EVER, 2),
        (NOON_US + DAY_US, SECOND, 1),
    ]


def test_finish_counts_the_ever_tile_for_an_instant_before_the_newest_event():
    """The newest event (dated ahead, or after `as_of`) must not hide all that came before it."""
    key = folded(shape_of(["count"], [Lifetime()]), NOON_US, NOON_US - DAY_US, NOON_US + HOUR_US)
    (column,) = key.read(NOON_US + MINUTE_US)
    assert (column.values, column.statuses.tolist()) == ([1], [Status.PRESENT])


def test_finish_says_coarse_and_not_not_found_where_the_horizon_has_passed_the_instant():
    key = folded(shape_of(["count"], [Lifetime()]), NOON_US, NOON_US - 5)
    (column,) = key.read(NOON_US - 10)
    assert column.statuses.tolist() == [Status.COARSE]


def test_coarsen_takes_a_late_event_straight_to_where_its_neighbours_are():
    key = folded(HOUR_BY_MINUTE, NOON_US, NOON_US - 90 * SECOND_US)
    key.add([(0, NOON_US - 80 * SECOND_US, 1.0)])
    key.fold(NOON_US)
    assert tiles_of(key) == [(NOON_US - 2 * MINUTE_US, MINUTE, 2)]


@pytest.mark.parametrize("at_us", [-1, -SECOND_US, -MINUTE_US, -MINUTE_US - 1])
def test_coarsen_floors_toward_minus_infinity_before_the_epoch(at_us):
    key = folded(HOUR_BY_MINUTE, 0, at_us)
    assert tiles_of(key) == [(at_us // MINUTE_US * MINUTE_US, MINUTE, 1)]


def test_instants_become_seconds_and_stand_beside_until_an_exact_edge_cannot_cut_their_hour():
    shape = shape_of(["count"], [Sliding(HOUR_US, 1), Lifetime()])
    at_us = NOON_US + 7
    new = folded(shape, NOON_US, at_us)
    assert tiles_of(new) == [(NOON_US, SECOND, 1)]
    minutes = folded(shape, NOON_US + MINUTE_US, at_us)
    assert tiles_of(minutes) == [(NOON_US, MINUTE, 1)]
    cut = folded(shape, NOON_US + HOUR_US, at_us)
    assert tiles_of(cut) == [(NOON_US, HOUR, 1)]
    for key in (new, minutes, cut):
        assert key.instants is not None
        assert key.instants.tiles.start_us.tolist() == [at_us]
        assert key.read(at_us + HOUR_US)[0].values == [1]
        assert key.read(at_us + HOUR_US + 1)[0].values == [0]
    passed = folded(shape, NOON_US + 2 * HOUR_US, at_us)
    assert tiles_of(passed) == [(EVER_START_US, EVER, 1)]
    assert passed.instants is not None
    assert len(passed.instants.tiles) == 0


def test_coarsen_changes_nothing_where_there_is_nothing():
    tiles, keep = coarsen(HOUR_BY_MINUTE, empty_tiles(HOUR_BY_MINUTE), np.empty(0, np.int64))
    assert isinstance(tiles, Tiles)
    assert len(tiles) == len(keep) == 0


def test_coarsen_reaches_days_with_a_window_of_days():
    shape = shape_of(["count"], [Sliding(30 * DAY_US, DAY_US)])
    key = folded(shape, DAY_US, 5, 7 * HOUR_US)
    assert tiles_of(key) == [(0, DAY, 2)]


def test_coarsen_keeps_everything_of_a_key_that_has_no_horizon():
    """As after a restart, before the first event has told the stream's watermark."""
    key = Key(HOUR_BY_MINUTE)
    key.add([(0, NOON_US, 1.0), (0, -NOON_US, 1.0)])
    assert key.kept is not None
    tiles, keep = coarsen(HOUR_BY_MINUTE, key.kept.tiles, np.full(2, NEVER_US))
    assert keep.tolist() == [True, True]
    assert tiles.rung.tolist() == [SECOND, SECOND]
