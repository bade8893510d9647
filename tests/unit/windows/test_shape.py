"""Shapes: what a build keeps, and for how long, as its windows need it."""

from __future__ import annotations

import pytest

from tegula.windows.geometry import IncludingInstant, Lifetime, Newest, Sliding, Tumbling
from tegula.windows.ladder import DAY, FIFTEEN_MINUTES, HOUR, INSTANT, MINUTE, SECOND
from tests.support.shapes import DAY as DAY_US
from tests.support.shapes import HOUR as HOUR_US
from tests.support.shapes import MINUTE as MINUTE_US
from tests.support.shapes import SECOND as SECOND_US
from tests.support.shapes import shape_of

HOURLY = Sliding(HOUR_US, MINUTE_US)
DAILY = Sliding(DAY_US, HOUR_US)


def test_shape_lays_the_fields_of_all_slots_one_after_the_other():
    shape = shape_of(["count", "mean", "last"], [HOURLY])
    names = [(slot.monoid.name, len(slot.monoid.fields)) for slot in shape.slots]
    spans = [(span.start, span.stop) for span in shape.field_ranges]
    assert [stop - start for start, stop in spans] == [count for _, count in names]
    assert spans[0][0] == 0
    assert spans[-1][1] == len(shape.fields)


def test_shape_names_each_window_once_in_order_of_first_use():
    assert shape_of(["count", "sum"], [DAILY, HOURLY]).windows == (DAILY, HOURLY)


@pytest.mark.parametrize(
    ("windows", "finest"),
    [
        ([HOURLY], SECOND),
        ([HOURLY, Sliding(HOUR_US, 1)], INSTANT),
        ([Sliding(HOUR_US, 500_000)], INSTANT),
        ([Lifetime()], SECOND),
        ([Tumbling(DAY_US)], SECOND),
    ],
)
def test_finest_is_a_second_but_where_an_edge_needs_instants(windows, finest):
    shape = shape_of(["count"], windows)
    assert shape.finest == finest
    assert shape.keeps_instants == (finest == INSTANT)
    assert shape.finest_us == (1 if finest == INSTANT else SECOND_US)


def test_retention_is_the_greatest_reach_and_depth_and_disorder():
    shape = shape_of(["count"], [HOURLY, Tumbling(DAY_US)], depth_us=7, disorder_us=5)
    assert shape.reach_us == 2 * DAY_US
    assert shape.retention_us == 2 * DAY_US + 7 + 5
    assert not shape.unbounded


def test_retention_of_the_newest_of_a_span_is_that_of_the_span():
    plain = shape_of(["count"], [Newest(DAY_US)], depth_us=7, disorder_us=5)
    assert plain.retention_us == DAY_US + 7 + 5
    assert not plain.keeps_instants
    including = shape_of(["count"], [IncludingInstant(Newest(DAY_US))], depth_us=7, disorder_us=5)
    assert including.retention_us == DAY_US - 1 + 7 + 5


def test_retention_is_for_ever_where_one_window_reads_everything():
    shape = shape_of(["count"], [HOURLY, Lifetime()])
    assert shape.unbounded
    assert shape.retention_us is None
    assert shape.reach_us == HOUR_US + MINUTE_US - 1


def test_coarsening_waits_with_each_rung_for_the_windows_that_are_finer():
    shape = shape_of(["count"], [HOURLY, DAILY, Sliding(600 * SECOND_US, SECOND_US), Lifetime()])
    reach = {MINUTE: 601 * SECOND_US - 1, HOUR: HOUR_US + MINUTE_US - 1, DAY: 25 * HOUR_US - 1}
    assert shape.coarsening == tuple(sorted(reach.items(), reverse=True))


def test_coarsening_knows_no_rung_that_is_not_the_grain_of_a_window():
    assert shape_of(["count"], [Tumbling(90 * MINUTE_US)]).coarsening == ((FIFTEEN_MINUTES, 0),)
    assert shape_of(["count"], [Sliding(MINUTE_US, SECOND_US)]).coarsening == ()


def test_coarsening_takes_exact_windows_for_windows_of_hours_because_segments_refine_an_hour():
    exact = Sliding(30 * DAY_US, 1)
    assert shape_of(["count"], [exact]).coarsening == ((HOUR, 0), (MINUTE, 0))
    reach_us = HOUR_US + MINUTE_US - 1
    shape = shape_of(["count"], [exact, HOURLY, Lifetime()])
    assert shape.coarsening == ((DAY, 30 * DAY_US), (HOUR, reach_us), (MINUTE, 0))


@pytest.mark.parametrize(
    ("windows", "reach_us"),
    [
        ([HOURLY, Lifetime()], None),
        ([HOURLY, Sliding(MINUTE_US, 1)], MINUTE_US),
        ([Sliding(MINUTE_US, 1), Sliding(MINUTE_US, 500_000, 7)], MINUTE_US + 500_006),
    ],
)
def test_segments_reach_as_far_as_an_edge_finer_than_a_second(windows, reach_us):
    assert shape_of(["count"], windows).segment_reach_us == reach_us
