"""The states of many ranges of sorted rows, for any monoid.

`KERNELS` has a quicker way for some classes of monoids; each gives the same states as lifting the
rows of a range does (sums of floats: the same values, within the bound that they state). What has
no kernel is lifted directly where ranges are short, and merged from spans where they are long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from .dyadic import BLOCK, direct, dyadic
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
    if not len(order.event_us):
        return take(monoid.zero(1), np.zeros(len(lo), np.int64))
    new = np.ones(len(lo), bool)
    new[1:] = (lo[1:] != lo[:-1]) | (hi[1:] != hi[:-1])
    if new.all():
        return _states(monoid, column, order, lo, hi)
    found = _states(monoid, column, order, lo[new], hi[new])
    return take(found, np.cumsum(new) - 1)


def is_small(monoid: Monoid) -> bool:
    """Whether the states of all ranges may be held at a time: they have a small fixed size."""
    return all(field.dtype != "bytes" for field in monoid.fields)


def _states(monoid: Monoid, column: Column | None, order: Order, lo: Int64s, hi: Int64s) -> States:
    picks = PICKS.get(type(monoid))
    if picks and (states := picks(monoid, column, order, lo, hi)) is not None:
        return states
    lengths = hi - lo
    if 2 * int(lengths.sum()) > len(order.event_us):
        kernel = KERNELS.get(type(monoid))
        if isinstance(monoid, TwoFloatSums):
            kernel = summed_float
        if kernel and (states := kernel(monoid, column, order, lo, hi)) is not None:
            return states
    is_long = lengths > LONG
    if not is_long.any():
        return _direct(monoid, column, order, lo, hi)
    short, long = np.flatnonzero(~is_long), np.flatnonzero(is_long)
    place = np.empty(len(lo), np.int64)
    place[short], place[long] = np.arange(len(short)), len(short) + np.arange(len(long))
    parts = (
        _direct(monoid, column, order, lo[short], hi[short]),
        dyadic(monoid, column, order, lo[long], hi[long]),
    )
    return take(concat(parts), place)


def _direct(monoid: Monoid, column: Column | None, order: Order, lo: Int64s, hi: Int64s) -> States:
    parts = [
        direct(monoid, column, order, lo[begin:end], hi[begin:end])
        for begin, end in lots(hi - lo, ROWS_MAX)
    ]
    return parts[0] if len(parts) == 1 else concat(tuple(parts))


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
