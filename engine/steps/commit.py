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

from ...state.fold import Folded, fold
from ...state.keys import hashes_of, shards_of
from ...state.locality import order_of_writing
from ...state.mirror_merge import Committed, Offer
from ...state.rows import Applied
from ...state.shard import Shard
from ...windows.shape import Shape
from ...windows.tiles import NEVER_US, KeyedTiles, merge_numbered, number_keys
from .parcel import Parcel

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
    """What one shard did in a commit; `offers` is for its mirror, in order.

    `shard` is its place among the shards of this worker.
    """

    shard: int
    offers: tuple[Offer, ...]


class Committer:
    """Owns some shards: gathers what is lifted for them and commits it.

    `shapes` holds the shape of each build that is ingested; it may change between commits.
    `shard_count` is that of the whole state, of which `shards` may be a part.
    """

    def __init__(
        self, shards: Sequence[Shard], shapes: Mapping[int, Shape], shard_count: int
    ) -> None:
        self.shards = shards
        self.shapes = shapes
        self._shard_count = shard_count
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

    def pending_offset(self, build: int, ordinal: int) -> int:
        """The first offset of a partition that no pending batch of a build holds; 0 if none is."""
        waiting = self._pending.progress.get((build, ordinal))
        return 0 if waiting is None else waiting.next_offset

    def add(self, parcel: Parcel) -> None:
        """Gather what a batch adds."""
        pending = self._pending
        for build, share in parcel.shares.items():
            if len(share.tiles):
                pending.parts.setdefault(build, []).append(share.tiles)
                pending.size_bytes += share.tiles.size_bytes
            progress = pending.progress.get((build, parcel.ordinal))
            if progress is None:
                pending.progress[build, parcel.ordinal] = _Progress(
                    parcel.next_offset, parcel.running_max_us, share.counts.copy()
                )
            else:
                progress.next_offset = parcel.next_offset
                progress.running_max_us = parcel.running_max_us
                progress.counts += share.counts
            pending.row_count += parcel.read_count

    def commit(self, watermarks_us: Mapping[int, int]) -> list[ShardCommit]:
        """Commit what has gathered in every shard; folds whose turn it is follow.

        `watermarks_us` holds each build's stream watermark (`NEVER_US` while there is none).
        """
        pending, self._pending = self._pending, Pending()
        self._rounds += 1
        shares = {
            build: _Shares.of(self.shapes[build], parts, self._shard_count)
            for build, parts in pending.parts.items()
            if build in self.shapes
        }
        done = []
        for place, shard in enumerate(self.shards):
            own = shard.number
            chunks = {b: share.part(own) for b, share in shares.items() if share.size(own)}
            steps = {
                at: Applied(p.next_offset, p.running_max_us, *p.counts[own].tolist())
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
        own = self.shards[place].number
        turn, out_of_turn = divmod(self._rounds + own, _FOLD_TURNS)
        key_turn = -1 if out_of_turn else turn % (FOLD_EVERY // _FOLD_TURNS)
        sweeping = not out_of_turn and turn % (_SWEEP_EVERY // _FOLD_TURNS) == 0
        folds = []
        for build, shape in self.shapes.items():
            watermark_us = watermarks_us.get(build, NEVER_US)
            keys: list[bytes] = []
            if build in shares:
                keys = shares[build].keys_to_fold(own, key_turn)
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
