"""Events as columns, and the pairs of key and instant that are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ..algebra import Column, Int64s, Order
from ..lifting import take_order, take_rows


@dataclass(frozen=True, slots=True)
class EventRows:
    """n events of one build that count: what its live state would have folded. In any order.

    `key` int64 (n,): a number for each row's key, at least 0; dense ones are quickest. `order`: the
    total order of events; no two rows share a place in it. `inputs`: the build's lifted input
    columns, as `Slot.input` numbers them, rows as in `key`. `known_us` int64 (n,), or None: the
    event counts at an instant only if it lies after `known_us` (besides lying in the window).
    """

    key: Int64s
    order: Order
    inputs: tuple[Column, ...]
    known_us: Int64s | None = None

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: Int64s) -> EventRows:
        """The rows at `rows` (int64), in that order."""
        return EventRows(
            self.key.take(rows),
            take_order(self.order, rows),
            tuple(take_rows(column, rows) for column in self.inputs),
            None if self.known_us is None else self.known_us.take(rows),
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """q pairs of key and instant, in any order and as often as one likes.

    `key` int64 (q,), numbered as in `EventRows`; a number that no row has, -1 say, is a key without
    events. `at_us` int64 (q,): µs since the epoch, UTC.
    """

    key: Int64s
    at_us: Int64s

    def __len__(self) -> int:
        return len(self.key)

    def take(self, pairs: Int64s) -> Asked:
        """The pairs at `pairs` (int64), in that order."""
        return Asked(self.key[pairs], self.at_us[pairs])


_DISORDER: Final = 1 / 32
"""Share of rows that may lie before the row above them, for a sort that makes use of the rest."""


def in_order(rows: EventRows) -> EventRows:
    """The rows sorted by key and, within it, in the total order. O(n log n)."""
    return ordered(rows)[1]


def ordered(rows: EventRows) -> tuple[Int64s, EventRows]:
    """The same, and the place of each among the given ones."""
    order, key, event_us = _sorted(rows)
    return order, EventRows(
        key,
        Order(event_us, rows.order.ordinal.take(order), rows.order.offset.take(order)),
        tuple(take_rows(column, order) for column in rows.inputs),
        None if rows.known_us is None else rows.known_us.take(order),
    )


def _sorted(rows: EventRows) -> tuple[Int64s, Int64s, Int64s]:
    """Indices that sort rows, and the keys and event times in that order.

    What comes from a log is nearly in order of time, so it is put in that order first, and then
    sorted by key and place in one integer, as all that fits into one: that is an order of magnitude
    faster than sorting by columns. Rows of the same key and time are put in order afterwards.
    """
    size, event_us = len(rows), rows.order.event_us
    if not size:
        return np.empty(0, np.int64), rows.key, event_us
    row_bits, key_bits = size.bit_length(), int(rows.key.max()).bit_length()
    oldest_us = int(event_us.min())
    time_bits = (int(event_us.max()) - oldest_us).bit_length()
    descents = np.count_nonzero(event_us[1:] < event_us[:-1])
    if row_bits + key_bits <= 63 and descents <= size * _DISORDER:
        by_time = np.argsort(event_us, kind="stable")
        packed = (rows.key.take(by_time) << row_bits) | np.arange(size)
        packed.sort()
        order = by_time.take(packed & ((1 << row_bits) - 1))
    elif time_bits + key_bits <= 63:
        order = np.argsort((rows.key << time_bits) | (event_us - oldest_us))
    else:
        order = np.lexsort((rows.order.offset, rows.order.ordinal, event_us, rows.key))
    key, event_us = rows.key.take(order), event_us.take(order)
    again = (event_us[1:] == event_us[:-1]) & (key[1:] == key[:-1])
    if again.any():
        ties = np.zeros(size, bool)
        ties[1:] = again
        ties[:-1] |= again
        tied = np.flatnonzero(ties)
        mine = order[tied]
        places = (rows.order.offset[mine], rows.order.ordinal[mine], event_us[tied], key[tied])
        order[tied] = mine[np.lexsort(places)]
    return order, key, event_us
