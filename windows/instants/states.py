"""The states of many ranges of sorted rows, for any monoid.

`KERNELS` has a quicker way for some classes of monoids; each gives the same states as lifting the
rows of a range does (sums of floats: the same values, within the bound that they state). What has
no kernel is lifted directly where ranges are short, and merged from spans where they are long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np

from ..aggregates.counts import Counting
from ..aggregates.extrema import ExtremeNumber
from ..aggregates.lists import ItemState
from ..aggregates.moments import SquaresInt
from ..aggregates.ordered import Edge
from ..aggregates.predicates import CountTrue
from ..aggregates.sums import SumInt, TwoFloatSums
from ..aggregates.trends import OfTimes
from ..algebra import Column, Int64s, Monoid, Order, States, concat, take
from ..lifting import lift_groups
from .dyadic import BLOCK, dyadic, rows_of
from .picks import edge, extreme, nearest, time_extreme
from .prefixes import counted, counted_true, squared_int, summed_float, summed_int

ROWS_MAX: Final = 1 << 22
"""Rows that are lifted in one call, for many ranges together."""

LONG: Final = 4 * BLOCK
"""From so many rows on, spans of them are merged."""

Kernel: TypeAlias = Callable[[Any, Column | None, Order, Int64s, Int64s], States | None]
"""Of monoid, column, order, lo and hi: the states; None where it has no way for this column."""

PICKS: Mapping[type, Kernel] = {
    Counting: counted,
    OfTimes: time_extreme,
    Edge: edge,
    ItemState: nearest,
}
"""Kernels that look at few rows, however long a range is."""

KERNELS: Mapping[type, Kernel] = {
    CountTrue: counted_true,
    SumInt: summed_int,
    SquaresInt: squared_int,
    ExtremeNumber: extreme,
}
"""Kernels that look at all rows once, however many ranges there are."""


def states_of(
    monoid: Monoid, column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> States:
    """The state of each range `[lo, hi)` of sorted rows; `lo`, `hi` int64 (q,).

    O((n + q) log n) for n rows.
    """
    return Slices(column, order, lo, hi).states(monoid)


@dataclass(frozen=True)
class Slices:
    """The ranges `[lo, hi)` of sorted rows of one column, for the states of any number of monoids.

    What these have in common is computed once: the rows of short ranges, one range after the other.
    """

    column: Column | None
    order: Order
    lo: Int64s
    hi: Int64s

    def states(self, monoid: Monoid) -> States:
        """The state of each range."""
        if not len(self.order.event_us):
            return take(monoid.zero(1), np.zeros(len(self.lo), np.int64))
        lo, hi, place = self._different
        picks = PICKS.get(type(monoid))
        states = picks(monoid, self.column, self.order, lo, hi) if picks else None
        if states is None and self._are_many:
            kernel = KERNELS.get(type(monoid))
            if isinstance(monoid, TwoFloatSums):
                kernel = summed_float
            states = kernel(monoid, self.column, self.order, lo, hi) if kernel else None
        if states is None:
            states = self._lifted(monoid, lo, hi)
        return states if place is None else take(states, place)

    @cached_property
    def _different(self) -> tuple[Int64s, Int64s, Int64s | None]:
        """The ranges, those that are equal to the one before left out, and where each is then."""
        new = np.ones(len(self.lo), bool)
        new[1:] = (self.lo[1:] != self.lo[:-1]) | (self.hi[1:] != self.hi[:-1])
        if new.all():
            return self.lo, self.hi, None
        return self.lo[new], self.hi[new], np.cumsum(new) - 1

    @cached_property
    def _are_many(self) -> bool:
        """Whether it is quicker to look at every row once than at those of each range."""
        lo, hi, _ = self._different
        return 2 * int((hi - lo).sum()) > len(self.order.event_us)

    @cached_property
    def _lengths(self) -> tuple[Int64s, Int64s]:
        """The numbers of the short ranges, and of the long ones."""
        lo, hi, _ = self._different
        is_long = hi - lo > LONG
        return np.flatnonzero(~is_long), np.flatnonzero(is_long)

    def _lifted(self, monoid: Monoid, lo: Int64s, hi: Int64s) -> States:
        """The states from the rows of short ranges, and from spans of long ones."""
        short, long = self._lengths
        parts = [lift_groups(monoid, *rows) for rows in self._rows()]
        if len(long):
            parts.append(dyadic(monoid, self.column, self.order, lo[long], hi[long]))
        states = parts[0] if len(parts) == 1 else concat(tuple(parts))
        if not len(long):
            return states
        place = np.empty(len(lo), np.int64)
        place[short], place[long] = np.arange(len(short)), len(short) + np.arange(len(long))
        return take(states, place)

    def _rows(self) -> Iterable[tuple[Column | None, Order, Int64s]]:
        """The rows of the short ranges, a lot of ranges at a time, and how many each has."""
        lo, hi, _ = self._different
        short, _ = self._lengths
        lo, hi = lo[short], hi[short]
        if int((hi - lo).sum()) <= ROWS_MAX:
            return (self._few,)
        return (
            rows_of(self.column, self.order, lo[begin:end], hi[begin:end])
            for begin, end in lots(hi - lo, ROWS_MAX)
        )

    @cached_property
    def _few(self) -> tuple[Column | None, Order, Int64s]:
        lo, hi, _ = self._different
        short, _ = self._lengths
        return rows_of(self.column, self.order, lo[short], hi[short])


def is_small(monoid: Monoid) -> bool:
    """Whether the states of all ranges may be held at a time: they have a small fixed size."""
    return all(field.dtype != "bytes" for field in monoid.fields)


def lots(sizes: Int64s, most: int, count: int = 1 << 62) -> Iterator[tuple[int, int]]:
    """Spans `[begin, end)` of consecutive things of up to `most` together, and up to `count`.

    A single one may be larger. There is at least one span, which may be empty.

    >>> list(lots(np.array([3, 4, 9, 1]), 8)), list(lots(np.empty(0, np.int64), 8))
    ([(0, 2), (2, 3), (3, 4)], [(0, 0)])
    """
    upto = np.concatenate(([0], np.cumsum(sizes)))
    begin, size = 0, len(sizes)
    while True:
        end = int(np.searchsorted(upto, upto[begin] + most, side="right")) - 1
        end = min(max(end, begin + 1), begin + count, size)
        yield begin, end
        begin = end
        if end == size:
            return
