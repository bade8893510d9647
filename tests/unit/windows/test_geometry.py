"""Windows at their edges: every bound moved by 1 µs, before and after the epoch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.geometry import (
    Hopping,
    IncludingInstant,
    Lifetime,
    Sliding,
    Tumbling,
    Window,
)
from tegula.windows.ladder import DAY, EVER_START_US, FIVE_MINUTES, HOUR, INSTANT, MINUTE, RUNG_US
from tests.oracle import naive
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


def counts(window: Window, at_us: int, event_us: int) -> bool:
    start_us, end_us = window.bounds(at_us)
    return start_us <= event_us < end_us


@given(windows, instants_us)
def test_law_bounds_are_those_of_the_definition(window, at_us):
    start, end = naive.bounds(facts(window), at_us)
    assert window.bounds(at_us) == (EVER_START_US if start == -np.inf else start, end)


@given(windows, st.lists(instants_us, min_size=1, max_size=9))
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


@given(windows, instants_us)
def test_law_edges_other_than_the_instant_lie_on_the_grain(window, at_us):
    width_us = RUNG_US[window.grain]
    start_us, end_us = window.bounds(at_us)
    assert start_us == EVER_START_US or start_us % width_us == 0
    newest_us = at_us + isinstance(window, IncludingInstant)
    assert end_us == newest_us or end_us % width_us == 0


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
    assert Tumbling(90 * MINUTE_US).grain == FIVE_MINUTES
    assert Tumbling(61 * MINUTE_US).grain == MINUTE
    assert Tumbling(7 * DAY_US).grain == DAY
    assert Sliding(DAY_US, HOUR_US, 1).grain == HOUR
    assert Hopping(DAY_US, 25 * MINUTE_US).grain == FIVE_MINUTES
    assert Hopping(DAY_US + 1, HOUR_US).grain == INSTANT
    assert Hopping(61 * MINUTE_US, HOUR_US).grain == MINUTE
    assert Lifetime().grain == DAY
    assert IncludingInstant(Hopping(DAY_US, HOUR_US)).grain == HOUR
