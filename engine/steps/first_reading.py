"""What the wall clock has to say of a record, once: when it is first read.

Where producers set a record's log timestamp (Kafka's CreateTime) that timestamp bounds nothing: a
record whose event time and log timestamp both lie in the year 2100 would push the watermark, and
everything behind it would expire. So a record stamped more than the stream's `ahead` bound past the
wall clock when it is first read is future.

A verdict that rests on a clock would differ the next time, so it is given once. One against a
record is kept before the batch goes on, in every shard of the worker that reads it: it is rare, and
a shard that is lost must not take it along. The archive holds it too, for a state that is older
than the archive (restored from a copy). One for it needs no row: what is before a position that
some shard or the archive has reached was read, and stands; what is after all of them has left no
trace, and is read for the first time again.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from ...connectors.decode import DecodedBatch
from ...state.shard import Shard
from ...windows.algebra import Bools, Int64s
from .standing import Standing


class FirstReading:
    """One stream's verdicts by the clock, by ordinals of partitions; for who reads these."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._future: dict[int, Int64s] = {}
        self._read: dict[int, int] = {}

    def begin(self, ordinal: int, *, archived: int, future: Int64s, kept_from: int) -> None:
        """Take up a partition, of which the archive has reached offset `archived`.

        `future` are the offsets of records that are future in the archive, from where the partition
        is read on. Verdicts about records before `kept_from`, where the log begins, are forgotten.
        """
        own = [self._kept(shard, ordinal, kept_from) for shard in self._standing.shards]
        known = reduce(np.union1d, own, np.empty(0, np.int64))
        for shard, kept in zip(self._standing.shards, own, strict=True):
            # Who kept a verdict may have died between two shards, and the next reader may own the
            # one alone that lacks it, but has later ones.
            lacking = np.setdiff1d(known[known >= kept_from], kept)
            if len(lacking):
                shard.verdicts.add(ordinal, lacking)
        future = np.union1d(known, future)
        self._future[ordinal] = future
        applied = self._standing.reached(ordinal)
        judged = int(future[-1]) + 1 if len(future) else 0
        self._read[ordinal] = max(archived, judged, applied)

    def _kept(self, shard: Shard, ordinal: int, kept_from: int) -> Int64s:
        shard.verdicts.forget(ordinal, kept_from)
        return shard.verdicts.offsets(ordinal)

    def judge(self, ordinal: int, batch: DecodedBatch, latest_us: int) -> Bools | None:
        """Which rows of `batch` are future by the clock; None if none are.

        Those read for the first time are, if their log timestamp lies after `latest_us`; what is
        new is kept, synced, before this returns. O(rows) where producers stamp, O(1) else.
        """
        if not batch.stamped_by_producer:
            return None
        read = self._read.get(ordinal, 0)
        future = np.isin(batch.offsets, self._future.get(ordinal, ()))
        if batch.next_offset > read:
            new = (batch.log_us > latest_us) & (batch.offsets >= read)
            if new.any():
                self._keep(ordinal, batch.offsets[new])
                future |= new
            self._read[ordinal] = batch.next_offset
        return future if future.any() else None

    def _keep(self, ordinal: int, offsets: Int64s) -> None:
        for shard in self._standing.shards:
            shard.verdicts.add(ordinal, offsets)
        known = self._future.get(ordinal)
        self._future[ordinal] = offsets if known is None else np.concatenate((known, offsets))
