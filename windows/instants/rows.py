"""Events as columns, and the pairs of key and instant that are asked for."""

from __future__ import annotations

from dataclasses import dataclass

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
            self.key[rows],
            take_order(self.order, rows),
            tuple(take_rows(column, rows) for column in self.inputs),
            None if self.known_us is None else self.known_us[rows],
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


def total_order(rows: EventRows) -> Int64s:
    """Indices that sort rows by key and, within it, in the total order. O(n log n).

    Key and time go into one integer where they fit, which sorts an order of magnitude faster than
    columns do; rows of the same key and time are put in order afterwards.
    """
    if not len(rows):
        return np.empty(0, np.int64)
    event_us = rows.order.event_us
    oldest_us = int(event_us.min())
    time_bits = (int(event_us.max()) - oldest_us).bit_length()
    if time_bits + int(rows.key.max()).bit_length() > 63:
        return np.lexsort((rows.order.offset, rows.order.ordinal, event_us, rows.key))
    packed = (rows.key << time_bits) | (event_us - oldest_us)
    order: Int64s = np.argsort(packed)
    packed = packed[order]
    ties = np.zeros(len(packed), bool)
    ties[1:] = packed[1:] == packed[:-1]
    ties[:-1] |= ties[1:]
    tied = np.flatnonzero(ties)
    if len(tied):
        mine = order[tied]
        places = (rows.order.offset[mine], rows.order.ordinal[mine], packed[tied])
        order[tied] = mine[np.lexsort(places)]
    return order
