"""The first and the last value in the total order of events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.types import DataType
from ..algebra import (
    NULL,
    VALUE,
    Codes,
    Column,
    Int64s,
    Lists,
    Order,
    Runs,
    StateField,
    StateNeed,
    States,
    Values,
    concat,
    take,
)
from .support import binary, column_of, empty_bytes, family_of, scalars

_COORDINATES = (
    StateField("event_us", "<i8"),
    StateField("ordinal", "<i8"),
    StateField("offset", "<i8"),
)
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Edge:
    """The earliest (or latest) value with its place in the total order: 24 bytes and the value.

    Merging keeps the state that comes first (or last), whatever the order of merging. No value:
    the three coordinates are the greatest (or least) int64, where no event can lie, so that such a
    state loses against every other one.
    """

    name: str
    earliest: bool
    fields: tuple[StateField, ...]
    version: int = 1

    @property
    def nowhere(self) -> int:
        """Each coordinate of a state without a value."""
        return _INT64_MAX if self.earliest else -_INT64_MAX - 1

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        coordinates = (order.event_us, order.ordinal, order.offset)
        if column.valid is None:
            rows = runs.starts if self.earliest else runs.last
            return take((*coordinates, column.values), rows)
        numbers = np.arange(runs.size)
        if self.earliest:
            numbers = np.where(column.valid, numbers, runs.size)
            rows = np.minimum.reduceat(numbers, runs.starts)
        else:
            rows = np.maximum.reduceat(np.where(column.valid, numbers, -1), runs.starts)
        found = (rows >= 0) & (rows < runs.size)
        states = take((*coordinates, column.values), np.where(found, rows, 0))
        return states if found.all() else self._without(states, ~found)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        extreme = np.minimum if self.earliest else np.maximum
        alive = np.ones(runs.size, dtype=bool)
        for coordinate in states[:3]:
            left = np.where(alive, coordinate, self.nowhere)
            best = extreme.reduceat(left, runs.starts)
            alive &= left == np.repeat(best, runs.lengths)
            if np.count_nonzero(alive) == runs.count:
                break
        # More than one a run are left only where all of them are states without a value.
        rows = np.flatnonzero(alive)
        return take(states, rows[np.searchsorted(rows, runs.starts)])

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        events, ordinals, offsets, values = scalars(states)
        if len(events) == 1:
            return events[0], ordinals[0], offsets[0], values[0]
        extreme = min if self.earliest else max
        places = zip(events, ordinals, offsets, range(len(values)), strict=True)
        place = extreme(places, default=None)
        if place is None:
            return (*[self.nowhere] * 3, {"<f8": 0.0, "<i8": 0}.get(self.fields[3].dtype, b""))
        return (*place[:3], values[place[3]])

    def merge_one(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
        return a if (a[:3] < b[:3]) == self.earliest else b

    def merge(self, a: States, b: States) -> States:
        before = np.zeros(len(a[0]), dtype=bool)
        same = np.ones(len(a[0]), dtype=bool)
        for ours, theirs in zip(a[:3], b[:3], strict=True):
            before |= same & (np.asarray(ours) < np.asarray(theirs))
            same &= np.asarray(ours) == np.asarray(theirs)
        count = len(before)
        picks = np.arange(count) + np.where(before == self.earliest, 0, count)
        return take(concat((a, b)), picks)

    def zero(self, count: int) -> States:
        nowhere = np.full(count, self.nowhere, np.int64)
        value = empty_bytes(count) if self._bytes else np.zeros(count, self.fields[3].dtype)
        return nowhere, nowhere, nowhere, value

    @property
    def _bytes(self) -> bool:
        return self.fields[3].dtype == "bytes"

    def _without(self, states: States, absent: np.ndarray[Any, Any]) -> States:
        *coordinates, value = states
        gone = tuple(np.where(absent, self.nowhere, c) for c in coordinates)
        if isinstance(value, pa.Array):
            kept = np.where(absent, -1, np.arange(len(absent)))
            chosen = pa.array(kept, mask=absent)
            return (*gone, binary(value).take(chosen).fill_null(b""))
        return (*gone, np.where(absent, value.dtype.type(0), value))


def _edges(name: str, earliest: bool) -> Mapping[str, Edge]:
    floats = Edge(f"{name}_float", earliest, (*_COORDINATES, StateField("value", "<f8")))
    ints = Edge(f"{name}_int", earliest, (*_COORDINATES, StateField("value", "<i8")))
    strings = Edge(f"{name}_bytes", earliest, (*_COORDINATES, StateField("value", "bytes")))
    return {"float": floats, "int": ints, "bool": ints, "time": ints, "string": strings}


_FIRST = _edges("first", earliest=True)
_LAST = _edges("last", earliest=False)


@dataclass(frozen=True, slots=True)
class Ordered:
    """`first` and `last`: the value of the earliest or latest event that has one; null if none.

    Events are ordered by `(event time, stream and partition, offset)`, never by arrival, so equal
    event times are no tie, and every replay gives the same answer. Nulls are skipped. Exact. 32
    bytes a state; strings 24 + their length.

    >>> runs = Runs(np.array([0, 2]), 3)
    >>> order = Order(np.array([5, 5, 9]), np.array([0, 1, 0]), np.array([70, 3, 71]))
    >>> column = Column(np.array([1.5, 2.5, 3.5]), np.array([True, True, False]))
    >>> state = LAST.needs("float", {})[0].monoid.lift(column, order, runs)
    >>> values, codes = LAST.finish((state,), {})
    >>> values.tolist(), codes.tolist()
    ([2.5, 0.0], [1, 0])
    """

    name: str
    earliest: bool

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        monoid = family_of(self.name, input_kind, _FIRST if self.earliest else _LAST)
        return (StateNeed(monoid),)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        return input_type

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        _, _, offsets, values = states[0]
        return values, np.where(self._present(offsets), VALUE, NULL).astype(np.uint8)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        _, _, offset, value = states[0]
        return value if self._present(offset) else None

    def _present(self, offset: Int64s | int) -> Any:
        return offset != _INT64_MAX if self.earliest else offset >= 0


FIRST = Ordered("first", earliest=True)
LAST = Ordered("last", earliest=False)
