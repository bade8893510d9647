"""States of ranges that only some of their rows decide: the first, the last, the extreme one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .. import items
from ..aggregates.extrema import ExtremeNumber
from ..aggregates.lists import ItemState, Nearest, place
from ..aggregates.ordered import Edge
from ..aggregates.support import column_of, filled
from ..aggregates.trends import OfTimes
from ..algebra import Column, Int64s, Order, States, concat, take
from ..lifting import expanded, take_order, take_rows
from .prefixes import valid_before


def extreme(
    monoid: ExtremeNumber, column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> States:
    """The least or greatest number of each range.

    A range of n rows is the union of two spans of 2**k rows, where 2**k is the greatest power of
    two up to n; the extremes of all spans of one length are there at a time. O((n + q) log n).
    """
    values = filled(column, monoid.neutral)
    if values.dtype == np.float64:
        values = values + 0.0  # -0.0 + 0.0 is 0.0
    found = np.full(len(lo), monoid.neutral, values.dtype)
    better = np.minimum if monoid.least else np.maximum
    spans = np.array(values)
    for step, chosen in _by_length(hi - lo):
        if step > 1:
            half, size = step // 2, len(values) - step + 1
            # In place, forward: what is read lies ahead of what is written.
            better(spans[:size], spans[half : half + size], out=spans[:size])
        if len(chosen):
            found[chosen] = better(spans[lo[chosen]], spans[hi[chosen] - step])
    return (found,)


def _by_length(lengths: Int64s) -> Iterator[tuple[int, Int64s]]:
    """Each power of two, and the ranges of which it is the greatest up to their length."""
    some = np.flatnonzero(lengths > 0)
    level = np.frexp(lengths[some].astype(np.float64))[1] - 1
    order = np.argsort(level, kind="stable")
    ends = np.cumsum(np.bincount(level, minlength=1))
    begin = 0
    for power, end in enumerate(ends.tolist()):
        yield 1 << power, some[order[begin:end]]
        begin = end


def time_extreme(
    monoid: OfTimes, column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> States | None:
    """The first or last event time of each range: rows are in order of time."""
    if not isinstance(monoid.inner, ExtremeNumber):
        return None
    valid = column_of(column).valid if monoid.of_values else None
    row, found = _edge(valid, lo, hi, monoid.inner.least)
    times_us = np.full(len(lo), monoid.inner.neutral, np.int64)
    times_us[found] = order.event_us[row]
    return (times_us,)


def edge(monoid: Edge, column: Column | None, order: Order, lo: Int64s, hi: Int64s) -> States:
    """The first or last value of each range, with its place in the total order."""
    column = column_of(column)
    row, found = _edge(column.valid, lo, hi, monoid.earliest)
    states = take((order.event_us, order.ordinal, order.offset, column.values), row)
    if len(found) == len(lo):
        return states
    where = np.full(len(lo), len(row))
    where[found] = np.arange(len(row))
    return take(concat((states, monoid.zero(1))), where)


def _edge(
    valid: npt.NDArray[np.bool_] | None, lo: Int64s, hi: Int64s, first: bool
) -> tuple[Int64s, Int64s]:
    """The first or last valid row of each range that has one, and the numbers of these ranges."""
    if valid is None:
        found = np.flatnonzero(lo < hi)
        return (lo[found] if first else hi[found] - 1), found
    before = valid_before(valid)
    found = np.flatnonzero(before[lo] < before[hi])
    rows = np.flatnonzero(valid)
    return rows[before[lo[found]] if first else before[hi[found]] - 1], found


def nearest(
    monoid: ItemState, column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> States | None:
    """The first or last n values of each range; None where a state keeps something else."""
    keeps = monoid.prune
    if not isinstance(keeps, Nearest) or monoid.leading is not place:
        return None
    column = column_of(column)
    if column.valid is not None:
        before, valid = valid_before(column.valid), np.flatnonzero(column.valid)
        lo, hi = before[lo], before[hi]
    if keeps.earliest:
        hi = np.minimum(hi, lo + keeps.count)
    else:
        lo = np.maximum(lo, hi - keeps.count)
    owner, row = expanded(lo, hi)
    if column.valid is not None:
        row = valid[row]
    picked = take_rows(Column(column.values), row)
    rows = items.lifted(place(picked, take_order(order, row)), picked.values, None, owner)
    return items.closed(rows, len(lo))
