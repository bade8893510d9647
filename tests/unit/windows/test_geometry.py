"""Windows at their edges: every bound moved by 1 µs, before and after the epoch."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.civil import UNITS
from tegula.schemas.zones import periods
from tegula.windows.geometry import (
    Calendar,
    Hopping,
    IncludingInstant,
    Lifetime,
    Newest,
    Series,
    Sliding,
    Tumbling,
    Window,
)
from tegula.windows.ladder import (
    DAY,
    EVER_START_US,
    FIFTEEN_MINUTES,
    FIVE_MINUTES,
    HOUR,
    INSTANT,
    MINUTE,
    RUNG_US,
    SECOND,
)
from tests.oracle import naive
from tests.oracle.places import PLACES
from tests.support.shapes import DAY as DAY_US
from tests.support.shapes import HOUR as HOUR_US
from tests.support.shapes import MINUTE as MINUTE_US
from tests.support.shapes import SECOND as SECOND_US
from tests.support.shapes import facts

resolutions_us = st.sampled_from([1, SECOND_US, 7 * SECOND_US, MINUTE_US, HOUR_US, DAY_US])
plain = st.one_of(
    st.builds(
        Sliding,
        st.integers(1, 40 * DAY_US),
        resolutions_us,
        st.just(0) | st.integers(0, 40 * DAY_US),
    ),
    st.builds(Tumbling, st.integers(1, 40 * DAY_US), st.booleans()),
    st.builds(
        lambda hop_us, more_us, current: Hopping(hop_us + more_us, hop_us, current),
        st.integers(1, 9 * DAY_US) | st.sampled_from([MINUTE_US, HOUR_US, DAY_US]),
        st.just(0) | st.integers(0, 40 * DAY_US) | st.sampled_from([MINUTE_US, HOUR_US, DAY_US]),
        st.booleans(),
    ),
    st.just(Lifetime()),
)
windows = plain | st.builds(IncludingInstant, plain)
instants_us = st.integers(-(2**60), 2**60) | st.integers(-3 * DAY_US, 3 * DAY_US)


BERLIN, APIA = periods("day", "Europe/Berlin"), periods("day", "Pacific/Apia")
zones = st.sampled_from(sorted({place.zone for place in PLACES}))
calendars = st.builds(
    lambda unit, zone, current: Calendar(periods(unit, zone), current),
    st.sampled_from(UNITS),
    zones,
    st.booleans(),
)
civil_us = st.one_of(
    st.integers(-60 * 365 * DAY_US, 200 * 365 * DAY_US),  # 1910 to 2170
    st.integers(0, 9 * DAY_US).map(lambda by_us: 1_325_000_000 * SECOND_US + by_us),
    st.sampled_from(APIA.starts_us[40_600:41_200].tolist()).flatmap(
        lambda edge_us: st.integers(edge_us - 1, edge_us + 1)
    ),
)


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND_US


def counts(window: Window, at_us: int, event_us: int) -> bool:
    start_us, end_us = window.bounds(at_us)
    return start_us <= event_us < end_us


@given(windows, instants_us)
def test_law_bounds_are_those_of_the_definition(window, at_us):
    start, end = naive.bounds(facts(window), at_us)
    assert window.bounds(at_us) == (EVER_START_US if start == -np.inf else start, end)


newest = st.builds(Newest, st.integers(1, 40 * DAY_US))


@given(newest, st.lists(instants_us, min_size=1, max_size=9))
def test_law_the_newest_of_a_span_are_picked_from_its_days(window, many):
    for at_us in many:
        start_us, end_us = window.bounds(at_us)
        assert end_us == at_us
        assert start_us <= at_us - window.within_us < start_us + DAY_US
    assert window.reach_us == window.within_us


def test_newest_of_a_span_begin_on_the_day_of_its_older_edge():
    window = Newest(DAY_US)
    edges = [window.bounds(3 * DAY_US + by_us)[0] // DAY_US for by_us in (-1, 0, 1)]
    assert edges == [1, 2, 2]
    assert IncludingInstant(window).bounds(3 * DAY_US - 1) == (2 * DAY_US, 3 * DAY_US)
    assert IncludingInstant(window).reach_us == DAY_US - 1


@given(windows | newest, st.lists(instants_us, min_size=1, max_size=9))
def test_law_bounds_of_many_instants_are_those_of_each(window, many):
    starts, ends = window.bounds(np.array(many, dtype=np.int64))
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [
        window.bounds(at_us) for at_us in many
    ]


@given(windows, instants_us)
def test_law_bounds_lie_within_reach_and_never_after_the_instant(window, at_us):
    start_us, end_us = window.bounds(at_us)
    assert start_us <= end_us <= at_us + isinstance(window, IncludingInstant)
    if window.reach_us is not None:
        assert at_us - start_us <= window.reach_us


@given(windows | newest, instants_us)
def test_law_edges_other_than_the_instant_lie_on_the_grain(window, at_us):
    width_us = RUNG_US[window.grain]
    start_us, end_us = window.bounds(at_us)
    assert start_us == EVER_START_US or start_us % width_us == 0
    newest_us = at_us + isinstance(window, IncludingInstant)
    assert end_us == newest_us or end_us % width_us == 0


@given(calendars | st.builds(IncludingInstant, calendars), st.lists(civil_us, min_size=1))
def test_law_calendar_lies_within_reach_and_on_its_grain_at_one_instant_and_at_many(window, many):
    starts, ends = window.bounds(np.array(many, dtype=np.int64))
    width_us = RUNG_US[window.grain]
    for at_us, start_us, end_us in zip(many, starts.tolist(), ends.tolist(), strict=True):
        assert window.bounds(at_us) == (start_us, end_us)
        newest_us = at_us + isinstance(window, IncludingInstant)
        assert start_us <= end_us <= newest_us
        assert at_us - start_us <= window.reach_us
        assert start_us % width_us == 0
        assert end_us == newest_us or end_us % width_us == 0


@given(calendars, st.integers(0, 130 * 365 * DAY_US) | civil_us.filter(lambda at_us: at_us > 0))
def test_law_calendar_has_the_bounds_that_datetime_tells(window, at_us):
    assert window.bounds(at_us) == naive.bounds(facts(window), at_us)


def test_day_of_23_and_of_25_hours_begin_at_local_midnight():
    today, yesterday = Calendar(BERLIN), Calendar(BERLIN, current=False)
    short, after = us("2024-03-30T23:00Z"), us("2024-03-31T22:00Z")
    assert today.bounds(short - 1) == (short - DAY_US, short - 1)
    assert today.bounds(short) == (short, short)
    assert today.bounds(after - 1) == (short, after - 1)
    assert yesterday.bounds(after - 1) == (short - DAY_US, short)
    assert yesterday.bounds(after) == (short, after)
    assert after - short == 23 * HOUR_US
    long, later = us("2024-10-26T22:00Z"), us("2024-10-27T23:00Z")
    assert yesterday.bounds(later) == (long, later)
    assert later - long == 25 * HOUR_US


def test_yesterday_is_the_day_before_the_one_that_a_zone_left_out():
    new_us = us("2011-12-30T10:00Z")  # the end of the 29th, and the beginning of the 31st
    assert Calendar(APIA).bounds(new_us) == (new_us, new_us)
    assert Calendar(APIA, current=False).bounds(new_us) == (new_us - DAY_US, new_us)
    assert Calendar(APIA, current=False).bounds(new_us - 1)[1] == new_us - DAY_US


@pytest.mark.parametrize("current", [True, False])
def test_calendar_is_empty_outside_of_its_years(current):
    table = periods("year", "UTC")
    first, last = int(table.starts_us[0]), int(table.starts_us[-1])
    window = Calendar(table, current)
    inside = (first, last - 1) if current else (int(table.starts_us[1]), last - 1)
    outside = (first - 1, last) if current else (int(table.starts_us[1]) - 1, last)
    for at_us in inside:
        assert window.bounds(at_us)[0] >= first
        assert window.bounds(np.array([at_us]))[0].tolist() == [window.bounds(at_us)[0]]
    for at_us in outside:
        assert window.bounds(at_us) == (EVER_START_US, EVER_START_US)
        assert [one.tolist() for one in window.bounds(np.array([at_us]))] == [[EVER_START_US]] * 2


def test_calendars_are_equal_where_their_tables_are():
    assert Calendar(BERLIN) == Calendar(periods("day", "Europe/Berlin"))
    assert Calendar(BERLIN) != Calendar(BERLIN, current=False)
    assert Calendar(BERLIN) != Calendar(APIA)
    assert len({Calendar(BERLIN), Calendar(BERLIN), Calendar(APIA)}) == 2


@pytest.mark.parametrize(
    ("window", "farthest_us"),
    [
        (Sliding(HOUR_US, MINUTE_US), HOUR_US + MINUTE_US - 1),
        (Sliding(HOUR_US, 1), HOUR_US),
        (Tumbling(HOUR_US, current=True), HOUR_US - 1),
        (Tumbling(HOUR_US), 2 * HOUR_US - 1),
        (Sliding(HOUR_US, MINUTE_US, 7), HOUR_US + 7 + MINUTE_US - 1),
        (Sliding(HOUR_US, 1, 7), HOUR_US + 7),
        (Hopping(HOUR_US, 5 * MINUTE_US), HOUR_US + 5 * MINUTE_US - 1),
        (Hopping(HOUR_US, 5 * MINUTE_US, current=True), HOUR_US - 1),
        (IncludingInstant(Sliding(HOUR_US, 1)), HOUR_US - 1),
        (IncludingInstant(Hopping(HOUR_US, MINUTE_US)), HOUR_US + MINUTE_US - 2),
    ],
)
def test_reach_is_no_more_than_some_instant_needs(window, farthest_us):
    instants = [DAY_US + by for by in (-2, -1, 0, 1, 6, 7)]
    distances = [at_us - window.bounds(at_us)[0] for at_us in instants]
    assert max(distances) == farthest_us
    assert window.reach_us is not None
    assert farthest_us <= window.reach_us <= farthest_us + 1


@pytest.mark.parametrize("at_us", [10 * DAY_US, -10 * DAY_US])
def test_exact_sliding_window_counts_its_older_edge_and_not_the_instant(at_us):
    window = Sliding(HOUR_US, 1)
    assert not counts(window, at_us, at_us - HOUR_US - 1)
    assert counts(window, at_us, at_us - HOUR_US)
    assert counts(window, at_us, at_us - 1)
    assert not counts(window, at_us, at_us)


@pytest.mark.parametrize("noon_us", [10 * DAY_US, -10 * DAY_US])
def test_sliding_window_on_a_grid_has_its_older_edge_at_the_grid_line_before(noon_us):
    window = Sliding(HOUR_US, MINUTE_US)
    assert window.bounds(noon_us)[0] == noon_us - HOUR_US
    assert window.bounds(noon_us + 1)[0] == noon_us - HOUR_US
    assert window.bounds(noon_us + MINUTE_US - 1)[0] == noon_us - HOUR_US
    assert window.bounds(noon_us - 1)[0] == noon_us - HOUR_US - MINUTE_US


@pytest.mark.parametrize("edge_us", [10 * DAY_US, 0, -10 * DAY_US])
def test_tumbling_window_is_complete_exactly_at_its_end(edge_us):
    window, running = Tumbling(DAY_US), Tumbling(DAY_US, current=True)
    assert window.bounds(edge_us - 1) == (edge_us - 2 * DAY_US, edge_us - DAY_US)
    assert window.bounds(edge_us) == (edge_us - DAY_US, edge_us)
    assert running.bounds(edge_us - 1) == (edge_us - DAY_US, edge_us - 1)
    assert running.bounds(edge_us) == (edge_us, edge_us)
    assert running.bounds(edge_us + 1) == (edge_us, edge_us + 1)


@pytest.mark.parametrize("noon_us", [10 * DAY_US, -10 * DAY_US])
def test_sliding_window_with_an_offset_has_both_edges_on_its_grid(noon_us):
    window = Sliding(HOUR_US, MINUTE_US, 2 * HOUR_US)
    edges = noon_us - 3 * HOUR_US, noon_us - 2 * HOUR_US
    before = noon_us - 3 * HOUR_US - MINUTE_US, noon_us - 2 * HOUR_US - MINUTE_US
    assert window.bounds(noon_us - 1) == before
    assert window.bounds(noon_us) == edges
    assert window.bounds(noon_us + MINUTE_US - 1) == edges


def test_exact_sliding_window_with_an_offset_keeps_both_edges_exact():
    window = Sliding(HOUR_US, 1, 7)
    assert window.bounds(DAY_US) == (DAY_US - HOUR_US - 7, DAY_US - 7)
    assert window.bounds(DAY_US + 1) == (DAY_US - HOUR_US - 6, DAY_US - 6)


@pytest.mark.parametrize(
    ("zone", "at", "current", "farthest_us"),
    [
        ("Europe/Berlin", "2024-10-27T23:00Z", True, 25 * HOUR_US - 1),
        ("Europe/Berlin", "2024-10-27T23:00Z", False, 49 * HOUR_US - 1),
        ("UTC", "2024-10-27T00:00Z", True, DAY_US - 1),
        ("UTC", "2024-10-27T00:00Z", False, 2 * DAY_US - 1),
    ],
)
def test_reach_of_a_calendar_is_what_its_longest_periods_need(zone, at, current, farthest_us):
    window = Calendar(periods("day", zone), current)
    last_us = us(at) - 1
    if not current:
        last_us += 24 * HOUR_US
    assert last_us - window.bounds(last_us)[0] == farthest_us == window.reach_us


def test_series_reaches_as_far_as_its_oldest_window_and_is_as_fine_as_its_finest():
    windows = tuple(Sliding(HOUR_US, MINUTE_US, n * DAY_US) for n in range(3))
    whole = Series(windows)
    assert whole.bounds(DAY_US) == (windows[2].bounds(DAY_US)[0], DAY_US)
    assert whole.reach_us == windows[2].reach_us == 2 * DAY_US + HOUR_US + MINUTE_US - 1
    assert whole.grain == MINUTE
    assert Series((Lifetime(),)).reach_us is None
    many = np.array([DAY_US, 7])
    assert [one.tolist() for one in whole.bounds(many)] == [
        list(pair) for pair in zip(*(whole.bounds(at_us) for at_us in (DAY_US, 7)), strict=True)
    ]


def test_windows_a_length_apart_meet_without_gap_or_overlap():
    newest, *older = (Sliding(HOUR_US, MINUTE_US, n * HOUR_US).bounds(DAY_US + 7) for n in range(4))
    starts = [newest[0], *(start for start, _ in older)]
    assert [end for _, end in older] == starts[:-1]
    assert newest[1] == DAY_US + 7


@pytest.mark.parametrize("edge_us", [10 * DAY_US, 0, -10 * DAY_US])
def test_hopping_window_moves_on_exactly_at_a_hop(edge_us):
    window = Hopping(DAY_US, HOUR_US)
    before = edge_us - HOUR_US - DAY_US, edge_us - HOUR_US
    assert window.bounds(edge_us - 1) == before
    assert window.bounds(edge_us) == (edge_us - DAY_US, edge_us)
    assert window.bounds(edge_us + HOUR_US - 1) == (edge_us - DAY_US, edge_us)


@pytest.mark.parametrize("edge_us", [10 * DAY_US, 0, -10 * DAY_US])
def test_running_hopping_window_becomes_the_complete_one(edge_us):
    running, complete = Hopping(DAY_US, HOUR_US, current=True), Hopping(DAY_US, HOUR_US)
    assert running.bounds(edge_us - 1) == (edge_us - DAY_US, edge_us - 1)
    assert running.bounds(edge_us) == (edge_us + HOUR_US - DAY_US, edge_us)
    assert complete.bounds(edge_us)[0] == running.bounds(edge_us - 1)[0]


@given(st.integers(1, 9 * DAY_US), st.booleans(), instants_us)
def test_law_hopping_by_its_size_is_tumbling(size_us, current, at_us):
    hopping, tumbling = Hopping(size_us, size_us, current), Tumbling(size_us, current)
    assert hopping.bounds(at_us) == tumbling.bounds(at_us)
    assert hopping.grain == tumbling.grain


def test_window_that_includes_the_instant_is_what_it_is_one_microsecond_later():
    exact, daily = IncludingInstant(Sliding(HOUR_US, 1)), IncludingInstant(Tumbling(DAY_US))
    assert counts(exact, DAY_US, DAY_US)
    assert not counts(exact, DAY_US, DAY_US + 1)
    assert not counts(exact, DAY_US, DAY_US - HOUR_US)
    assert counts(exact, DAY_US, DAY_US - HOUR_US + 1)
    assert daily.bounds(DAY_US - 1) == (0, DAY_US)
    assert IncludingInstant(Lifetime()).bounds(7) == (EVER_START_US, 8)
    assert IncludingInstant(Lifetime()).reach_us is None


def test_lifetime_counts_everything_before_the_instant():
    assert counts(Lifetime(), 0, -(2**62))
    assert counts(Lifetime(), 0, -1)
    assert not counts(Lifetime(), 0, 0)
    assert Lifetime().reach_us is None


def test_grain_is_the_coarsest_rung_that_the_edges_leave_whole():
    assert Sliding(DAY_US, 1).grain == INSTANT
    assert Sliding(DAY_US, HOUR_US).grain == HOUR
    assert Sliding(DAY_US, 500_000).grain == INSTANT
    assert Tumbling(90 * MINUTE_US).grain == FIFTEEN_MINUTES
    assert Tumbling(61 * MINUTE_US).grain == MINUTE
    assert Tumbling(7 * DAY_US).grain == DAY
    assert Sliding(DAY_US, HOUR_US, 1).grain == HOUR
    assert Hopping(DAY_US, 25 * MINUTE_US).grain == FIVE_MINUTES
    assert Hopping(DAY_US + 1, HOUR_US).grain == INSTANT
    assert Hopping(61 * MINUTE_US, HOUR_US).grain == MINUTE
    assert Calendar(BERLIN).grain == HOUR
    assert Calendar(periods("day", "UTC")).grain == DAY
    assert Calendar(periods("day", "Asia/Kathmandu")).grain == FIFTEEN_MINUTES
    assert Calendar(periods("month", "Africa/Monrovia")).grain == SECOND
    assert Lifetime().grain == DAY
    assert IncludingInstant(Hopping(DAY_US, HOUR_US)).grain == HOUR
