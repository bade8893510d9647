"""Civil periods by hand-made clocks, and by those of real zones against `datetime`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.civil import UNITS, Clock, civil_periods
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.schemas.zones import periods
from tests.oracle import naive_calendar as naive
from tests.oracle.places import PLACES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BEGINNING_US = -80 * 366 * DAY_US
ZONES = sorted(
    {place.zone for place in PLACES}
    | {"Africa/Cairo", "Africa/Casablanca", "Asia/Kolkata", "Asia/Gaza", "America/Nuuk"}
)


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def starts(zone: str, unit: str, first: str, last: str) -> list[str]:
    """The starts from one instant to another, as UTC."""
    table = periods(unit, zone).starts_us
    inside = table[(table >= us(first)) & (table < us(last))].tolist()
    return [(EPOCH + timedelta(microseconds=at)).strftime("%m-%d %H:%M") for at in inside]


@pytest.mark.parametrize(
    ("zone", "first", "last", "expected"),
    [
        (
            "Europe/Berlin",
            "2024-03-30T00Z",
            "2024-04-02T00Z",
            ["03-30 23:00", "03-31 22:00", "04-01 22:00"],
        ),
        (
            "Europe/Berlin",
            "2024-10-26T00Z",
            "2024-10-29T00Z",
            ["10-26 22:00", "10-27 23:00", "10-28 23:00"],
        ),
        ("Asia/Kathmandu", "2024-01-01T00Z", "2024-01-02T00Z", ["01-01 18:15"]),
        (
            "Australia/Lord_Howe",  # half an hour back on the 7th
            "2024-04-06T00Z",
            "2024-04-08T00Z",
            ["04-06 13:00", "04-07 13:30"],
        ),
        (
            "America/Sao_Paulo",  # the 4th begins at 01:00
            "2018-11-03T00Z",
            "2018-11-06T00Z",
            ["11-03 03:00", "11-04 03:00", "11-05 02:00"],
        ),
        (
            "America/Sao_Paulo",  # back from midnight: the 18th begins when it is midnight again
            "2018-02-17T00Z",
            "2018-02-19T12Z",
            ["02-17 02:00", "02-18 03:00", "02-19 03:00"],
        ),
        (
            "America/St_Johns",  # the 7th begins at its first midnight, of two
            "2010-11-06T00Z",
            "2010-11-09T00Z",
            ["11-06 02:30", "11-07 02:30", "11-08 03:30"],
        ),
        (
            "Pacific/Apia",  # from the 29th to the 31st
            "2011-12-29T00Z",
            "2012-01-01T00Z",
            ["12-29 10:00", "12-30 10:00", "12-31 10:00"],
        ),
    ],
)
def test_days_begin_when_the_clock_first_shows_them(zone, first, last, expected):
    assert starts(zone, "day", first, last) == expected


def test_midnight_inside_a_jump_begins_the_day_at_the_jump():
    """Clocks go from 23:30 to 00:30, as in Toronto in 1919."""
    jump_us = 30 * MINUTE_US - HOUR_US
    clock = Clock(np.array([BEGINNING_US, jump_us]), np.array([0, HOUR_US]))
    assert clock.first_shows(np.array([-DAY_US, 0, DAY_US])).tolist() == [
        -DAY_US,
        jump_us,
        DAY_US - HOUR_US,
    ]


def test_clock_that_is_set_back_twice_has_shown_what_it_first_showed():
    """Back by two hours at one minute past midnight, and by another hour soon after."""
    back_us = MINUTE_US
    since = [BEGINNING_US, back_us, back_us + HOUR_US, back_us + 2 * HOUR_US]
    ahead = [0, -2 * HOUR_US, -3 * HOUR_US, -3 * HOUR_US + 1]
    clock = Clock(np.array(since), np.array(ahead))
    assert clock.first_shows(np.array([-1, 0, HOUR_US])).tolist() == [-1, 0, 4 * HOUR_US - 1]


def test_weeks_begin_on_monday_and_years_on_the_first_of_january():
    assert starts("Europe/Berlin", "week", "2024-03-24T00Z", "2024-04-02T00Z") == [
        "03-24 23:00",
        "03-31 22:00",
    ]
    assert starts("Europe/Berlin", "month", "2024-03-02T00Z", "2024-05-01T00Z") == [
        "03-31 22:00",
        "04-30 22:00",
    ]
    assert starts("Pacific/Apia", "year", "2010-06-01T00Z", "2012-06-01T00Z") == [
        "01-01 10:00",
        "12-31 10:00",
    ]


def test_day_that_a_zone_left_out_is_no_day():
    table = periods("day", "Pacific/Apia").starts_us
    assert (np.diff(table) > 0).all()
    assert len(table) == len(periods("day", "UTC").starts_us) - 1


instants_us = st.integers(us("1970-01-02T00Z"), us("2199-12-01T00Z"))
near_changes_us = st.sampled_from(PLACES).flatmap(
    lambda place: st.integers(-3 * DAY_US, 3 * DAY_US).map(
        lambda by_us: us(f"{place.start}Z") + by_us
    )
)


@given(st.sampled_from(ZONES), st.sampled_from(UNITS), instants_us | near_changes_us)
def test_law_period_is_the_one_that_datetime_tells(zone, unit, at_us):
    table = periods(unit, zone).starts_us
    place = int(np.searchsorted(table, at_us, side="right"))
    start_us, end_us = int(table[place - 1]), int(table[place])
    here = naive.period_of(at_us, unit, zone)
    assert naive.period_of(start_us, unit, zone) == here
    assert naive.period_of(start_us - 1, unit, zone) < here
    assert naive.period_of(end_us - 1, unit, zone) == here
    assert naive.period_of(end_us, unit, zone) > here


@given(st.sampled_from(ZONES), st.sampled_from(UNITS))
def test_law_grid_divides_every_start_and_a_day(zone, unit):
    table = periods(unit, zone)
    assert not (table.starts_us % table.grid_us).any()
    assert DAY_US % table.grid_us == 0


@pytest.mark.parametrize("zone", sorted({place.zone for place in PLACES}))
@pytest.mark.parametrize("count", [1, 2])
def test_longest_is_that_of_datetime(zone, count):
    for unit in UNITS:
        assert periods(unit, zone).longest_us(count) == naive.longest_us(unit, zone, count)


@pytest.mark.parametrize(
    ("zone", "grid_us"),
    [
        ("UTC", DAY_US),
        ("Europe/Berlin", HOUR_US),
        ("Europe/Paris", HOUR_US),
        ("Asia/Kolkata", 30 * MINUTE_US),
        ("Asia/Kathmandu", 15 * MINUTE_US),
        ("Africa/Monrovia", 30 * SECOND_US),
    ],
)
def test_grid_is_that_of_all_days_since_1970(zone, grid_us):
    assert periods("day", zone).grid_us == grid_us


def test_history_off_the_grid_is_replaced_by_the_oldest_offset_on_it():
    """Paris was 9 min 21 s ahead until 11 March 1911."""
    assert starts("Europe/Paris", "day", "1911-03-11T00Z", "1911-03-13T00Z") == [
        "03-11 00:00",
        "03-12 00:00",
    ]
    assert starts("Europe/Paris", "day", "1900-01-01T00Z", "1900-01-02T00Z") == ["01-01 00:00"]


def test_calendar_spans_1900_to_2200():
    for unit in UNITS:
        table = periods(unit, "UTC").starts_us
        assert table[0] == us("1900-01-01T00Z")
        last = us("2199-12-30T00Z") if unit == "week" else us("2200-01-01T00Z")
        assert table[-1] == last


def test_periods_differ_where_one_edge_does():
    summer_us = us("2024-03-31T01Z")
    one = Clock(np.array([BEGINNING_US, summer_us]), np.array([0, HOUR_US]))
    other = Clock(np.array([BEGINNING_US, summer_us + 7 * DAY_US]), np.array([0, HOUR_US]))
    first, second = (civil_periods("day", "Nowhere", clock) for clock in (one, other))
    assert first == civil_periods("day", "Nowhere", one)
    assert first != second
    assert first.grid_us == second.grid_us == HOUR_US
    assert int((first.starts_us != second.starts_us).sum()) == 7
