"""The laws of `windows/algebra.py`, for every monoid and aggregate that is registered.

Nothing is listed here: monoids and aggregates are found through `AGGREGATES`, so a new one is
under test the moment it exists. States are compared bit for bit, but for sums of floats, whose
states may differ within the bound they promise; finished values are compared in any case.

All arrays that go in are read-only, so a state that is written to fails every law.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tegula.schemas.errors import UnsupportedInput
from tegula.windows.aggregates import AGGREGATES, MONOIDS
from tegula.windows.algebra import (
    OVERFLOW,
    OVERFLOWED,
    VALUE,
    Aggregate,
    AggregateAt,
    Column,
    Group,
    Monoid,
    Named,
    Order,
    Reading,
    Runs,
    States,
    concat,
    merge,
    take,
)

SINGLE = ("float", "int", "bool", "time", "string")
KINDS = (None, *SINGLE, *(f"{first},{second}" for first in SINGLE for second in SINGLE))
DTYPES = {"<i8": np.int64, "<u8": np.uint64, "<f8": np.float64}
READ_AT = (7_000_003, -3_600_000_000, 7_000_003)
FLOAT_BOUND = Fraction(1, 2**100)  # of the sum of magnitudes

NUMBERS = {
    "float": st.one_of(
        st.sampled_from([0.0, -0.0, 0.1, 1e16, -1e16, 5e-324, 1.0]),
        st.floats(-1e100, 1e100),
        st.integers(-1000, 1000).map(lambda cents: cents / 100),
    ),
    "int": st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)),
    "bool": st.integers(0, 1),
    "time": st.integers(-(10**12), 2 * 10**15),
    "string": st.one_of(
        st.sampled_from([b"", b"a", b"a\x00", b"\x00", b"b"]), st.text().map(str.encode)
    ),
}
GARBAGE = {"float": float("nan"), "int": 7, "bool": 1, "time": -7, "string": b"\xff\x01"}


@dataclass(frozen=True)
class Rows:
    """Rows of some runs: (run, part, event_us, ordinal, offset, value or None), in total order."""

    kind: str
    rows: list[tuple[int, int, int, int, int, Any]]
    """A value of a pair is a pair of values, of which either may be None."""

    def part(self, *parts: int) -> Rows:
        return replace(self, rows=[row for row in self.rows if row[1] in parts])

    def run(self, run: int) -> Rows:
        return replace(self, rows=[row for row in self.rows if row[0] == run])

    @property
    def runs(self) -> Runs:
        return Runs.of_changes(np.array([row[0] for row in self.rows], np.int64))

    @property
    def order(self) -> Order:
        return Order(*(frozen([row[i] for row in self.rows], np.int64) for i in (2, 3, 4)))

    @property
    def magnitudes(self) -> tuple[Column, Order]:
        """The column and the event times without their signs."""
        order = replace(self.order, event_us=frozen(np.abs(self.order.event_us), np.int64))
        return self.column(absolute=True), order

    def column(self, **options: Any) -> Column:
        given = [row[5] for row in self.rows]
        if "," not in self.kind:
            return column_of(self.kind, given, **options)
        first, second = (
            column_of(kind, [None if pair is None else pair[i] for pair in given], **options)
            for i, kind in enumerate(self.kind.split(","))
        )
        valids = [one.valid for one in (first, second) if one.valid is not None]
        valid = frozen(np.logical_and.reduce(valids), bool) if valids else None
        return Column(first.values, valid, second.values)

    def lift(self, monoid: Monoid, **options: Any) -> States:
        return locked(monoid.lift(self.column(**options), self.order, self.runs))

    def lift_one(self, monoid: Monoid) -> States:
        """The state of all rows as one run; zero if there are none."""
        if not self.rows:
            return locked(monoid.zero(1))
        whole = replace(self, rows=[(0, *row[1:]) for row in self.rows])
        return whole.lift(monoid)


def column_of(kind: str, given: list[Any], doubled: bool = False, absolute: bool = False) -> Column:
    """A column; where it has no value there is garbage, another one if `doubled`."""
    garbage = GARBAGE[kind] * (2 if doubled else 1)
    values = [garbage if one is None else one for one in given]
    valid = frozen([one is not None for one in given], bool)
    if kind == "string":
        return Column(pa.array(values, pa.large_binary()), valid)
    column = frozen(values, np.float64 if kind == "float" else np.int64)
    if absolute:
        column = np.abs(column.astype(np.float64) if "int" in kind else column)
    return Column(column, None if valid.all() else valid)


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, tuple) and None in value)


def frozen(values: Any, dtype: Any) -> np.ndarray:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def locked(states: States) -> States:
    for field in states:
        if isinstance(field, np.ndarray):
            field.flags.writeable = False
    return states


@st.composite
def rows_of(draw: st.DrawFn, kind: str, runs: int = 1, min_size: int = 0) -> Rows:
    values = [st.none() | NUMBERS[one] | NUMBERS[one] for one in kind.split(",")]
    value = values[0] if len(values) == 1 else st.tuples(*values)
    row = st.tuples(
        st.integers(0, runs - 1), st.integers(0, 2), st.integers(-2, 2), st.integers(0, 1), value
    )
    drawn = draw(st.lists(row, min_size=min_size, max_size=24))
    offsets = draw(st.permutations(range(len(drawn))))
    rows = [(*r[:4], offset, r[4]) for r, offset in zip(drawn, offsets, strict=True)]
    return Rows(kind, sorted(rows, key=lambda r: (r[0], r[2:5])))


def needs_of(aggregate: Aggregate, kind: str | None) -> tuple[Any, ...]:
    try:
        return aggregate.needs(kind, {})
    except UnsupportedInput:
        return ()


MONOID_KINDS = {
    need.monoid.name: (need.monoid, kind or "float", need.takes_input)
    for kind in reversed(KINDS)
    for aggregate in AGGREGATES.values()
    for need in needs_of(aggregate, kind)
}
AGGREGATE_KINDS = [
    pytest.param(aggregate, kind, id=f"{name}-{kind}")
    for name, aggregate in AGGREGATES.items()
    for kind in KINDS
    if needs_of(aggregate, kind)
]
each_monoid = pytest.mark.parametrize(
    ("monoid", "kind"),
    [pytest.param(monoid, kind, id=name) for name, (monoid, kind, _) in MONOID_KINDS.items()],
)
each_monoid_of_values = pytest.mark.parametrize(
    ("monoid", "kind"),
    [
        pytest.param(monoid, kind, id=name)
        for name, (monoid, kind, takes_input) in MONOID_KINDS.items()
        if takes_input
    ],
)
each_aggregate = pytest.mark.parametrize(("aggregate", "kind"), AGGREGATE_KINDS)
few = settings(max_examples=40, deadline=None, print_blob=True)


def is_rounded(monoid: Monoid) -> bool:
    return [field.name for field in monoid.fields][-2:] == ["hi", "lo"] and all(
        field.dtype == "<f8" for field in monoid.fields[-2:]
    )


def exact(states: States, index: int) -> Fraction:
    """The number that a rounded state stands for: hi + lo, times 2**reference if it has one."""
    *reference, hi, lo = (field[index].item() for field in states)
    total = Fraction(hi) + Fraction(lo)
    return total * Fraction(2) ** reference[0] if reference and total else total


def assert_same(monoid: Monoid, a: States, b: States, rows: Rows) -> None:
    """`a` and `b`, states of some of `rows`, are equal; float sums within their bound."""
    if not is_rounded(monoid):
        for x, y in zip(a, b, strict=True):
            assert plain(x) == plain(y)
        return
    magnitude = Fraction(0)
    if rows.rows:
        column, order = rows.magnitudes
        lifted = monoid.lift(column, order, Runs(np.array([0]), len(rows.rows)))
        if not np.isfinite(lifted[-2][0]):
            return  # past the range: what overflows is decided by how rows met
        magnitude = exact(lifted, 0)
    for i in range(len(a[0])):
        assert abs(exact(a, i) - exact(b, i)) <= FLOAT_BOUND * magnitude
        assert all(x[i] == y[i] for x, y in zip(a[:-2], b[:-2], strict=True))


def plain(field: Any) -> Any:
    return field.to_pylist() if isinstance(field, pa.Array) else (field.dtype, field.tobytes())


def pick(states: States, index: int) -> States:
    return locked(take(states, np.array([index])))


@each_monoid
@few
@given(data=st.data())
def test_law_zero_is_the_identity(monoid, kind, data):
    rows = data.draw(rows_of(kind))
    state, zero = rows.lift_one(monoid), locked(monoid.zero(1))
    assert_same(monoid, merge(monoid, state, zero), state, rows)
    assert_same(monoid, merge(monoid, zero, state), state, rows)


@each_monoid
@few
@given(data=st.data())
def test_law_merge_is_associative_and_commutative(monoid, kind, data):
    rows = data.draw(rows_of(kind))
    a, b, c = (rows.part(part).lift_one(monoid) for part in range(3))
    left = merge(monoid, locked(merge(monoid, a, b)), c)
    right = merge(monoid, a, locked(merge(monoid, b, c)))
    assert_same(monoid, left, right, rows)
    assert_same(monoid, merge(monoid, a, b), merge(monoid, b, a), rows)


@each_monoid
@few
@given(data=st.data())
def test_law_lifting_parts_and_merging_is_lifting_the_whole(monoid, kind, data):
    rows = data.draw(rows_of(kind))
    order = data.draw(st.permutations(range(4)))
    parts = (*(rows.part(part).lift_one(monoid) for part in range(3)), monoid.zero(1))
    states = locked(concat(tuple(parts[i] for i in order)))
    whole = rows.lift_one(monoid)
    assert_same(monoid, monoid.reduce(states, Runs(np.array([0]), 4)), whole, rows)


@each_monoid
@few
@given(data=st.data())
def test_law_a_run_does_not_feel_its_neighbours(monoid, kind, data):
    rows = data.draw(rows_of(kind, runs=4, min_size=1))
    together = rows.lift(monoid)
    for index, run in enumerate(sorted({row[0] for row in rows.rows})):
        alone = rows.run(run)
        assert_same(monoid, pick(together, index), alone.lift_one(monoid), alone)
    groups = Runs.of_changes(np.sort(np.arange(len(together[0])) // 2))
    merged = monoid.reduce(together, groups)
    for index, start in enumerate(groups.starts):
        inside = take(together, np.arange(start, groups.ends[index]))
        alone = monoid.reduce(locked(inside), Runs(np.array([0]), len(inside[0])))
        assert_same(monoid, pick(merged, index), alone, rows)


@each_monoid
@few
@given(data=st.data())
def test_law_one_key_is_reduced_as_many_are(monoid, kind, data):
    rows = data.draw(rows_of(kind, runs=6, min_size=1))
    states = rows.lift(monoid)
    one = monoid.reduce_one(states)
    many = monoid.reduce(states, Runs(np.array([0]), len(states[0])))
    assert all(type(scalar) in (int, float, bytes) for scalar in one)
    assert_same(monoid, as_states(monoid, one), many, rows)


@each_monoid_of_values
@few
@given(data=st.data())
def test_law_invalid_rows_leave_no_trace(monoid, kind, data):
    rows = data.draw(rows_of(kind, min_size=1))
    assert_same(monoid, rows.lift(monoid, doubled=True), rows.lift(monoid), rows)
    without = replace(rows, rows=[row for row in rows.rows if not is_missing(row[5])])
    assert_same(monoid, rows.lift_one(monoid), without.lift_one(monoid), rows)


@each_monoid
@few
@given(data=st.data())
def test_law_a_group_takes_back_what_was_merged(monoid, kind, data):
    if not isinstance(monoid, Group):
        assert not hasattr(monoid, "subtract")
        return
    rows = data.draw(rows_of(kind))
    a, b = rows.part(0).lift_one(monoid), rows.part(1, 2).lift_one(monoid)
    both = locked(merge(monoid, a, b))
    assert_same(monoid, monoid.subtract(both, b), a, rows)


@each_monoid
def test_states_have_the_fields_that_are_declared(monoid, kind):
    none = Rows(kind, [])
    for states, count in ((monoid.zero(3), 3), (monoid.zero(0), 0), (none.lift(monoid), 0)):
        assert len(states) == len(monoid.fields)
        for state, field in zip(states, monoid.fields, strict=True):
            assert len(state) == count
            assert field.dtype == "bytes" or state.dtype == DTYPES[field.dtype]
            assert field.dtype != "bytes" or state.type == pa.large_binary()
    assert_same(monoid, as_states(monoid, monoid.reduce_one(monoid.zero(0))), monoid.zero(1), none)


def test_every_name_stands_for_one_format():
    assert set(MONOID_KINDS) == set(MONOIDS)
    for name, monoid in MONOIDS.items():
        assert monoid.name == name
        assert isinstance(monoid, Monoid)
        assert monoid.version >= 1
        assert hash(monoid) == hash(replace(monoid))


@each_aggregate
@few
@given(data=st.data())
def test_law_one_key_finishes_as_many_do(aggregate, kind, data):
    rows = data.draw(rows_of(kind or "float", runs=3))
    needs = aggregate.needs(kind, {})
    states = tuple(concat((rows.lift(need.monoid), locked(need.monoid.zero(1)))) for need in needs)
    for state in states:
        locked(state)
    values, codes = finish(aggregate, states)
    assert codes.dtype == np.uint8
    assert len(values) == len(codes) == rows.runs.count + 1
    for index in range(len(codes)):
        one = tuple(
            need.monoid.reduce_one(pick(state, index))
            for need, state in zip(needs, states, strict=True)
        )
        value = finish_one(aggregate, one)
        if codes[index] == VALUE:
            entries = value if isinstance(value, list) else [value]
            scalars = [one for entry in entries for one in (entry if is_pair(entry) else [entry])]
            assert {type(scalar) for scalar in scalars} <= {int, float, bytes}
            assert value == (values.to_pylist() if isinstance(values, pa.Array) else values)[index]
        else:
            assert value is (OVERFLOWED if codes[index] == OVERFLOW else None)


def is_pair(entry: Any) -> bool:
    """Whether it is an entry of a map: a name and its value."""
    return isinstance(entry, tuple) and len(entry) == 2


def finish(aggregate: Named, states: tuple[States, ...]) -> tuple[Any, Any]:
    """What many keys finish as, at one instant."""
    if isinstance(aggregate, AggregateAt):
        count = len(states[0][0])
        at = Reading(*(frozen([instant] * count, np.int64) for instant in READ_AT))
        return aggregate.finish_at(states, {}, at)
    assert isinstance(aggregate, Aggregate)
    return aggregate.finish(states, {})


def finish_one(aggregate: Named, states: tuple[tuple[Any, ...], ...]) -> Any:
    """What one key finishes as at the same instant."""
    if isinstance(aggregate, AggregateAt):
        return aggregate.finish_one_at(states, {}, Reading(*READ_AT))
    assert isinstance(aggregate, Aggregate)
    return aggregate.finish_one(states, {})


def as_states(monoid: Monoid, scalars: tuple[Any, ...]) -> States:
    return tuple(
        pa.array([scalar], pa.large_binary())
        if field.dtype == "bytes"
        else np.array([scalar], DTYPES[field.dtype])
        for scalar, field in zip(scalars, monoid.fields, strict=True)
    )
