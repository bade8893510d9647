"""Rows picked out of columns, and lifted by group where a group may have none."""

from __future__ import annotations

import numpy as np

from .algebra import Column, Int64s, Monoid, Order, Runs, States, Values, concat, take


def take_values(values: Values, indices: Int64s) -> Values:
    """The values at `indices`, in that order."""
    return take((values,), indices)[0]


def take_order(order: Order, rows: Int64s) -> Order:
    """The places of the rows at `rows`."""
    # `take` of numpy is twice as quick as its brackets.
    return Order(order.event_us.take(rows), order.ordinal.take(rows), order.offset.take(rows))


def take_rows(column: Column, rows: Int64s) -> Column:
    """The rows of a column at `rows` (int64), in that order and as often as they are named.

    >>> take_rows(Column(np.array([5, 7, 9]), lengths=np.array([2, 0, 1])), np.array([2, 0])).values
    array([9, 5, 7])
    """
    lengths, elements = None, rows
    if column.lengths is not None:
        lengths = column.lengths[rows]
        begins = np.cumsum(column.lengths) - column.lengths
        _, elements = expanded(begins[rows], begins[rows] + lengths)
    return Column(
        take_values(column.values, elements),
        None if column.valid is None else column.valid.take(elements),
        None if column.beside is None else take_values(column.beside, elements),
        tuple(take_values(more, elements) for more in column.more),
        lengths,
    )


def expanded(lo: Int64s, hi: Int64s) -> tuple[Int64s, Int64s]:
    """The rows of all ranges `[lo, hi)`, range after range, and the number of each one's range.

    O(rows). Ranges may be empty, never less.

    >>> owner, row = expanded(np.array([3, 9, 0]), np.array([5, 9, 1]))
    >>> owner.tolist(), row.tolist()
    ([0, 0, 2], [3, 4, 0])
    """
    lengths = hi - lo
    ends = np.cumsum(lengths)
    owner = np.repeat(np.arange(len(lo)), lengths)
    row = (lo - ends + lengths).take(owner)
    row += np.arange(len(owner))
    return owner, row


def lift_groups(monoid: Monoid, column: Column | None, order: Order, counts: Int64s) -> States:
    """The states of k groups of rows that stand one after the other; `counts` (k,) may be 0."""
    some = np.flatnonzero(counts)
    zero = monoid.zero(1)
    if not len(some):
        return take(zero, np.zeros(len(counts), np.int64))
    lifted = monoid.lift(column, order, Runs.of_lengths(counts[some]))
    if len(some) == len(counts):
        return lifted
    # Groups without rows take the zero, which stands behind the others.
    place = np.full(len(counts), len(some))
    place[some] = np.arange(len(some))
    return take(concat((lifted, zero)), place)
