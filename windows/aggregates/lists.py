"""Several values of a column: the first, the last, the greatest; and the one n events back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.errors import BadParameter
from ...schemas.params import Whole
from ...schemas.types import DataType, list_of
from .. import items
from ..algebra import (
    NULL,
    VALUE,
    Codes,
    Column,
    Int64s,
    Lists,
    Monoid,
    Order,
    Runs,
    StateField,
    StateNeed,
    States,
    Values,
)
from ..items import Items, closed, listed, opened
from .support import column_of, empty_bytes, family_of, scalar_of_one

COUNT_MAX = 1000
FAMILIES = {"float": "float", "int": "int", "bool": "int", "time": "int", "string": "bytes"}
"""How values of a kind are kept."""


@dataclass(frozen=True, slots=True)
class ItemState:
    """Items of `width` words, of which a value is the last; `prune` says which a state keeps.

    It gets the items of many states and gives back those that stay, in the order in which a state
    has them, so that a state is a function of the set of rows that went in. `leading` gives the
    words that stand before a value.
    """

    name: str
    has_texts: bool
    width: int
    leading: Callable[[Column, Order], tuple[Int64s, ...]]
    prune: Callable[[Items], Items]
    version: int = 1

    @property
    def fields(self) -> tuple[StateField, ...]:
        return items.TEXTS if self.has_texts else items.ITEMS

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        leading = self.leading(column, order)
        rows = items.lifted(leading, column.values, column.valid, runs.ids)
        return closed(self.prune(rows), runs.count)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        parts = opened(states, self.width)
        return closed(self.prune(parts.of(runs.ids[parts.ids])), runs.count)

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        return one_by_many(self, states)

    def zero(self, count: int) -> States:
        return tuple(empty_bytes(count) for _ in self.fields)


def no_words(column: Column, order: Order) -> tuple[Int64s, ...]:
    """Nothing stands before a value."""
    return ()


def place(column: Column, order: Order) -> tuple[Int64s, ...]:
    """The place in the total order stands before a value."""
    return order.event_us, order.ordinal, order.offset


def one_by_many(monoid: Monoid, states: States | Lists) -> tuple[Any, ...]:
    """`reduce_one` by `reduce`, for states that are bytes."""
    columns = tuple(
        pa.array(field, pa.large_binary()) if isinstance(field, list) else field for field in states
    )
    count = len(columns[0])
    if not count:
        return tuple(b"" for _ in columns)
    if count > 1:
        columns = tuple(monoid.reduce(columns, Runs(np.array([0]), count)))
    return tuple(field[0].as_py() for field in columns)


def bytes_of_one(state: tuple[Any, ...]) -> States:
    """A state of bytes as columns of length 1."""
    return tuple(pa.array([field], pa.large_binary()) for field in state)


@dataclass(frozen=True, slots=True)
class Nearest:
    """Keeps the first (or last) `count` items by their place in the total order, in that order."""

    count: int
    earliest: bool

    def __call__(self, rows: Items) -> Items:
        words = rows.words
        rows = rows.take(np.lexsort((words[:, 2], words[:, 1], words[:, 0], rows.ids)))
        if self.earliest:
            return rows.take(np.flatnonzero(rows.places < self.count))
        left = np.searchsorted(rows.ids, rows.ids, side="right") - np.arange(len(rows.ids))
        return rows.take(np.flatnonzero(left <= self.count))


@dataclass(frozen=True, slots=True)
class Greatest:
    """Keeps the `count` greatest items, greatest first; equal ones each for themselves."""

    count: int

    def __call__(self, rows: Items) -> Items:
        order = np.lexsort((rows.keys(0), rows.ids))
        ids = rows.ids[order]
        begin, end = np.searchsorted(ids, ids), np.searchsorted(ids, ids, side="right")
        rows = rows.take(order[begin + end - 1 - np.arange(len(ids))])  # each state backwards
        return rows.take(np.flatnonzero(rows.places < self.count))


def _state(keeps: str, count: int) -> Mapping[str, tuple[StateNeed, ...]]:
    prune = Greatest(count) if keeps == "top" else Nearest(count, keeps == "first")

    def need(family: str) -> tuple[StateNeed, ...]:
        name, has_texts = f"{keeps}_{count}_{family}", family == "bytes"
        width, leading = (1, no_words) if keeps == "top" else (4, place)
        return (StateNeed(ItemState(name, has_texts, width, leading, prune)),)

    return {kind: need(family) for kind, family in FAMILIES.items()}


def whole(aggregate: str, params: Mapping[str, Any], name: str, allowed: Whole) -> int:
    """A parameter that is a number of things. Raises `BadParameter`."""
    value = params.get(name, allowed.example)
    if not allowed.accepts(value):
        raise BadParameter(
            f"`{aggregate}` cannot have {name}={value!r}",
            got=repr(value),
            expected=allowed.expected,
        )
    return int(value)


@dataclass(frozen=True, slots=True)
class SomeValues:
    """`first_n`, `last_n` and `top_n`: a list of up to n values; null over none.

    `first_n` and `last_n` are in the total order of events, oldest first, so equal event times are
    no tie; `top_n` has the greatest first, equal values as often as they come, strings by their
    UTF-8 bytes. Nulls are skipped. Exact. 8 bytes and 8 a value kept (32 where order counts), and
    the text of strings; n is at most 1000.

    >>> runs, order = Runs(np.array([0]), 4), Order(*[np.arange(4)] * 3)
    >>> column = Column(np.array([5.0, 9.0, 1.0, 9.0]))
    >>> for one in (FIRST_N, LAST_N, TOP_N):
    ...     (need,) = one.needs("float", {"n": 2})
    ...     one.finish((need.monoid.lift(column, order, runs),), {"n": 2})[0].to_pylist()
    [[5.0, 9.0]]
    [[1.0, 9.0]]
    [[9.0, 9.0]]
    """

    name: str
    keeps: str

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        count = whole(self.name, params, "n", Whole(COUNT_MAX, 5))
        return family_of(self.name, input_kind, _state(self.keeps, count))

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        return list_of(input_type)

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (state,) = states
        count = len(state[0])
        rows = opened(state, 1 if self.keeps == "top" else 4)
        present = np.bincount(rows.ids, minlength=count) > 0
        return listed(rows, rows.values(-1), count), np.where(present, VALUE, NULL).astype("u1")

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish((bytes_of_one(states[0]),), params))


@dataclass(frozen=True, slots=True)
class Lag:
    """`lag(x, n)`: the value n values before the last one; null where there are not so many.

    In the total order of events, so equal event times are no tie. Nulls are skipped: `lag(x, 1)` is
    the last value but one. Exact. 40 bytes a value kept, n + 1 of them, and the text of strings;
    the same state as `last_n(x, n + 1)`. n is at most 999.

    >>> runs, order = Runs(np.array([0]), 4), Order(*[np.arange(4)] * 3)
    >>> (need,) = LAG.needs("int", {"n": 2})
    >>> state = need.monoid.lift(Column(np.array([5, 9, 1, 7])), order, runs)
    >>> LAG.finish((state,), {"n": 2})[0].tolist()
    [9]
    """

    name: str = "lag"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        count = whole(self.name, params, "n", Whole(COUNT_MAX - 1, 1))
        return family_of(self.name, input_kind, _state("last", count + 1))

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        return input_type

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (state,) = states
        rows = opened(state, 4)
        held = np.bincount(rows.ids, minlength=len(state[0]))
        present = held > params.get("n", 1)
        values = rows.values(-1)
        first: Int64s = np.cumsum(held) - held
        if isinstance(values, np.ndarray):
            padded = np.append(values, values.dtype.type(0))
            found: Values = padded[np.where(present, first, len(values))]
        else:
            found = values.take(pa.array(first, mask=~present)).fill_null(b"")
        return found, np.where(present, VALUE, NULL).astype(np.uint8)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish((bytes_of_one(states[0]),), params))


FIRST_N = SomeValues("first_n", "first")
LAST_N = SomeValues("last_n", "last")
TOP_N = SomeValues("top_n", "top")
LAG = Lag()
