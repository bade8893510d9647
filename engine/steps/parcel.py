"""What a batch adds to the shards of one worker: what goes from who reads to who commits.

It holds no rows any more, only partial tiles, positions and counts, so that it is small where keys
repeat. Parcels of one reader come to one owner in the order in which they were sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...schemas.outcomes import RecordCode
from ...state.keys import hashes_of, shards_of
from ...state.rows import COUNTERS
from ...windows.algebra import Int64s
from ...windows.tiles import KeyedTiles
from .admit import Admitted
from .lift import Lifted


@dataclass(frozen=True, slots=True)
class Share:
    """What a batch adds to one build: partial tiles, and what became of its records.

    `counts` int64 (shards, counters), in the order of `COUNTERS`, for all shards of the state.
    """

    tiles: KeyedTiles
    counts: np.ndarray


@dataclass(frozen=True, slots=True)
class Parcel:
    """One batch for one worker.

    `reader` is the worker that read it; `watermark_us` the stream's watermark as it sees that;
    `read_count` an equal share of the batch's rows, by which commits are paced. Only
    the reader's own parcel holds `log_us` (int64 (n,), the log timestamps of rows that came live
    and for the first time) and `not_finite` (by build and input, values that count as null): they
    are measured once.
    """

    reader: int
    ordinal: int
    next_offset: int
    running_max_us: int
    watermark_us: int
    read_count: int
    shares: Mapping[int, Share]
    log_us: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    not_finite: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Joined:
    """A reader has given these builds all that its live lane had been given: no batch, but news.

    It follows the last parcel of what it is about.
    """

    reader: int
    builds: tuple[int, ...]


def outcomes_of(
    batch: Admitted, lifted: Lifted, since: int, home: int, shard_count: int
) -> np.ndarray:
    """What became of a batch's records in a build, by shard; int64 (shards, counters).

    Folded rows count in the shard of their key; all else counts in the shard `home`, from offset
    `since` on.
    """
    counts = np.zeros((shard_count, len(COUNTERS)), dtype=np.int64)
    tombstones = dead = 0
    for record in batch.bad:
        if record.offset >= since:
            tombstones += record.code is RecordCode.TOMBSTONE
            dead += record.code is not RecordCode.TOMBSTONE
    filtered = lifted.filtered + tombstones
    read = int((batch.offsets >= since).sum()) + tombstones + dead
    counts[home] = (read, 0, filtered, lifted.duplicate, lifted.expired, dead, 0)
    counts[:, COUNTERS.index("folded")] = lifted.folded
    counts[:, COUNTERS.index("late")] = lifted.late
    return counts


def cut(tiles: KeyedTiles, shard_count: int, workers: int) -> Sequence[KeyedTiles]:
    """The tiles of each worker's shards: shard `n` is owned by worker `n mod workers`."""
    if workers == 1:
        return [tiles]
    owners = shards_of(hashes_of(tiles.keys.to_pylist()), shard_count) % workers
    return [tiles.take(np.flatnonzero(owners == worker)) for worker in range(workers)]
