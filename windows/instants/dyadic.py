"""States of long ranges for any monoid: rows are merged two by two, and two of these, and so on.

A range of n rows is the union of at most 2 log n of these spans. So nothing is ever taken back,
no state is merged more than log n times, and one level of spans is in memory at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..algebra import Column, Int64s, Monoid, Order, Runs, States, concat, merge, take
from ..lifting import expanded, lift_groups, take_order, take_rows

BLOCK: Final = 32
"""Rows that are lifted as one; what a range has of a block is lifted by itself."""


def direct(monoid: Monoid, column: Column | None, order: Order, lo: Int64s, hi: Int64s) -> States:
    """The state of each range `[lo, hi)` of sorted rows, lifted from them. O(rows in ranges)."""
    return lift_groups(monoid, *rows_of(column, order, lo, hi))


def rows_of(
    column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> tuple[Column | None, Order, Int64s]:
    """The rows of each range, one range after the other, and how many each has."""
    _, row = expanded(lo, hi)
    taken = None if column is None else take_rows(column, row)
    return taken, take_order(order, row), hi - lo


def dyadic(monoid: Monoid, column: Column | None, order: Order, lo: Int64s, hi: Int64s) -> States:
    """The same for long ranges. O(n + q log n) merges for the n rows that lie in some range."""
    first, last = -(-lo // BLOCK), hi // BLOCK
    some = first < last
    # Of a range within a block, or two, all rows are at its edges.
    head = np.where(some, first * BLOCK, hi)
    tail = np.where(some, last * BLOCK, hi)
    states = _edges(monoid, column, order, (lo, head), (tail, hi))
    chosen = np.flatnonzero(some)
    if not len(chosen):
        return states
    used, begin, end = _used(first[chosen], last[chosen])
    _, row = expanded(used * BLOCK, used * BLOCK + BLOCK)
    taken = None if column is None else take_rows(column, row)
    level = monoid.lift(
        taken, take_order(order, row), Runs(np.arange(0, len(row), BLOCK), len(row))
    )
    inside = _spans(monoid, level, begin, end)
    place = np.arange(len(lo))
    place[chosen] = len(lo) + np.arange(len(chosen))
    together = merge(monoid, take(states, chosen), inside)
    return take(concat((states, together)), place)


def _edges(
    monoid: Monoid,
    column: Column | None,
    order: Order,
    head: tuple[Int64s, Int64s],
    tail: tuple[Int64s, Int64s],
) -> States:
    """The state of the rows of each head and tail together."""
    both = [np.stack(pair, axis=1).ravel() for pair in zip(head, tail, strict=True)]
    _, row = expanded(*both)
    taken = None if column is None else take_rows(column, row)
    counts = (head[1] - head[0]) + (tail[1] - tail[0])
    return lift_groups(monoid, taken, take_order(order, row), counts)


def _used(first: Int64s, last: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """The blocks in some range `[first, last)`, and the ranges as places among them."""
    size = int(last.max())
    change = np.bincount(first, minlength=size + 1) - np.bincount(last, minlength=size + 1)
    is_used = np.cumsum(change[:-1]) > 0
    before = np.concatenate(([0], np.cumsum(is_used)))
    return np.flatnonzero(is_used), before[first], before[last]


def _spans(monoid: Monoid, level: States, begin: Int64s, end: Int64s) -> States:
    """The merge of the states `[begin, end)` for each pair of these; none is empty."""
    # Zeros may share their memory, and `found` is written to.
    found: States = tuple(
        np.array(field) if isinstance(field, np.ndarray) else field
        for field in monoid.zero(len(begin))
    )
    active, left, right = np.arange(len(begin)), begin, end
    while True:
        count = len(level[0])
        # What is a right half on the left, or a left half on the right, has no other half in it.
        take_left = (left & 1 == 1) & (left < right)
        found = _merged(monoid, found, active[take_left], level, left[take_left])
        left = left + take_left
        take_right = (right & 1 == 1) & (left < right)
        right = right - take_right
        found = _merged(monoid, found, active[take_right], level, right[take_right])
        going = left < right
        if not going.any():
            return found
        active, left, right = active[going], left[going] >> 1, right[going] >> 1
        level = monoid.reduce(level, Runs(np.arange(0, count, 2), count))


def _merged(monoid: Monoid, found: States, which: Int64s, level: States, spans: Int64s) -> States:
    """`found` with the spans merged into the states at `which`."""
    if not len(which):
        return found
    merged = merge(monoid, take(found, which), take(level, spans))
    if all(isinstance(field, np.ndarray) for field in merged):
        for field, changed in zip(found, merged, strict=True):
            field[which] = changed
        return found
    place = np.arange(len(found[0]))
    place[which] = len(place) + np.arange(len(which))
    return take(concat((found, merged)), place)
