"""The newest rows: a function of the set of rows, whatever was merged with what."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.algebra import Column, Order, Runs, concat
from tegula.windows.rows import NewestRows

CAP = 3
VALUES = {
    "<f8": st.none() | st.floats(-1e9, 1e9),
    "<i8": st.none() | st.integers(-(2**63), 2**63 - 1),
    "bytes": st.none() | st.binary(max_size=3),
}
TYPES = tuple(VALUES)


@st.composite
def rows(draw, value):
    """Distinct rows (event time, ordinal, offset, value, matches, part), in total order."""
    coordinates = st.tuples(st.integers(-3, 6), st.integers(0, 1), st.integers(0, 20))
    found = draw(st.lists(coordinates, unique=True, max_size=16))
    return [
        (*one, draw(VALUES[value]), draw(st.integers(0, 4)) == 0, draw(st.integers(0, 3)))
        for one in sorted(found)
    ]


def lift(monoid, rows):
    """The state of rows as one run."""
    if not rows:
        return monoid.zero(1)
    valid = np.array([row[3] is not None for row in rows])
    garbage = b"??" if monoid.value == "bytes" else 7
    values = [garbage if row[3] is None else row[3] for row in rows]
    column = (
        pa.array(values, pa.large_binary())
        if monoid.value == "bytes"
        else np.array(values, monoid.value)
    )
    marks = np.array([int(row[4]) for row in rows]) if monoid.marked else None
    order = Order(*(np.array([row[i] for row in rows], np.int64) for i in range(3)))
    return monoid.lift(Column(column, valid, marks), order, Runs(np.zeros(1, np.int64), len(rows)))


def values_of(read):
    given = read.column.values
    values = given.to_pylist() if isinstance(given, pa.Array) else given.tolist()
    valid = [True] * len(values) if read.column.valid is None else read.column.valid.tolist()
    return [value if fine else None for value, fine in zip(values, valid, strict=True)]


@pytest.mark.parametrize("value", TYPES)
@pytest.mark.parametrize("marked", [False, True])
@given(st.data())
def test_law_the_newest_rows_do_not_depend_on_what_was_merged_with_what(value, marked, data):
    monoid = NewestRows(CAP, value, marked)
    every = data.draw(rows(value))
    parts = [lift(monoid, [row for row in every if row[5] == part]) for part in range(4)]
    order = data.draw(st.permutations(range(4)))
    split = data.draw(st.integers(1, 3))
    sides = [
        monoid.reduce(concat(tuple(parts[i] for i in side)), Runs(np.zeros(1, np.int64), len(side)))
        for side in (order[:split], order[split:])
    ]
    merged = monoid.reduce(concat(tuple(sides)), Runs(np.zeros(1, np.int64), 2))
    whole = lift(monoid, every)
    assert [field.to_pylist() for field in merged] == [field.to_pylist() for field in whole]
    assert list(monoid.reduce_one(concat(tuple(parts)))) == [f[0].as_py() for f in whole]
    # Against the definition, one row at a time.
    after = every
    if marked:
        last = max((i for i, row in enumerate(every) if row[4]), default=-1)
        after = every[last + 1 :]
    read = monoid.rows(whole)
    assert values_of(read) == [row[3] for row in after[-CAP:]]
    assert read.order.offset.tolist() == [row[2] for row in after[-CAP:]]
    assert read.overflowed.tolist() == [marked and len(after) > CAP]


def test_rows_of_many_keys_stay_apart():
    monoid = NewestRows(2, "<i8")
    order = Order(np.array([1, 2, 3, 1]), np.zeros(4, np.int64), np.arange(4))
    states = monoid.lift(Column(np.array([10, 20, 30, 40])), order, Runs(np.array([0, 3]), 4))
    read = monoid.rows(states)
    assert read.counts.tolist() == [2, 1]
    assert read.column.values.tolist() == [20, 30, 40]


def test_a_state_names_its_cap_so_that_another_is_never_read_as_it():
    assert NewestRows(3, "<f8").name == "rows_3_f8"
    assert NewestRows(3, "bytes", marked=True).name == "rows_since_3_bytes"
