"""Where in sorted rows an instant of a key is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..algebra import Int64s


@dataclass(frozen=True, slots=True)
class Timeline:
    """Keys and times of n rows, sorted by both, as one ascending column of integers.

    Times are counted from the oldest one. Where key and time do not fit into 63 bits, the place of
    a time among the different ones (`times_us`) stands for it.
    """

    packed: Int64s
    time_bits: int
    oldest_us: int
    last: int
    keys: int
    times_us: Int64s | None

    @staticmethod
    def of(key: Int64s, times_us: Int64s) -> Timeline:
        """The timeline of rows that are sorted by (key, time); keys are at least 0."""
        if not len(key):
            return Timeline(np.empty(0, np.int64), 1, 0, 0, 0, None)
        oldest_us, keys = int(times_us.min()), int(key[-1]) + 1
        last, different = int(times_us.max()) - oldest_us + 1, None
        times = times_us - oldest_us
        if last.bit_length() + keys.bit_length() > 63:
            different = np.unique(times_us)
            last = len(different)
            times = np.searchsorted(different, times_us)
        bits = last.bit_length()
        return Timeline((key << bits) | times, bits, oldest_us, last, keys, different)

    def before(self, key: Int64s, edge_us: Int64s) -> Int64s:
        """The first row of each key at or after its edge; all of shape (q,).

        The end of the key's rows where there is none. O(q log n); quick if (key, edge) ascend.
        """
        if not len(self.packed):
            return np.zeros(len(key), np.int64)
        if self.times_us is not None:
            times = np.searchsorted(self.times_us, edge_us)
        else:
            # Clipped before it is taken from: edges may be the least int64.
            clipped = np.clip(edge_us, self.oldest_us, self.oldest_us + self.last)
            times = clipped - self.oldest_us
        is_held = (key >= 0) & (key < self.keys)
        wanted = (np.where(is_held, key, self.keys) << self.time_bits) | np.where(is_held, times, 0)
        return np.searchsorted(self.packed, wanted)
