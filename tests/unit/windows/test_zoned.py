"""Calendar windows by each key's own clock: one key, many keys, and what a clock itself tells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.civil import UNITS
from tegula.schemas.outcomes import Status
from tegula.schemas.quarters import BLOCK_US, QUARTER_US, periods_about
from tegula.schemas.types import Int64
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import Column, Order, Runs
from tegula.windows.finish import FeatureColumn, finish
from tegula.windows.geometry import Lifetime
from tegula.windows.ladder import EVER, EVER_START_US, FIFTEEN_MINUTES, RUNG_US, SECOND
from tegula.windows.shape import Shape, Slot, WindowedFeature
from tegula.windows.tiles import NEVER_US, KeyedTiles, Tiles
from tegula.windows.zoned import ZonedCalendar
from tegula.windows.zoned_edges import zoned_bounds
from tests.oracle import naive, naive_calendar
from tests.oracle.places import PLACES
from tests.support.shapes import DAY, HOUR, MINUTE
from tests.support.shapes import SECOND as SECOND_US

COUNT, LAST = AGGREGATES["count"], AGGREGATES["last"]
SLOTS = (
    Slot("rows", COUNT.needs(None, {})[0].monoid, None),
    Slot("zone", LAST.needs("string", {})[0].monoid, 0),
)
ZONES = sorted({place.zone for place in PLACES} | {"Asia/Kolkata", "Etc/GMT+12"})
NO_ZONES = ("", "Nowhere", "utc", "Europe", "../UTC", "Europe/Berlin ")
NOON = 1_711_800_000_000_000  # 30 March 2024, 12:00 UTC

Event = tuple[int, str | None]
"""Event time in µs, and the zone that it names."""

windows = st.builds(
    ZonedCalendar,
    st.sampled_from(UNITS),
    st.booleans(),
    st.integers(0, 1),
    st.just(1),
    st.just(periods_about),
)
civil_us = st.sampled_from(PLACES).flatmap(
    lambda place: st.integers(-3 * DAY, 3 * DAY).map(
        lambda by_us: us(f"{place.start}:00+00:00") + by_us
    )
)
quarters_us = st.integers(us0 := 50 * 365 * 96, us0 + 20 * 365 * 96).map(
    lambda number: number * QUARTER_US
)
instants_us = civil_us | st.builds(lambda at, by: at + by, quarters_us, st.sampled_from([-1, 0, 1]))


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * 1_000_000


def facts(window: ZonedCalendar, zone: str | None = None) -> naive.Window:
    kind = "zoned" if zone is None else "calendar"
    named = {"unit": window.unit, "zone": zone, "current": window.current}
    return {"kind": kind, **named, "include": bool(window.later_us)}


def shape_of(*windows: ZonedCalendar) -> Shape:
    features = tuple(
        WindowedFeature(f"n{n}", COUNT, (0,), window, Int64) for n, window in enumerate(windows)
    )
    return Shape(SLOTS, features, 15 * MINUTE, 0)


def keyed(*events: Sequence[Event], rung: int = SECOND) -> KeyedTiles:
    """A tile a second (or another rung) of each key; a key for each list of events."""
    rows = sorted(
        (key, at, n, zone) for key, mine in enumerate(events) for n, (at, zone) in enumerate(mine)
    )
    key, at_us, offset = (np.array([row[n] for row in rows], np.int64) for n in range(3))
    names = pa.array([(row[3] or "").encode() for row in rows], pa.large_binary())
    valid = np.array([row[3] is not None for row in rows], bool)
    start_us = at_us - at_us % RUNG_US[rung]
    runs = Runs.of_changes(key, start_us)
    order = Order(at_us, np.zeros(len(rows), np.int64), offset)
    states = [*SLOTS[0].monoid.lift(None, order, runs)]
    states += SLOTS[1].monoid.lift(Column(names, valid), order, runs)
    first = runs.starts
    bounds = np.searchsorted(key[first], np.arange(len(events) + 1))
    newest_us = np.array([max((at for at, _ in mine), default=NEVER_US) for mine in events])
    rungs = np.full(len(first), rung, np.uint8)
    tiles = Tiles(start_us[first], rungs, runs.lengths, tuple(states))
    return KeyedTiles(pa.array([b""] * len(events), pa.large_binary()), bounds, newest_us, tiles)


def read(window: ZonedCalendar, at_us: int, *events: Sequence[Event]) -> FeatureColumn:
    horizons = np.full(len(events), NEVER_US)
    return finish(shape_of(window), keyed(*events), at_us, horizons)[0]


@given(windows, st.sampled_from(ZONES), instants_us)
def test_law_bounds_are_those_that_the_clock_of_the_zone_tells(window, zone, at_us):
    found = window.bounds_in(zone, at_us)
    assert found == naive.bounds(facts(window, zone), at_us)
    older_us, newer_us = window.bounds(at_us)
    assert older_us <= found[0] <= found[1] <= newer_us
    assert window.reach_us is not None
    assert at_us - window.reach_us <= found[0]


@given(windows, st.sampled_from(ZONES), instants_us)
def test_law_older_edge_lies_on_the_grain(window, zone, at_us):
    assert window.grain == FIFTEEN_MINUTES
    start_us, end_us = window.bounds_in(zone, at_us)
    assert start_us % RUNG_US[FIFTEEN_MINUTES] == 0
    assert window.current or end_us % RUNG_US[FIFTEEN_MINUTES] == 0


@given(windows, st.lists(st.tuples(st.sampled_from([*ZONES, *NO_ZONES]), instants_us), min_size=1))
def test_law_many_keys_have_the_bounds_of_each(window, named):
    at_us = np.array([at for _, at in named])
    state = keyed(*([(at - 1, zone)] for zone, at in named))
    horizons = np.full(len(named), NEVER_US)
    found = zoned_bounds(shape_of(window), state, None, window, at_us, horizons)
    for n, (zone, at) in enumerate(named):
        alone = window.bounds_in(zone, at)
        assert found.known[n] == (alone is not None) == (zone in ZONES)
        until_us = at + window.later_us
        both = int(found.start_us[n]), int(found.end_us[n])
        assert both == (alone or (until_us, until_us))


@given(
    windows,
    civil_us,
    st.lists(
        st.tuples(
            st.integers(0, 3 * DAY) | st.integers(0, 3 * SECOND_US) | st.integers(0, 40 * DAY),
            st.sampled_from([*ZONES[:4], None, "Nowhere"]),
        ),
        max_size=8,
    ),
)
def test_law_value_and_status_are_those_of_the_raw_events(window, at_us, ages):
    events = [(at_us - age_us, zone) for age_us, zone in ages]
    raw = [naive.Event(at, 0, n, True, zone=zone) for n, (at, zone) in enumerate(events)]
    column = read(window, at_us, events)
    if Status(column.statuses[0]) is Status.COARSE:
        assert any(at >= at_us for at, _ in events)
        return
    expected = naive.value("count", facts(window), raw, at_us)
    assert column.values == [expected]
    status = naive.status(expected, facts(window), raw, at_us, np.inf)
    assert Status(column.statuses[0]).name == status


DAY_HERE = ZonedCalendar("day", True, 0, 1, periods_about)


def test_zone_is_that_of_the_newest_event_that_names_one():
    berlin, tokyo = "Europe/Berlin", "Asia/Tokyo"
    midnight = us("2024-03-30T00:00:00+09:00")
    events = [(midnight, berlin), (NOON - HOUR, tokyo), (NOON - MINUTE, None)]
    assert read(DAY_HERE, NOON, events).values == [3]
    assert read(DAY_HERE, NOON, [*events, (NOON - 1, berlin)]).values == [3]
    assert read(DAY_HERE, NOON, [(midnight - 1, berlin), *events]).values == [3]


def test_events_at_the_same_instant_name_the_zone_by_their_order():
    at_us = us("2024-03-29T23:30:00+00:00")
    events = [(at_us, "UTC"), (at_us, "Europe/Berlin")]
    assert read(DAY_HERE, NOON, events, events[::-1]).values == [2, 0]


@pytest.mark.parametrize("name", NO_ZONES)
def test_name_that_is_no_zone_leaves_the_key_without_a_value(name):
    column = read(DAY_HERE, NOON, [(NOON - 2, "UTC"), (NOON - 1, name)], [(NOON - 1, None)], [])
    statuses = [Status.NO_ZONE, Status.NO_ZONE, Status.NOT_FOUND]
    assert (column.values, column.statuses.tolist()) == ([None, None, 0], statuses)
    assert column.start_us.tolist() == column.end_us.tolist() == [NOON] * 3


def test_zone_that_an_event_at_the_instant_names_counts_where_the_instant_is_included():
    events = [(NOON - 13 * HOUR, "UTC"), (NOON, "Europe/Berlin")]
    including = ZonedCalendar("day", True, 1, 1, periods_about)
    after = [*events, (NOON + SECOND_US, "Nowhere")]
    assert read(including, NOON + SECOND_US - 1, after).values == [2]
    assert read(DAY_HERE, NOON, [events[0], (NOON - 1, "UTC")]).values == [1]


def test_answer_is_coarse_where_a_later_event_of_the_same_second_may_have_named_the_zone():
    events = [(NOON - 5 * DAY, "UTC"), (NOON, None), (NOON + 5, "Asia/Tokyo")]
    column = read(ZonedCalendar("day", False, 0, 1, periods_about), NOON + 3, events)
    assert column.statuses.tolist() == [Status.COARSE]


def test_window_farther_than_tiles_are_kept_has_no_zone():
    """In 1969 Kwajalein went to the other side of the date line: a day of 47 hours."""
    zone, change = "Pacific/Kwajalein", us("1969-09-30T13:00:00+00:00")
    start_us = change - DAY
    last_us = start_us + 36 * HOUR - 1
    assert DAY_HERE.bounds_in(zone, last_us) == (start_us, last_us)
    assert DAY_HERE.bounds_in(zone, last_us + 1) is None
    column = read(DAY_HERE, last_us + 1, [(last_us, zone)])
    assert column.statuses.tolist() == [Status.NO_ZONE]


@pytest.mark.parametrize("year", [1899, 2201, 9000])
def test_window_is_empty_outside_of_the_calendar(year):
    at_us = us("2001-01-01T12:00:00+00:00") + (year - 2001) * 365 * DAY
    column = read(DAY_HERE, at_us, [(at_us - 1, "UTC")])
    assert (column.values, column.statuses.tolist()) == ([0], [Status.EMPTY])
    assert DAY_HERE.bounds_in("UTC", at_us) == (EVER_START_US, EVER_START_US)


def test_keys_are_kept_for_ever_and_what_no_window_reaches_as_one():
    shape = shape_of(DAY_HERE)
    assert shape.unbounded
    assert shape.retention_us is None
    assert shape.reach_us == 36 * HOUR - 1
    events = [(NOON - 400 * DAY, "Asia/Tokyo")]
    state = keyed(events)
    ever = np.array([EVER_START_US]), np.array([EVER], np.uint8)
    old = Tiles(*ever, state.tiles.rows, state.tiles.columns)
    state = KeyedTiles(state.keys, state.bounds, state.newest_us, old)
    (column,) = finish(shape, state, NOON, np.array([NOON]))
    assert (column.values, column.statuses.tolist()) == ([0], [Status.EMPTY])
    assert column.start_us.tolist() == [us("2024-03-30T00:00:00+09:00")]
    # So far behind the horizon the ever tile may hold newer events, which is not known.
    (column,) = finish(shape, state, NOON, np.array([NOON + 40 * HOUR]))
    assert column.statuses.tolist() == [Status.COARSE]


def test_windows_are_equal_where_they_ask_for_the_same():
    again = ZonedCalendar("day", True, 0, 1, lambda unit, zone, at_us: None)
    assert again == DAY_HERE
    assert len({again, DAY_HERE, Lifetime()}) == 2


def test_tables_meet_at_the_ends_of_their_blocks():
    edge_us = 55 * BLOCK_US
    for unit in UNITS:
        window = ZonedCalendar(unit, False, 0, 1, periods_about)
        for at_us in range(edge_us - DAY, edge_us + DAY, 45 * MINUTE):
            expected = naive_calendar.bounds(facts(window, "America/New_York"), at_us)
            assert window.bounds_in("America/New_York", at_us) == expected
