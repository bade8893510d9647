"""Tiles of civil days: formed where nothing else is cut, and never taken for what they are not."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.civil import Clock, Periods, civil_periods
from tegula.schemas.outcomes import Status
from tegula.schemas.zones import periods
from tegula.windows.civil_days import calendar_of, civil_days
from tegula.windows.geometry import (
    Calendar,
    IncludingInstant,
    Lifetime,
    Newest,
    Sliding,
    Tumbling,
    Window,
)
from tegula.windows.ladder import CIVIL, EVER, HOUR, WIDTH_US
from tests.support.shapes import DAY, MINUTE, shape_of
from tests.support.shapes import HOUR as HOUR_US
from tests.support.shapes import SECOND as SECOND_US
from tests.unit.windows.test_coarsen import AGGREGATES, Key, check, tiles_of

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1_000_000


def calendar(unit: str, zone: str = "Europe/Berlin", current: bool = True) -> Calendar:
    return Calendar(periods(unit, zone), current, periods("day", zone))


SPRING = us("2024-03-31T00:00:00+01:00")
"""A day of 23 hours in Berlin."""

calendars = st.builds(
    calendar,
    st.sampled_from(["day", "week", "month", "year"]),
    st.sampled_from(ZONES),
    st.booleans(),
)
others = st.sampled_from(
    [
        Sliding(HOUR_US, MINUTE),
        Sliding(3 * DAY, HOUR_US),
        Sliding(30 * DAY, DAY),
        Sliding(10 * MINUTE, 1),
        Sliding(DAY, HOUR_US, 7 * DAY),
        Tumbling(DAY),
        Lifetime(),
    ]
)
windows = calendars | calendars | others | st.builds(IncludingInstant, calendars)
instants_us = st.one_of(
    st.integers(-400 * DAY, 400 * DAY),
    st.integers(-400 * 24, 400 * 24).map(lambda hours: hours * HOUR_US),
    st.builds(
        lambda days, by_us: days * DAY + by_us,
        st.integers(-40, 40),
        st.sampled_from([-HOUR_US - 1, -HOUR_US, -1, 0, 1, HOUR_US]),
    ),
).map(lambda by_us: SPRING + by_us)
events = st.lists(st.tuples(st.just(0), instants_us, st.integers(-9, 9).map(float)), max_size=12)


@given(
    windows=st.lists(windows, min_size=1, max_size=4, unique=True),
    steps=st.lists(st.tuples(events, instants_us), min_size=1, max_size=4),
    at=st.lists(instants_us, min_size=1, max_size=6),
    ahead_us=st.lists(st.integers(0, 800 * DAY), max_size=3),
)
def test_law_no_value_at_or_after_the_horizon_depends_on_days(windows, steps, at, ahead_us):
    key = Key(shape_of(AGGREGATES, windows))
    for events, horizon_us in steps:
        key.add(events)
        key.fold(horizon_us)
    for at_us in (*at, *(key.horizon_us + ahead for ahead in (0, *ahead_us))):
        check(key, at_us)


def year_of_hours(*windows: Window) -> Key:
    key = Key(shape_of(["count"], windows))
    first = us("2024-01-01T00:00:00+01:00")
    key.add([(0, first + hour * HOUR_US, 1.0) for hour in range(366 * 24)])
    key.fold(first + 366 * DAY)
    return key


def lengths_of(key: Key) -> dict[int, int]:
    """How many civil days of each length in hours a key has; 0 stands for all other tiles."""
    hours = [0 if rung < CIVIL else int(WIDTH_US[rung]) / HOUR_US for _, rung, _ in tiles_of(key)]
    return {length: hours.count(length) for length in set(hours)}


def test_year_is_kept_in_its_days():
    assert lengths_of(year_of_hours(calendar("year"))) == {24: 364, 23: 1, 25: 1}


def test_days_of_utc_give_way_to_civil_days_and_hours_to_neither():
    """A window on days of UTC cuts civil days: they are formed past its reach."""
    key = year_of_hours(calendar("year"), Sliding(30 * DAY, DAY))
    found = lengths_of(key)
    assert found[24] == 364 - 31
    assert found[0] == 31 * 24
    assert {rung for _, rung, _ in tiles_of(key) if rung < CIVIL} == {HOUR}


def test_days_are_those_of_the_zone_that_saves_most():
    near, far = calendar("month", "America/New_York"), calendar("year")
    found = civil_days([near, far, calendar("day", "Asia/Tokyo", current=False)])
    assert found is not None
    assert (found.zone, found.distance_us) == ("Europe/Berlin", near.reach_us)
    found = civil_days([near, calendar("day"), Lifetime()])
    assert found is not None
    assert (found.zone, found.distance_us) == ("America/New_York", 25 * HOUR_US - 1)


@pytest.mark.parametrize(
    "windows",
    [
        [Sliding(30 * DAY, DAY)],
        [calendar("day")],
        [calendar("day", current=False), Sliding(HOUR_US, MINUTE)],
        [calendar("month"), Sliding(60 * DAY, DAY)],
        [calendar("month"), Newest(30 * DAY)],
        [calendar("month"), calendar("month", "America/New_York")],
        [calendar("year", "UTC")],
        [Calendar(periods("year", "Europe/Berlin"))],
    ],
)
def test_there_are_no_days_where_they_save_nothing(windows):
    assert civil_days(windows) is None
    assert shape_of(["count"], windows).civil_days is None


def test_days_wait_for_the_edge_of_newest_events_which_lies_on_a_day_of_utc():
    found = civil_days([calendar("year"), Newest(7 * DAY)])
    assert found is not None
    assert found.distance_us == 8 * DAY


def test_day_is_formed_once_it_ends_the_reach_of_others_before_the_horizon():
    shape = shape_of(["count"], [calendar("year"), Sliding(HOUR_US, MINUTE)])
    reach_us = HOUR_US + MINUTE
    for by_us, count in ((-SECOND_US, 2), (0, 1)):
        key = Key(shape)
        key.add([(0, SPRING + 5, 1.0), (0, SPRING + 23 * HOUR_US - 1, 1.0)])
        key.fold(SPRING + 23 * HOUR_US + reach_us + by_us)
        assert len(tiles_of(key)) == count
    assert tiles_of(key) == [(SPRING, CIVIL + 4 * 23, 2)]


def test_late_event_joins_its_day_and_old_days_join_what_is_for_ever():
    key = Key(shape_of(["count"], [calendar("month"), Lifetime()]))
    key.add([(0, SPRING, 1.0)])
    key.fold(SPRING + 2 * DAY)
    key.add([(0, SPRING + HOUR_US, 1.0)])
    key.fold(SPRING + 3 * DAY)
    assert tiles_of(key) == [(SPRING, CIVIL + 4 * 23, 2)]
    key.fold(SPRING + 90 * DAY)
    assert [(rung, rows) for _, rung, rows in tiles_of(key)] == [(EVER, 2)]


def odd_days(*odd: tuple[int, int]) -> Periods:
    """The days of Berlin, of which some begin later."""
    days = periods("day", "Europe/Berlin")
    starts_us = days.starts_us.copy()
    for place, by_us in odd:
        starts_us[place] += by_us
    return Periods("day", "Odd", 1, "odd", starts_us)


def test_day_of_an_odd_length_or_across_a_longer_period_is_no_tile():
    days = odd_days((40_000, SECOND_US), (50_000, 30 * HOUR_US))
    (place,) = np.flatnonzero(days.starts_us == us("2024-01-01T00:00:00+01:00"))
    shifted = periods("year", "Europe/Berlin").starts_us + 60 * SECOND_US
    across = Periods("year", "Odd", 1, "odd", shifted)
    found = civil_days([Calendar(across, True, days)])
    assert found is not None
    assert not found.rungs[[39_999, 40_000, 49_999, place]].any()
    assert found.rungs[[39_998, 40_001, place - 1, place + 1]].all()


def test_midnight_that_moved_makes_answers_coarse_and_never_wrong():
    """Folded under one release of the database, read under another."""
    before = np.array([-80 * 366 * DAY, us("2024-03-31T01:00:00+00:00")])
    clock = Clock(before, np.array([HOUR_US, 2 * HOUR_US]))
    moved = Clock(before + np.array([0, 7 * DAY]), clock.offset_us)
    week, days = (
        [civil_periods(unit, "Nowhere", one) for one in (clock, moved)] for unit in ("week", "day")
    )
    # In force from 1 April, summer time moves the beginning of that week, by an hour.
    key = Key(shape_of(["count"], [Calendar(week[0], True, days[0])]))
    monday = us("2024-04-01T00:00:00+02:00")
    key.add([(0, monday + minute * MINUTE, 1.0) for minute in (-30, 30, 90)])
    key.fold(monday + 3 * DAY)
    assert [rows for _, _, rows in tiles_of(key)] == [1, 2]
    (column,) = key.read(monday + 3 * DAY)
    assert (column.values, column.statuses.tolist()) == ([2], [Status.PRESENT])
    key.shape = shape_of(["count"], [Calendar(week[1], True, days[1])])
    (column,) = key.read(monday + 3 * DAY)
    assert column.statuses.tolist() == [Status.COARSE]
    # A day on, that day is known to be counted from where its tile ends.
    assert column.start_us.tolist() == [monday + DAY]


def test_calendar_is_found_with_the_instant_and_without():
    plain = calendar("year")
    assert calendar_of(plain) == calendar_of(IncludingInstant(plain)) == plain
    assert calendar_of(Lifetime()) is None
