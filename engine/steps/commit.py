"""Collecting partial tiles between commits, and committing them to the shards that own their keys.

Between two commits the partial tiles of many batches gather here. A commit merges them by (key,
tile) once for all shards, cuts the result by shard, and lets each shard write its share with the
applied positions. *Every* shard records every batch's end, also when none of its events were the
shard's own: a quiet shard must never hold back the point to resume from.

About every 32nd commit that touches a key folds it. Which one is decided by the key's hash and the
number of the round, not by counting chunks: no memory a key, and the work is spread evenly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from ...schemas.outcomes import RecordCode
from ...state.fold import Folded, fold
from ...state.keys import hashes_of, shard_of, shards_of
from ...state.locality import order_of_writing
from ...state.mirror import Committed, Offer
from ...state.rows import COUNTERS, Applied
from ...state.shard import Shard
from ...windows.shape import Shape
from ...windows.tiles import NEVER_US, KeyedTiles, merge_numbered, number_keys
from .admit import Admitted
from .lift import Lifted

FOLD_EVERY: Final = 32
"""A key is folded once in this many commits that touch it, on average."""

FOLD_TILES: Final = 256
"""A key that gains so many tiles in one commit (a replay) is folded at once: heads stay short."""

_FOLD_TURNS: Final = 4
"""A shard folds in one of so many commits; fewer and larger folds cost less."""

_SWEEP_EVERY: Final = 64
_SWEEP_KEYS: Final = 256


@dataclass
class _Progress:
    """What has gathered for one (build, partition): where it stands, and counts by shard."""

    next_offset: int
    running_max_us: int
    counts: np.ndarray


@dataclass
class Pending:
    """What the next commit will write."""

    parts: dict[int, list[KeyedTiles]] = field(default_factory=dict)
    progress: dict[tuple[int, int], _Progress] = field(default_factory=dict)
    row_count: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ShardCommit:
    """What one shard did in a commit; `offers` is for its mirror, in order."""

    shard: int
    offers: tuple[Offer, ...]


class Committer:
    """Owns some shards: gathers what is lifted for them and commits it.

    `shapes` holds the shape of each build that is ingested; it may change between commits.
    """

    def __init__(self, shards: Sequence[Shard], shapes: Mapping[int, Shape]) -> None:
        self.shards = shards
        self.shapes = shapes
        self._pending = Pending()
        self._rounds = 0
        self._swept: dict[tuple[int, int], bytes] = {}

    @property
    def pending_rows(self) -> int:
        """Rows gathered since the last commit."""
        return self._pending.row_count

    @property
    def pending_bytes(self) -> int:
        """What the tiles gathered since the last commit take."""
        return self._pending.size_bytes

    @property
    def has_pending(self) -> bool:
        """Whether there is anything to commit, be it only positions."""
        return bool(self._pending.progress)

    def applied(self, build: int, ordinal: int) -> np.ndarray:
        """Each shard's next offset of a build in a partition, what is pending included."""
        stored = [shard.applied.get((build, ordinal)) for shard in self.shards]
        offsets = np.array([0 if at is None else at.next_offset for at in stored], dtype=np.int64)
        waiting = self._pending.progress.get((build, ordinal))
        # What is pending may end before what a shard has: it was read again for another shard.
        return offsets if waiting is None else np.maximum(offsets, waiting.next_offset)

    def add(self, build: int, ordinal: int, batch: Admitted, lifted: Lifted, since: int) -> None:
        """Gather a lifted batch; bad records count from offset `since`."""
        pending = self._pending
        if len(lifted.tiles):
            pending.parts.setdefault(build, []).append(lifted.tiles)
            pending.size_bytes += lifted.tiles.size_bytes
        counts = np.zeros((len(self.shards), len(COUNTERS)), dtype=np.int64)
        tombstones = dead = 0
        for record in batch.bad:
            if record.offset >= since:
                tombstones += record.code is RecordCode.TOMBSTONE
                dead += record.code is not RecordCode.TOMBSTONE
        own = counts[partition_shard(ordinal, len(self.shards))]
        filtered = lifted.filtered + tombstones
        good = int((batch.offsets >= since).sum())
        read = good + tombstones + dead
        own[:] = (read, 0, filtered, lifted.duplicate, lifted.expired, dead, 0)
        counts[:, COUNTERS.index("folded")] = lifted.folded
        counts[:, COUNTERS.index("late")] = lifted.late
        progress = pending.progress.get((build, ordinal))
        if progress is None:
            pending.progress[build, ordinal] = _Progress(
                batch.next_offset, batch.running_max_us, counts
            )
        else:
            progress.next_offset = batch.next_offset
            progress.running_max_us = batch.running_max_us
            progress.counts += counts
        pending.row_count += batch.read_count

    def commit(self, watermarks_us: Mapping[int, int]) -> list[ShardCommit]:
        """Commit what has gathered in every shard; folds whose turn it is follow.

        `watermarks_us` holds each build's stream watermark (`NEVER_US` while there is none).
        """
        pending, self._pending = self._pending, Pending()
        self._rounds += 1
        shares = {
            build: _Shares.of(self.shapes[build], parts, len(self.shards))
            for build, parts in pending.parts.items()
            if build in self.shapes
        }
        done = []
        for place, shard in enumerate(self.shards):
            chunks = {b: share.part(place) for b, share in shares.items() if share.size(place)}
            steps = {
                at: Applied(p.next_offset, p.running_max_us, *p.counts[place].tolist())
                for at, p in pending.progress.items()
                if at[0] in self.shapes
            }
            number = shard.commit({b: (self.shapes[b], k) for b, k in chunks.items()}, steps)
            offers: list[Offer] = [Committed(number, chunks, shard.readable_positions())]
            offers.extend(self._folds(place, shares, watermarks_us))
            done.append(ShardCommit(place, tuple(offers)))
        return done

    def _folds(
        self,
        place: int,
        shares: Mapping[int, _Shares],
        watermarks_us: Mapping[int, int],
    ) -> list[Folded]:
        turn, out_of_turn = divmod(self._rounds + place, _FOLD_TURNS)
        key_turn = -1 if out_of_turn else turn % (FOLD_EVERY // _FOLD_TURNS)
        sweeping = not out_of_turn and turn % (_SWEEP_EVERY // _FOLD_TURNS) == 0
        folds = []
        for build, shape in self.shapes.items():
            watermark_us = watermarks_us.get(build, NEVER_US)
            keys: list[bytes] = []
            if build in shares:
                keys = shares[build].keys_to_fold(place, key_turn)
            if sweeping:
                keys = list(dict.fromkeys((*keys, *self._next_to_sweep(place, build))))
            if keys:
                folds.append(self.fold(place, build, keys, shape, watermark_us))
        return folds

    def fold(
        self, place: int, build: int, keys: Sequence[bytes], shape: Shape, watermark_us: int
    ) -> Folded:
        """Fold `keys` of a build in one shard, with the horizon that the watermark allows."""
        horizon_us = watermark_us if watermark_us == NEVER_US else watermark_us - shape.depth_us
        return fold(self.shards[place], build, shape, keys, horizon_us)

    def _next_to_sweep(self, place: int, build: int) -> list[bytes]:
        """The next keys of the slow round over all keys, whether or not events still come."""
        after = self._swept.get((place, build), b"")
        keys = self.shards[place].scan_keys(build, after, _SWEEP_KEYS)
        self._swept[place, build] = keys[-1] if len(keys) == _SWEEP_KEYS else b""
        return keys


@dataclass(frozen=True, slots=True)
class _Shares:
    """A build's merged tiles in order of writing, with the edges of each shard's share."""

    tiles: KeyedTiles
    edges: np.ndarray
    turns: np.ndarray

    @staticmethod
    def of(shape: Shape, parts: Sequence[KeyedTiles], shard_count: int) -> _Shares:
        keys, codes = number_keys(parts)
        hashes = hashes_of(keys.to_pylist())
        shards = shards_of(hashes, shard_count)
        order = order_of_writing(keys, shards)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        merged = merge_numbered(shape, parts, keys.take(pa.array(order)), rank[codes])
        turns = (hashes[order] >> np.uint64(32)) % np.uint64(FOLD_EVERY // _FOLD_TURNS)
        edges = np.searchsorted(shards[order], np.arange(shard_count + 1))
        return _Shares(merged, edges, turns)

    def size(self, place: int) -> int:
        return int(self.edges[place + 1] - self.edges[place])

    def part(self, place: int) -> KeyedTiles:
        return self.tiles.slice(int(self.edges[place]), int(self.edges[place + 1]))

    def keys_to_fold(self, place: int, turn: int) -> list[bytes]:
        """The shard's keys whose turn it is (-1: nobody's), and those with many new tiles."""
        begin, end = int(self.edges[place]), int(self.edges[place + 1])
        tiles = np.diff(self.tiles.bounds[begin : end + 1])
        chosen = (self.turns[begin:end].astype(np.int64) == turn) | (tiles >= FOLD_TILES)
        if not chosen.any():
            return []
        keys: list[bytes] = self.tiles.keys.take(np.flatnonzero(chosen) + begin).to_pylist()
        return keys


def partition_shard(ordinal: int, shard_count: int) -> int:
    """The shard that counts what has no key: by the hash of the partition's ordinal."""
    return shard_of(ordinal.to_bytes(4, "big"), shard_count)
