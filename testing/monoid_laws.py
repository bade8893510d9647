"""The laws of states: what every `Monoid` of `windows.algebra` promises.

A law is a function of a case and of what it draws; it raises `AssertionError` where it does not
hold. Its name, read aloud, is the law.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from ..state.packing import CHUNK, pack, unpack
from ..windows.algebra import (
    Column,
    Group,
    Lists,
    Monoid,
    Order,
    Pairwise,
    Runs,
    States,
    concat,
    merge,
    take,
)
from ..windows.ladder import SECOND
from ..windows.shape import Shape, Slot
from ..windows.tiles import KeyedTiles, Tiles
from .law_rows import (
    DTYPES,
    Draw,
    Rows,
    are_same,
    as_lists,
    as_states,
    bits,
    locked,
    pick,
    thawed,
)

_ONE_RUN: Final = np.array([0])


@dataclass(frozen=True)
class MonoidCase:
    """A state, and the kind of input that it is lifted from; None where it counts rows."""

    monoid: Monoid
    kind: str | None

    def __str__(self) -> str:
        return f"the state {self.monoid.name!r}, of input {self.kind or '(none)'}"


def states_have_the_fields_that_are_declared(case: MonoidCase, draw: Draw) -> None:
    """Zeros, lifted and merged states: as many as asked for, each field of its type."""
    monoid, rows = case.monoid, draw.rows(case.kind, runs=3, min_size=1)
    lifted = rows.lift(monoid)
    count = rows.runs.count
    _is_declared(monoid, "lift", lifted, count)
    _is_declared(monoid, "reduce", monoid.reduce(lifted, Runs(_ONE_RUN, count)), 1)
    _is_declared(monoid, "zero", monoid.zero(3), 3)
    _is_declared(monoid, "zero", monoid.zero(0), 0)
    nothing = Rows(case.kind, [])
    _is_declared(monoid, "lift of no rows", nothing.lift(monoid), 0)
    one = as_states(monoid, monoid.reduce_one(monoid.zero(0)))
    _same(case, nothing, "reduce_one of no states", one, "zero", monoid.zero(1))


def _is_declared(monoid: Monoid, what: str, states: States, count: int) -> None:
    declared = [(field.name, field.dtype) for field in monoid.fields]
    _must(len(states) == len(declared), f"{what} gave {len(states)} fields, not {declared}")
    for state, (name, dtype) in zip(states, declared, strict=True):
        _must(len(state) == count, f"{what} gave {len(state)} of {name}, not {count}")
        right: Any = pa.large_binary() if dtype == "bytes" else np.dtype(DTYPES[dtype])
        found: Any = state.type if isinstance(state, pa.Array) else state.dtype
        _must(found == right, f"{what} gave {name} as {found}, not {right}")


def arguments_are_not_changed(case: MonoidCase, draw: Draw) -> None:
    """Columns and states that go in are afterwards what they were."""
    monoid, rows = case.monoid, draw.rows(case.kind, runs=3, min_size=1)
    column, order = _thawed_input(rows)
    before = _input_bits(column, order)
    states = monoid.lift(column, order, rows.runs)
    _must(_input_bits(column, order) == before, "lift changed its arguments")
    count = rows.runs.count
    _leaves_alone("reduce", lambda a: monoid.reduce(a, Runs(_ONE_RUN, count)), states)
    _leaves_alone("reduce_one", monoid.reduce_one, states)
    lists = as_lists(states)
    monoid.reduce_one(lists)
    _must(repr(lists) == repr(as_lists(states)), "reduce_one changed the lists that it was given")
    _leaves_alone("merge", lambda a: merge(monoid, a, a), states)
    if isinstance(monoid, Group):
        _leaves_alone("subtract", lambda a: monoid.subtract(a, a), states)


def _thawed_input(rows: Rows) -> tuple[Column | None, Order]:
    column, order = rows.column(), rows.order
    if column is not None:
        parts: tuple[Any, ...] = (column.values, column.valid, column.beside, column.lengths)
        values, valid, beside, lengths = (
            one.copy() if isinstance(one, np.ndarray) else one for one in parts
        )
        column = Column(values, valid, beside, lengths=lengths)
    return column, Order(order.event_us.copy(), order.ordinal.copy(), order.offset.copy())


def _input_bits(column: Column | None, order: Order) -> Any:
    parts: list[Any] = [order.event_us, order.ordinal, order.offset]
    if column is not None:
        parts += [column.values, column.valid, column.beside, column.lengths]
    return [bits(one) for one in parts if one is not None]


def _leaves_alone(what: str, does: Callable[[States], Any], states: States) -> None:
    given = thawed(states)
    does(given)
    left = [bits(one) for one in given] == [bits(one) for one in states]
    _must(left, f"{what} changed the states that it was given")


def zero_is_the_identity(case: MonoidCase, draw: Draw) -> None:
    """A state merged with the zero, on either side, is that state."""
    monoid, rows = case.monoid, draw.rows(case.kind)
    state, zero = rows.lift_one(monoid), locked(monoid.zero(1))
    _same(case, rows, "state with zero", merge(monoid, state, zero), "the state", state)
    _same(case, rows, "zero with state", merge(monoid, zero, state), "the state", state)


def merge_is_associative_and_commutative(case: MonoidCase, draw: Draw) -> None:
    """Tiles may be merged in any order and in any grouping."""
    monoid, rows = case.monoid, draw.rows(case.kind)
    a, b, c = (rows.part(part).lift_one(monoid) for part in range(3))
    left = merge(monoid, locked(merge(monoid, a, b)), c)
    right = merge(monoid, a, locked(merge(monoid, b, c)))
    _same(case, rows, "(a + b) + c", left, "a + (b + c)", right)
    _same(case, rows, "a + b", merge(monoid, a, b), "b + a", merge(monoid, b, a))


def lifting_parts_and_merging_is_lifting_the_whole(case: MonoidCase, draw: Draw) -> None:
    """How events fall into batches decides nothing."""
    monoid, rows = case.monoid, draw.rows(case.kind)
    order = draw.one(st.permutations(range(4)))
    parts = (*(rows.part(part).lift_one(monoid) for part in range(3)), monoid.zero(1))
    states = locked(concat(tuple(parts[i] for i in order)))
    merged = monoid.reduce(states, Runs(_ONE_RUN, 4))
    _same(case, rows, "parts merged", merged, "the whole lifted", rows.lift_one(monoid))


def a_run_does_not_feel_its_neighbours(case: MonoidCase, draw: Draw) -> None:
    """A key's state is the same whoever else is in the batch."""
    monoid, rows = case.monoid, draw.rows(case.kind, runs=4, min_size=1)
    together = rows.lift(monoid)
    for index, run in enumerate(sorted({row[0] for row in rows.rows})):
        alone = rows.run(run)
        _same(
            case,
            alone,
            "lifted among others",
            pick(together, index),
            "alone",
            alone.lift_one(monoid),
        )
    groups = Runs.of_changes(np.sort(np.arange(len(together[0])) // 2))
    merged = monoid.reduce(together, groups)
    for index, start in enumerate(groups.starts):
        inside = take(together, np.arange(start, groups.ends[index]))
        alone_merged = monoid.reduce(locked(inside), Runs(_ONE_RUN, len(inside[0])))
        _same(case, rows, "merged among others", pick(merged, index), "alone", alone_merged)


def one_key_is_reduced_as_many_are(case: MonoidCase, draw: Draw) -> None:
    """`reduce_one`, of arrays and of lists, says what `reduce` says, in Python scalars."""
    monoid, rows = case.monoid, draw.rows(case.kind, runs=6, min_size=1)
    states = rows.lift(monoid)
    many = monoid.reduce(states, Runs(_ONE_RUN, len(states[0])))
    given: tuple[tuple[str, States | Lists], ...] = (
        ("arrays", states),
        ("lists", as_lists(states)),
    )
    for what, one_by_one in given:
        one = monoid.reduce_one(one_by_one)
        plain = all(type(scalar) in (int, float, bytes) for scalar in one)
        _must(plain, f"reduce_one of {what} gave {one!r}: not int, float or bytes")
        _same(case, rows, f"reduce_one of {what}", as_states(monoid, one), "reduce", many)


def two_states_merge_as_many_do(case: MonoidCase, draw: Draw) -> None:
    """`merge` and `merge_one`, where a monoid has them, say what `reduce` says."""
    monoid, rows = case.monoid, draw.rows(case.kind)
    if not isinstance(monoid, Pairwise):
        return
    a, b = rows.part(0).lift_one(monoid), rows.part(1, 2).lift_one(monoid)
    many = monoid.reduce(locked(concat((a, b))), Runs(_ONE_RUN, 2))
    _same(case, rows, "merge", monoid.merge(a, b), "reduce", many)
    one = monoid.merge_one(monoid.reduce_one(a), monoid.reduce_one(b))
    _same(case, rows, "merge_one", as_states(monoid, one), "reduce", many)


def invalid_rows_leave_no_trace(case: MonoidCase, draw: Draw) -> None:
    """What stands where a row has no value decides nothing, nor does the row."""
    monoid, rows = case.monoid, draw.rows(case.kind, min_size=1)
    if case.kind is None:
        return
    other = rows.lift(monoid, doubled=True)
    _same(case, rows, "with other garbage", other, "with this", rows.lift(monoid))
    without = rows.with_values().lift_one(monoid)
    _same(case, rows, "with null rows", rows.lift_one(monoid), "without them", without)


def a_group_takes_back_what_was_merged(case: MonoidCase, draw: Draw) -> None:
    """`subtract(merge(a, b), b)` is `a`, for a `Group`; another monoid does not offer it."""
    monoid, rows = case.monoid, draw.rows(case.kind)
    if not isinstance(monoid, Group):
        _must(not hasattr(monoid, "subtract"), "it has a subtract, and is no Group")
        return
    a, b = rows.part(0).lift_one(monoid), rows.part(1, 2).lift_one(monoid)
    both = locked(merge(monoid, a, b))
    _same(case, rows, "(a + b) - b", monoid.subtract(both, b), "a", a)


def a_state_comes_back_from_storage(case: MonoidCase, draw: Draw) -> None:
    """Written as a block of tiles and read back, a state is what it was, to the bit."""
    monoid, rows = case.monoid, draw.rows(case.kind, runs=4, min_size=1)
    states = rows.lift(monoid)
    count = len(states[0])
    shape = Shape((Slot(monoid.name, monoid, 0),), (), 0, 0)
    starts = np.arange(count, dtype=np.int64) * 1_000_000
    tiles = Tiles(starts, np.full(count, SECOND, np.uint8), np.ones(count, np.int64), states)
    key = pa.array([b"k"], pa.large_binary())
    keyed = KeyedTiles(key, np.array([0, count]), starts[-1:], tiles)
    back = unpack(shape, pack(shape, keyed, CHUNK), stamped=False).tiles.columns
    for stored, field in zip(back, states, strict=True):
        _must(bits(stored) == bits(field), f"{field} was stored, and {stored} read back")


def _same(case: MonoidCase, rows: Rows, what: str, a: States, other: str, b: States) -> None:
    if not are_same(case.monoid, a, b, rows):
        raise AssertionError(f"{what} is {as_lists(a)}, {other} is {as_lists(b)}")


def _must(holds: bool, else_: str) -> None:
    if not holds:
        raise AssertionError(else_)


MONOID_LAWS: Final[Mapping[str, Callable[[MonoidCase, Draw], None]]] = {
    law.__name__: law
    for law in (
        arguments_are_not_changed,
        states_have_the_fields_that_are_declared,
        zero_is_the_identity,
        merge_is_associative_and_commutative,
        lifting_parts_and_merging_is_lifting_the_whole,
        a_run_does_not_feel_its_neighbours,
        one_key_is_reduced_as_many_are,
        two_states_merge_as_many_do,
        invalid_rows_leave_no_trace,
        a_group_takes_back_what_was_merged,
        a_state_comes_back_from_storage,
    )
}
"""Every law of states, by its name."""
