"""From tiles to values: statuses, empties, defaults, and tiles that the instant cuts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tegula.schemas.outcomes import Status
from tegula.schemas.types import Bool, Float64, Int64, String, Timestamp, list_of
from tegula.windows.finish import FeatureColumn, finish, to_python
from tegula.windows.geometry import IncludingInstant, Lifetime, Series, Sliding, Tumbling
from tegula.windows.ladder import EVER_START_US
from tegula.windows.shape import Shape
from tegula.windows.tiles import NEVER_US, KeyedTiles
from tests.support.shapes import DAY, HOUR, MINUTE, SECOND, lift_events, shape_of

NOON = 12 * HOUR
HOURLY = Sliding(HOUR, MINUTE)
COUNT = shape_of(["count"], [HOURLY])
RETENTION = COUNT.retention_us or 0
EARLIER = NOON - HOUR - MINUTE
"""Within retention, and before the window."""


def keyed(shape: Shape, *times_us: int) -> KeyedTiles:
    """One key with an event of value 2.0 at each instant."""
    return lift_events(shape, [b"k"], [(0, at_us, 2.0) for at_us in times_us])


def answer(
    shape: Shape, at_us: int, *times_us: int, horizon_us: int = NEVER_US
) -> list[tuple[object, Status]]:
    columns = finish(shape, keyed(shape, *times_us), at_us, np.array([horizon_us]))
    return [(column.values[0], Status(int(column.statuses[0]))) for column in columns]


def test_finish_counts_what_lies_in_the_window_and_no_more():
    times_us = NOON - HOUR - 1, NOON - HOUR, NOON - 1
    assert answer(COUNT, NOON, *times_us) == [(2, Status.PRESENT)]


def test_finish_says_empty_where_the_key_is_known_and_the_window_is_not():
    assert answer(COUNT, NOON, EARLIER) == [(0, Status.EMPTY)]


def test_finish_says_not_found_exactly_past_retention():
    assert answer(COUNT, NOON + RETENTION, NOON) == [(0, Status.EMPTY)]
    assert answer(COUNT, NOON + RETENTION + 1, NOON) == [(0, Status.NOT_FOUND)]


def test_finish_says_not_found_before_the_first_event():
    assert answer(COUNT, NOON, NOON) == [(0, Status.NOT_FOUND)]
    assert answer(COUNT, NOON, NOON + HOUR) == [(0, Status.NOT_FOUND)]
    assert answer(COUNT, NOON) == [(0, Status.NOT_FOUND)]


def test_finish_finds_a_key_for_ever_where_a_window_reads_everything():
    shape = shape_of(["count"], [HOURLY, Lifetime()])
    assert answer(shape, NOON + 900 * DAY, NOON) == [(0, Status.EMPTY), (1, Status.PRESENT)]


def test_finish_gives_zero_for_counts_and_sums_of_nothing_and_null_for_all_others():
    shape = shape_of(["count", "sum", "approx_distinct", "mean", "min", "last"], [HOURLY])
    got = answer(shape, NOON, EARLIER)
    assert got == [(v, Status.EMPTY) for v in (0, 0.0, 0, None, None, None)]
    absent = answer(shape, NOON)
    assert absent == [(v, Status.NOT_FOUND) for v in (0, 0.0, 0, None, None, None)]


def test_finish_says_empty_where_there_are_rows_but_no_value():
    shape = shape_of(["variance"], [HOURLY])
    assert answer(shape, NOON, NOON - 1) == [(None, Status.EMPTY)]
    assert answer(shape, NOON, NOON - 1, NOON - 2) == [(0.0, Status.PRESENT)]


def test_finish_serves_the_default_instead_of_null_and_says_so():
    shape = shape_of(["mean", "sum"], [HOURLY])
    features = tuple(replace(feature, default=-1.0) for feature in shape.features)
    columns = finish(shape, keyed(shape, EARLIER), NOON, np.array([NEVER_US]), features)
    assert [column.values for column in columns] == [[-1.0], [0.0]]
    assert [column.statuses.tolist() for column in columns] == [[Status.EMPTY]] * 2


def test_finish_decides_emptiness_by_counts_and_not_by_a_residue():
    shape = shape_of(["sum"], [HOURLY])
    events = [(0, NOON - 5, 1e300), (0, NOON - 4, -1e300)]
    (column,) = finish(shape, lift_events(shape, [b"k"], events), NOON, np.array([NEVER_US]))
    assert (column.values, column.statuses.tolist()) == ([0.0], [Status.PRESENT])


def test_finish_says_overflow_where_an_aggregate_passed_its_bound():
    shape = shape_of(["sum"], [HOURLY], "int")
    state = lift_events(shape, [b"k"], [(0, NOON - 5, 2**62), (0, NOON - 4, 2**62)])
    (column,) = finish(shape, state, NOON, np.array([NEVER_US]))
    assert (column.values, column.statuses.tolist()) == ([None], [Status.OVERFLOW])


def test_tile_that_the_instant_cuts_counts_whole_if_the_newest_event_is_before_it():
    assert answer(COUNT, NOON + 500_000, NOON, NOON + 499_999) == [(2, Status.PRESENT)]


@pytest.mark.parametrize("later_us", [NOON + 500_000, NOON + 500_001, NOON + HOUR])
def test_tile_that_the_instant_cuts_is_coarse_if_the_newest_event_is_at_or_after_it(later_us):
    ((_, status),) = answer(COUNT, NOON + 500_000, NOON, later_us)
    assert status is Status.COARSE


def test_no_tile_is_cut_where_the_instant_is_a_whole_second():
    assert answer(COUNT, NOON + SECOND, NOON, NOON + SECOND) == [(1, Status.PRESENT)]


def test_no_tile_is_cut_where_events_are_kept_as_instants():
    shape = shape_of(["count"], [Sliding(HOUR, 1)])
    assert answer(shape, NOON + 7, NOON, NOON + 6, NOON + 7) == [(2, Status.PRESENT)]


def test_complete_tumbling_window_is_never_cut_by_the_instant():
    shape = shape_of(["count"], [Tumbling(HOUR)])
    times_us = NOON - HOUR - 1, NOON - HOUR, NOON - 1, NOON, NOON + 800_000
    assert answer(shape, NOON + 700_000, *times_us) == [(2, Status.PRESENT)]


INCLUDING = shape_of(["count"], [IncludingInstant(HOURLY), HOURLY])


def test_window_that_includes_the_instant_counts_an_event_at_it_and_finds_its_key():
    assert answer(INCLUDING, NOON, NOON) == [(1, Status.PRESENT), (0, Status.NOT_FOUND)]
    assert answer(INCLUDING, NOON - 1, NOON) == [(0, Status.NOT_FOUND)] * 2
    assert answer(INCLUDING, NOON + 1, NOON) == [(1, Status.PRESENT)] * 2


def test_second_that_ends_after_an_included_instant_is_coarse_if_a_later_event_is_in_it():
    (including, _) = answer(INCLUDING, NOON, NOON, NOON + 1)
    assert including == (2, Status.COARSE)
    columns = finish(INCLUDING, keyed(INCLUDING, NOON, NOON + 1), NOON, np.array([NEVER_US]))
    assert bounds(columns[0]) == (NOON - HOUR, NOON + SECOND)
    assert bounds(columns[1]) == (NOON - HOUR, NOON)


def test_window_before_an_offset_ignores_what_came_since():
    shape = shape_of(["count"], [Sliding(HOUR, MINUTE, HOUR)])
    times_us = NOON - 2 * HOUR - 1, NOON - 2 * HOUR, NOON - HOUR - 1, NOON - HOUR, NOON - 1, NOON
    assert answer(shape, NOON, *times_us) == [(2, Status.PRESENT)]
    assert answer(shape, NOON + MINUTE - 1, *times_us) == [(2, Status.PRESENT)]
    (column,) = finish(shape, keyed(shape, *times_us), NOON + 7, np.array([NEVER_US]))
    assert bounds(column) == (NOON - 2 * HOUR, NOON - HOUR)


HOURS = Series(tuple(Sliding(HOUR, MINUTE, n * HOUR) for n in range(3)))


def test_series_is_a_list_of_what_its_windows_come_to_newest_first():
    shape = shape_of(["count", "max"], [HOURS, HOURLY])
    times_us = NOON - 3 * HOUR - 1, NOON - 3 * HOUR, NOON - 2 * HOUR - 1, NOON - 1
    assert answer(shape, NOON, *times_us) == [
        ([1, 0, 2], Status.PRESENT),
        (1, Status.PRESENT),
        ([2.0, None, 2.0], Status.PRESENT),
        (2.0, Status.PRESENT),
    ]
    columns = finish(shape, keyed(shape, *times_us), NOON + 7, np.array([NEVER_US]))
    assert bounds(columns[0]) == (NOON - 3 * HOUR, NOON + 7)
    assert bounds(columns[1]) == (NOON - HOUR, NOON + 7)


def test_default_stands_for_each_null_of_a_series():
    shape = shape_of(["max"], [HOURS])
    features = tuple(replace(feature, default=-1.0) for feature in shape.features)
    (column,) = finish(shape, keyed(shape, NOON - 1), NOON, np.array([NEVER_US]), features)
    assert column.values == [[2.0, -1.0, -1.0]]


def test_status_of_a_series_is_that_of_the_whole_list():
    shape = shape_of(["count"], [HOURS])
    assert answer(shape, NOON) == [([0, 0, 0], Status.NOT_FOUND)]
    assert answer(shape, NOON, NOON - 3 * HOUR - 1) == [([0, 0, 0], Status.EMPTY)]
    assert answer(shape, NOON, NOON - 3 * HOUR) == [([0, 0, 1], Status.PRESENT)]
    at_us = NOON + 500_000
    assert answer(shape, at_us, at_us + 1) == [([1, 0, 0], Status.COARSE)]
    columns = finish(shape, keyed(shape, at_us + 1), at_us, np.array([NEVER_US]))
    assert bounds(columns[0]) == (NOON - 3 * HOUR, NOON + SECOND)


def test_series_overflows_where_one_of_its_windows_does():
    shape = shape_of(["sum"], [HOURS], "int")
    events = [(0, NOON - HOUR - 5, 2**62), (0, NOON - HOUR - 4, 2**62), (0, NOON - 1, 1)]
    (column,) = finish(shape, lift_events(shape, [b"k"], events), NOON, np.array([NEVER_US]))
    assert (column.values, column.statuses.tolist()) == ([[1, None, 0]], [Status.OVERFLOW])


def test_series_of_no_key_and_of_several():
    shape = shape_of(["count"], [HOURS])
    (none,) = finish(shape, lift_events(shape, [], []), NOON, np.empty(0, np.int64))
    assert (none.values, none.statuses.tolist()) == ([], [])
    state = lift_events(shape, [b"a", b"b"], [(0, NOON - 1, 1.0), (1, NOON - HOUR - 1, 1.0)])
    (two,) = finish(shape, state, NOON, np.full(2, NEVER_US))
    assert two.values == [[1, 0, 0], [0, 1, 0]]


def bounds(column: FeatureColumn) -> tuple[int, int]:
    return int(column.start_us[0]), int(column.end_us[0])


def test_bounds_tell_what_was_truly_counted():
    at_us = NOON + 500_000
    whole, cut = (
        finish(COUNT, keyed(COUNT, *times_us), at_us, np.array([NEVER_US]))[0]
        for times_us in ([NOON], [NOON, NOON + HOUR])
    )
    assert bounds(whole) == (NOON - HOUR, at_us)
    assert bounds(cut) == (NOON - HOUR, NOON + SECOND)
    everything = shape_of(["count"], [Lifetime()])
    (ever,) = finish(everything, keyed(everything, NOON), at_us, np.array([NEVER_US]))
    assert bounds(ever) == (EVER_START_US, at_us)


def test_instant_before_the_horizon_is_coarse_where_what_it_reads_may_be_gone():
    assert COUNT.reach_us == HOUR + MINUTE - 1
    before = NOON - MINUTE
    assert answer(COUNT, before, before - 1, horizon_us=NOON + HOUR) == [(1, Status.COARSE)]
    assert answer(COUNT, before, before - 1, horizon_us=NOON - MINUTE) == [(1, Status.PRESENT)]
    absent = answer(COUNT, before, NOON, horizon_us=NOON + HOUR)
    assert absent == [(0, Status.COARSE)]


def test_finish_answers_each_key_at_its_own_instant():
    events = [(0, NOON, 1.0), (2, NOON + HOUR, 1.0)]
    state = lift_events(COUNT, [b"a", b"b", b"c"], events)
    at_us = np.array([NOON + 1, NOON, NOON + 2 * HOUR])
    (column,) = finish(COUNT, state, at_us, np.full(3, NEVER_US))
    assert column.values == [1, 0, 1]
    assert column.statuses.tolist() == [Status.PRESENT, Status.NOT_FOUND, Status.PRESENT]
    assert column.end_us.tolist() == at_us.tolist()


def test_finish_of_the_same_key_at_many_instants_is_many_answers():
    state = keyed(COUNT, NOON, NOON + HOUR).take(np.zeros(3, np.int64))
    at_us = np.array([NOON, NOON + SECOND, NOON + HOUR + SECOND])
    (column,) = finish(COUNT, state, at_us, np.full(3, NEVER_US))
    assert column.values == [0, 1, 2]


def test_finish_of_no_key_is_no_answer():
    state = lift_events(COUNT, [], [])
    (column,) = finish(COUNT, state, NOON, np.empty(0, np.int64))
    assert (column.values, column.statuses.tolist()) == ([], [])


def test_finish_answers_only_the_features_that_are_asked_for():
    shape = shape_of(["count", "sum"], [HOURLY, Lifetime()])
    chosen = [shape.features[3], shape.features[0]]
    columns = finish(shape, keyed(shape, NOON), NOON + 1, np.array([NEVER_US]), chosen)
    assert [column.values for column in columns] == [[2.0], [1]]


def test_to_python_gives_plain_values_of_the_output_type():
    assert to_python(pa.array([b"\xc3\xa9", b""], pa.large_binary()), String) == ["é", ""]
    assert to_python(np.array([0, 1]), Bool) == [False, True]
    assert [type(v) for v in to_python(np.array([1, 2]), Int64)] == [int, int]
    assert [type(v) for v in to_python(np.array([1.0]), Float64)] == [float]
    lists = pa.array([[1, 0], []], pa.large_list(pa.int64()))
    assert to_python(lists, list_of(Bool)) == [[True, False], []]
    assert to_python(lists, list_of(Timestamp)) == [[1, 0], []]
