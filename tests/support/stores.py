"""A shard's state and its online rows for tests of the two, without an engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tegula.serving.tables import StoredRow
from tegula.serving.tables import instants_of as instants_by_key
from tegula.state.fold import Folded, fold, gather
from tegula.state.keys import shard_of
from tegula.state.mirror_merge import Committed, Offer
from tegula.state.online.rows import Mark
from tegula.state.packing import unpack
from tegula.state.rows import Applied, hour_and_place
from tegula.state.shard import Shard
from tegula.windows.finish import FeatureColumn, finish
from tegula.windows.shape import Shape
from tegula.windows.tiles import NEVER_US, KeyedTiles, bounds_of, concat_tiles, empty_tiles, group
from tests.support.ingesting import small_memory
from tests.support.shapes import lift_events

Tile = tuple[int, int, int]
"""Start, rung and rows of a tile."""

Row = tuple[bytes | None, bytes | None]
"""Head and body of a key."""


def open_shard(path: Path, incarnation: int = 1) -> Shard:
    """The shard in `path`, opened or made."""
    shard = Shard(0, path, small_memory(), incarnation)
    shard.renew(incarnation=incarnation, boot_id="boot")
    return shard


def plain(mark: Mark | None) -> Mark | None:
    """A mark without the session of the mirror that left it, which is random."""
    return None if mark is None else replace(mark, session=0, writes=0)


@dataclass
class Feeder:
    """Commits events of one build to a shard, and folds; keeps what a mirror is to be offered."""

    shard: Shard
    shape: Shape
    build: int = 1
    event_count: int = 0
    offers: list[Offer] = field(default_factory=list)

    def commit(self, events: Iterable[tuple[bytes, int, float]]) -> int:
        """One commit of events `(key, event time µs, value)`; returns its number."""
        many = list(events)
        keys = list(dict.fromkeys(key for key, _, _ in many))
        rows = [(keys.index(key), at_us, value) for key, at_us, value in many]
        keyed = lift_events(self.shape, keys, rows, first_offset=self.event_count)
        self.event_count += len(many)
        chunks = {self.build: (self.shape, keyed)} if many else {}
        steps = {(self.build, 0): Applied(self.event_count, NEVER_US, read=len(many))}
        number = self.shard.commit(chunks, steps)
        tiles = {self.build: keyed} if many else {}
        self.offers.append(Committed(number, tiles, {0: self.event_count}))
        return number

    def fold(self, keys: Sequence[bytes], horizon_us: int) -> Folded:
        """Fold keys up to a horizon."""
        folded = fold(self.shard, self.build, self.shape, keys, horizon_us)
        self.offers.append(folded)
        return folded

    def taken(self) -> list[Offer]:
        """The offers since the last call."""
        taken, self.offers = self.offers, []
        return taken

    def tiles(self, key: bytes) -> list[Tile]:
        """What the state holds of a key."""
        (stored,) = self.shard.read_keys(self.build, [key])
        return tiles_of(gather(self.shape, [key], [stored]).tiles)

    def values(self, key: bytes, at_us: int) -> list[FeatureColumn]:
        """All features of a key, finished from the state."""
        gathered = gather(self.shape, [key], self.shard.read_keys(self.build, [key]))
        instants = instants_of(self.shape, list(self.segments(key).values()))
        return finish(self.shape, gathered.tiles, at_us, gathered.horizon_us, instants=instants)

    def segments(self, key: bytes) -> dict[tuple[int, int], bytes]:
        """The segments of a key in the state, by hour and place."""
        rows = self.shard.segments.all_of(self.build, [key])
        return {hour_and_place(number): block for _, number, block in rows}


def tiles_of(keyed: KeyedTiles) -> list[Tile]:
    """Start, rung and rows of the tiles of the one key of `keyed`."""
    tiles = keyed.tiles
    starts, rungs, rows = tiles.start_us.tolist(), tiles.rung.tolist(), tiles.rows.tolist()
    return list(zip(starts, rungs, rows, strict=True))


def instants_of(shape: Shape, blocks: Sequence[bytes]) -> KeyedTiles:
    """The instants of one key's segments."""
    read = unpack(shape, blocks, stamped=False)
    keys = pa.array([b""], pa.large_binary())
    newest_us = np.array([NEVER_US])
    return KeyedTiles(keys, np.array([0, len(read.tiles)]), newest_us, read.tiles)


def segments_of(
    shards: Sequence[Shard], build: int, shape: Shape, keys: Sequence[bytes]
) -> KeyedTiles | None:
    """The instants of the segments of some keys in the state, by key; None if there are none."""
    rows: list[StoredRow] = []
    for key in keys:
        found = shards[shard_of(key, len(shards))].segments.all_of(build, [key])
        rows.append((None, None, {0: [block for _, _, block in found]}))
    return instants_by_key(shape, rows)


def tiles_of_row(shape: Shape, row: Row) -> list[Tile]:
    """The tiles of an online row, head and body merged."""
    blocks = [block for block in row if block is not None]
    if not blocks:
        return []
    read = unpack(shape, blocks, stamped=True)
    zeros = np.zeros(len(read.tiles), np.int64)
    key, tiles = group(shape, zeros, concat_tiles([empty_tiles(shape), read.tiles]))
    keys = pa.array([b""], pa.large_binary())
    return tiles_of(KeyedTiles(keys, bounds_of(key, 1), read.newest_us[:1], tiles))


def stamps_of_row(shape: Shape, row: Row) -> Mapping[str, int]:
    """What the head of an online row is stamped with."""
    assert row[0] is not None
    blocks = unpack(shape, [row[0]], stamped=True)
    return {
        "incarnation": int(blocks.stamps.incarnation[0]),
        "commit": int(blocks.stamps.commit[0]),
        "folded_through": int(blocks.stamps.folded_through[0]),
        "horizon_us": int(blocks.stamps.horizon_us[0]),
        "newest_us": int(blocks.newest_us[0]),
    }
