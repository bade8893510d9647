"""Several values of a column, chosen and ordered by another column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.params import Whole
from ...schemas.types import DataType, list_of
from ..algebra import NULL, VALUE, Codes, Column, Int64s, Order, StateNeed, States, Values
from ..items import Items, listed, opened
from .by_other import BY
from .lists import COUNT_MAX, FAMILIES, ItemState, bytes_of_one, whole
from .support import pair_of, scalar_of_one

_WIDTH = 5
_MAGNITUDE = np.int64(2**63 - 1)


@dataclass(frozen=True, slots=True)
class GreatestBy:
    """Keeps the `count` items with the greatest `by`, of equal ones the earliest, in that order."""

    count: int

    def __call__(self, rows: Items) -> Items:
        by, *place = rows.words[:, :4].T
        rows = rows.take(np.lexsort((*place[::-1], ~by, rows.ids)))  # ~by falls as by grows
        return rows.first(self.count)


@dataclass(frozen=True, slots=True)
class LastBy:
    """Keeps the last `count` items by `by`, and where it is equal by their place, in that order."""

    count: int

    def __call__(self, rows: Items) -> Items:
        rows = rows.take(np.lexsort((*rows.words[:, 3::-1].T, rows.ids)))
        left = np.searchsorted(rows.ids, rows.ids, side="right") - np.arange(len(rows.ids))
        return rows.take(np.flatnonzero(left <= self.count))


def by_and_place(column: Column, order: Order) -> tuple[Int64s, ...]:
    """What stands before a value: the other column as an integer that orders it, and the place.

    A double's bits are turned so that they ascend as it does; -0.0 counts as 0.0.

    >>> column = Column(np.zeros(4), None, np.array([-2.5, -0.0, 0.0, 1.0]))
    >>> np.sign(np.diff(by_and_place(column, Order(*[np.arange(4)] * 3))[0])).tolist()
    [1, 0, 1]
    """
    by = np.asarray(column.beside)
    if by.dtype == np.float64:
        bits = (by + 0.0).view(np.int64)
        by = np.where(bits < 0, bits ^ _MAGNITUDE, bits)
    return by, order.event_us, order.ordinal, order.offset


@dataclass(frozen=True, slots=True)
class SomeValuesBy:
    """`top_n_by(x, by, n)` and `last_n_by(x, by, n)`: up to n values of x, a list; null over none.

    `top_n_by` has x at the events where `by` is greatest, the greatest first, and of events with
    the same `by` the earliest first. `last_n_by` takes `by` for the order of events: the last n of
    them, oldest first, events with the same `by` in their total order. Only events where both
    columns have a value count. `by` is a number, an instant or a bool; by `-by` the least come.
    Exact. 8 bytes and 40 a value kept, and the text of strings; n is at most 1000.

    >>> from tegula.windows.algebra import Runs
    >>> runs, order = Runs(np.array([0]), 4), Order(*[np.arange(4)] * 3)
    >>> column = Column(np.array([1.5, 2.5, 3.5, 4.5]), None, np.array([7, 9, 9, 8]))
    >>> for one in (TOP_N_BY, LAST_N_BY):
    ...     (need,) = one.needs("float,int", {"n": 3})
    ...     one.finish((need.monoid.lift(column, order, runs),), {"n": 3})[0].to_pylist()
    [[2.5, 3.5, 4.5]]
    [[4.5, 2.5, 3.5]]
    """

    name: str
    prune: type[GreatestBy] | type[LastBy]

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        count = whole(self.name, params, "n", Whole(COUNT_MAX, 5))
        kind, _, by_kind = (input_kind or "").partition(",")
        pair_of(self.name, input_kind, tuple(FAMILIES), BY, None)
        family = FAMILIES[kind]
        name = f"{self.name}_{count}_{family}_{FAMILIES[by_kind]}"
        has_texts = family == "bytes"
        return (StateNeed(ItemState(name, has_texts, _WIDTH, by_and_place, self.prune(count))),)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        return list_of(input_type)

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (state,) = states
        count = len(state[0])
        rows = opened(state, _WIDTH)
        present = np.bincount(rows.ids, minlength=count) > 0
        return listed(rows, rows.values(-1), count), np.where(present, VALUE, NULL).astype("u1")

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish((bytes_of_one(states[0]),), params))


TOP_N_BY = SomeValuesBy("top_n_by", GreatestBy)
LAST_N_BY = SomeValuesBy("last_n_by", LastBy)
