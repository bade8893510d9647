"""Which instants stand beside coarse tiles, and which hours a reader asks for."""

from __future__ import annotations

import numpy as np
import pytest

from tegula.windows.geometry import IncludingInstant, Lifetime, Sliding, Tumbling
from tegula.windows.ladder import INSTANT, SECOND
from tegula.windows.segments import (
    first_kept_hour,
    hours_of_all_edges,
    hours_of_edges,
    to_seconds,
)
from tegula.windows.tiles import NEVER_US
from tests.support import shapes
from tests.support.shapes import lift_events, shape_of

MINUTE, HOUR, DAY = shapes.MINUTE, shapes.HOUR, shapes.DAY
NOON = 12 * HOUR
EXACT = Sliding(HOUR, 1)


def test_instants_become_seconds_toward_minus_infinity():
    keyed = lift_events(shape_of(["count"], [EXACT]), [b"a"], [(0, -1, 1.0), (0, 2_500_000, 1.0)])
    tiles, were = to_seconds(keyed.tiles)
    assert tiles.start_us.tolist() == [-shapes.SECOND, 2 * shapes.SECOND]
    assert tiles.rung.tolist() == [SECOND, SECOND]
    assert were.tolist() == [True, True]
    assert keyed.tiles.rung.tolist() == [INSTANT, INSTANT]


def test_seconds_stay_as_they_are():
    keyed = lift_events(shape_of(["count"], [Tumbling(HOUR)]), [b"a"], [(0, 2_500_000, 1.0)])
    tiles, were = to_seconds(keyed.tiles)
    assert (tiles.start_us.tolist(), were.tolist()) == ([2 * shapes.SECOND], [False])


def test_an_hour_is_kept_as_long_as_an_edge_at_or_after_the_horizon_may_cut_it():
    shape = shape_of(["count"], [EXACT, Sliding(30 * DAY, DAY)])
    horizons = np.array([NOON - 1, NOON, NOON + 1, NOON + HOUR, NEVER_US])
    reach_us = shape.segment_reach_us
    assert reach_us == HOUR
    kept = first_kept_hour(shape, horizons)
    assert kept.tolist()[:4] == [10, 11, 11, 12]
    for horizon_us, hour in zip(horizons.tolist()[:4], kept.tolist(), strict=False):
        assert (hour + 1) * HOUR + reach_us > horizon_us
        assert hour * HOUR + reach_us <= horizon_us
    assert kept[4] == NEVER_US // HOUR


@pytest.mark.parametrize(
    ("window", "at_us", "hours"),
    [
        (EXACT, NOON + 5, (11,)),
        (EXACT, NOON, ()),
        (Sliding(HOUR, MINUTE), NOON + 5, ()),
        (Sliding(HOUR, 1, 3 * HOUR), NOON + 5, (8, 9)),
        (Sliding(HOUR, 500_000), NOON + 5, ()),
        (Sliding(HOUR, 500_000), NOON + 500_000, (11,)),
        (IncludingInstant(EXACT), NOON, (11,)),
        (Lifetime(), NOON + 5, ()),
    ],
)
def test_after_the_newest_event_only_the_hours_of_fine_edges_are_needed(window, at_us, hours):
    assert hours_of_edges([window], at_us) == hours


def test_before_the_newest_event_the_hours_of_all_edges_are_needed():
    windows = [EXACT, Sliding(10 * HOUR, MINUTE), Lifetime()]
    assert hours_of_all_edges(windows, NOON + 5 * MINUTE + 1) == (2, 11, 12)
    assert hours_of_all_edges([Tumbling(HOUR)], NOON + 1) == (12,)
