from __future__ import annotations

import numpy as np
import pyarrow as pa

from tegula.windows.aggregates import MONOIDS
from tegula.windows.algebra import Runs, concat, merge, take


def test_runs_of_no_rows_are_no_runs():
    for runs in (Runs.of_lengths(np.zeros(0, np.int64)), Runs.of_changes(np.zeros(0, np.int64))):
        assert (runs.count, runs.size) == (0, 0)
        assert len(runs.ids) == len(runs.lengths) == len(runs.last) == 0


def test_runs_of_changes_break_where_any_column_changes():
    runs = Runs.of_changes(np.array([1, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1]))
    assert runs.starts.tolist() == [0, 2, 3]
    assert runs.lengths.tolist() == [2, 1, 2]


def test_take_and_concat_treat_numbers_and_bytes_alike():
    states = (np.array([1, 2]), pa.array([b"x", b""], pa.large_binary()))
    twice = take(concat((states, states)), np.array([3, 0]))
    assert twice[0].tolist() == [2, 1]
    assert twice[1].to_pylist() == [b"", b"x"]


def test_merge_goes_state_by_state():
    merged = merge(MONOIDS["min_int"], (np.array([1, 5]),), (np.array([3, -5]),))
    assert merged[0].tolist() == [1, -5]
