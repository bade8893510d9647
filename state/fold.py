"""Folding: all chunks of some keys into their heads, and what lies before the horizon into bodies.

A fold takes *all* chunks of each of its keys, merges them with head and body, moves the horizon on
and makes older tiles coarser, in one write. Instants go into segments (`segments.py`), and only as
part of their seconds into head and body. It is a commit of its shard (it has a number and an
outbox row) and never runs beside another. Many keys are folded at once, as columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from ..schemas.time import SECOND_US
from ..windows.algebra import Int64s
from ..windows.coarsen import coarsen, prune
from ..windows.ladder import INSTANT
from ..windows.segments import to_seconds
from ..windows.shape import Shape
from ..windows.tiles import (
    NEVER_US,
    KeyedTiles,
    Tiles,
    bounds_of,
    concat_tiles,
    empty_tiles,
    group,
)
from .bodies import BodyChanges, change_bodies
from .packing import HEAD, ONLINE_BODY, ONLINE_HEAD, Stamps, pack, unpack
from .rows import (
    BODY_SUFFIX,
    HEAD_SUFFIX,
    build_prefix,
    chunk_suffix,
    part_suffix,
    segment_suffix,
)
from .segments import Moved, SegmentChanges, change_segments
from .shard import Shard, StoredKey

HEAD_TILES_MAX: Final = 1024
"""A head with more tiles moves its own horizon on."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold left of each key: head and body as online rows; None where the key is gone.

    `segments` are those that it wrote, as (key, number, online row), or dropped (None).
    """

    commit: int
    build: int
    keys: Sequence[bytes]
    heads: Sequence[bytes | None]
    bodies: Sequence[bytes | None]
    segments: Sequence[tuple[bytes, int, bytes | None]] = ()


@dataclass(frozen=True, slots=True)
class Gathered:
    """All tiles of some keys, from wherever they lie, merged; `key` numbers each tile's key."""

    key: np.ndarray
    tiles: KeyedTiles
    horizon_us: np.ndarray


def gather(shape: Shape, keys: Sequence[bytes], stored: Sequence[StoredKey]) -> Gathered:
    """Everything that is known of each key as one table: body, head and unfolded chunks, merged.

    Keys without any row have no tiles.
    """
    parts, owners = [empty_tiles(shape)], [np.empty(0, dtype=np.int64)]
    newest_us = np.full(len(keys), NEVER_US)
    horizon_us = np.full(len(keys), NEVER_US)
    for name in ("body", "head"):
        have = [i for i, rows in enumerate(stored) if getattr(rows, name) is not None]
        if not have:
            continue
        blocks = unpack(shape, [getattr(stored[i], name) for i in have], stamped=True)
        owner = np.array(have, dtype=np.int64)
        parts.append(blocks.tiles)
        owners.append(np.repeat(owner, np.diff(blocks.bounds)))
        newest_us[owner] = np.maximum(newest_us[owner], blocks.newest_us)
        horizon_us[owner] = np.maximum(horizon_us[owner], blocks.stamps.horizon_us)
    chunks = [block for rows in stored for block in (*rows.parts.values(), *rows.chunks)]
    if chunks:
        blocks = unpack(shape, chunks, stamped=False)
        counts = np.array([len(rows.parts) + len(rows.chunks) for rows in stored], dtype=np.int64)
        owner = np.repeat(np.arange(len(keys)), counts)
        parts.append(blocks.tiles)
        owners.append(np.repeat(owner, np.diff(blocks.bounds)))
        np.maximum.at(newest_us, owner, blocks.newest_us)
    key, tiles = group(shape, np.concatenate(owners), concat_tiles(parts))
    encoded = pa.array(keys, type=pa.large_binary())
    keyed = KeyedTiles(encoded, bounds_of(key, len(keys)), newest_us, tiles)
    return Gathered(key, keyed, horizon_us)


def settled(shape: Shape, gathered: Gathered, horizons_us: Int64s) -> tuple[Int64s, Tiles]:
    """The tiles that are left of each key at its horizon, as coarse as they may be by then.

    `gathered` is `in_seconds`; `horizons_us` int64 (k,) holds one a key, none before the one that
    it has had. Returns the number of each tile's key, and the tiles, by key, start and rung.
    """
    key = gathered.key
    tiles, keep = coarsen(shape, gathered.tiles.tiles, horizons_us[key])
    if not keep.all():
        key, tiles = key[keep], tiles.take(np.flatnonzero(keep))
    key, tiles = group(shape, key, tiles)
    return key, prune(shape, tiles, horizons_us[key])


def fold(
    shard: Shard, build: int, shape: Shape, keys: Sequence[bytes], horizon_us: int | Int64s
) -> Folded:
    """Fold all chunks of `keys` and move their horizons to `horizon_us` (never back).

    `horizon_us`, one for all or one a key, is the stream's watermark less the shape's depth. What
    retention no longer reaches is dropped; a key of which nothing is left loses its rows.
    """
    stored = shard.read_keys(build, keys)
    gathered = gather(shape, keys, stored)
    whole = in_seconds(shape, gathered)
    asked_us = np.broadcast_to(np.asarray(horizon_us, dtype=np.int64), len(keys))
    horizons = _horizons(shape, whole, asked_us)
    key, tiles = settled(shape, whole, horizons)
    before = tiles.start_us < horizons[key]
    number = shard.commit_number + 1
    numbers = np.full(len(keys), number, dtype=np.uint64)
    incarnation = np.full(len(keys), shard.incarnation, dtype=np.uint64)
    stamps = Stamps(incarnation, numbers, numbers, horizons)
    present = np.diff(bounds_of(key, len(keys))) > 0
    sides = [
        KeyedTiles(
            gathered.tiles.keys,
            bounds_of(key[chosen], len(keys)),
            gathered.tiles.newest_us,
            tiles.take(chosen),
        )
        for chosen in (np.flatnonzero(~before), np.flatnonzero(before))
    ]
    heads = pack(shape, sides[0], HEAD, stamps)
    bodies = change_bodies(shape, sides[1], stamps, [rows.parts for rows in stored])
    changes = SegmentChanges()
    if shape.segment_reach_us is not None:
        moved = Moved(build, keys, gathered.horizon_us, horizons, present)
        changes = _segments(shard, shape, moved, gathered)
    _write(shard, build, keys, stored, present, heads, bodies, changes)
    segments: list[tuple[bytes, int, bytes | None]] = [
        (keys[one], at, block)
        for one, at, block in zip(changes.keys, changes.numbers, changes.online, strict=True)
    ]
    segments.extend((keys[one], at, None) for one, at in changes.dropped)
    online: list[list[bytes | None]] = [
        [b if p else None for b, p in zip(packed, present.tolist(), strict=True)]
        for packed in (
            pack(shape, sides[0], ONLINE_HEAD, stamps),
            pack(shape, sides[1], ONLINE_BODY, stamps),
        )
    ]
    return Folded(number, build, keys, online[0], online[1], segments)


def in_seconds(shape: Shape, gathered: Gathered) -> Gathered:
    """The same, with instants merged into their seconds where segments keep them."""
    if shape.segment_reach_us is None:
        return gathered
    keyed = gathered.tiles
    tiles, _ = to_seconds(keyed.tiles)
    key, tiles = group(shape, gathered.key, tiles)
    coarse = KeyedTiles(keyed.keys, bounds_of(key, len(keyed)), keyed.newest_us, tiles)
    return Gathered(key, coarse, gathered.horizon_us)


def _segments(shard: Shard, shape: Shape, moved: Moved, gathered: Gathered) -> SegmentChanges:
    """What becomes of the instants among what was gathered, and of older segments."""
    tiles = gathered.tiles.tiles
    instants = np.flatnonzero(tiles.rung == INSTANT)
    key = gathered.key[instants]
    return change_segments(shard.segments, shape, moved, key, tiles.take(instants))


def _horizons(shape: Shape, gathered: Gathered, asked_us: Int64s) -> Int64s:
    """Each key's new horizon: never back, on the grid, and further on where a head is too long."""
    aligned = np.where(asked_us > NEVER_US, asked_us - asked_us % SECOND_US, NEVER_US)
    horizons: Int64s = np.maximum(gathered.horizon_us, aligned)
    tiles = gathered.tiles.tiles
    in_head = tiles.start_us >= horizons[gathered.key]
    counts = np.bincount(gathered.key[in_head], minlength=len(horizons))
    latest_us = asked_us + shape.depth_us
    for owner in np.flatnonzero(counts > HEAD_TILES_MAX).tolist():
        end = int(gathered.tiles.bounds[owner + 1])
        moved = int(tiles.start_us[end - HEAD_TILES_MAX])
        moved = min(moved, int(latest_us[owner]))
        horizons[owner] = max(int(horizons[owner]), moved - moved % SECOND_US)
    return horizons


def _write(
    shard: Shard,
    build: int,
    keys: Sequence[bytes],
    stored: Sequence[StoredKey],
    present: np.ndarray,
    heads: Sequence[bytes],
    bodies: BodyChanges,
    changes: SegmentChanges,
) -> None:
    prefix = build_prefix(build)
    puts: list[tuple[bytes, bytes]] = []
    deletes: list[bytes] = []
    here = present.tolist()
    for key, rows, is_here, head, body in zip(keys, stored, here, heads, bodies.rows, strict=True):
        base = prefix + key
        deletes.extend(base + chunk_suffix(number) for number in rows.chunk_commits)
        if is_here:
            puts.extend(((base + HEAD_SUFFIX, head), (base + BODY_SUFFIX, body)))
        else:
            deletes.extend((base + HEAD_SUFFIX, base + BODY_SUFFIX))
    for one, part, block in bodies.parts:
        place = prefix + keys[one] + part_suffix(part)
        if block is None:
            deletes.append(place)
        else:
            puts.append((place, block))
    segments = zip(changes.keys, changes.numbers, changes.stored, strict=True)
    puts.extend((prefix + keys[one] + segment_suffix(at), block) for one, at, block in segments)
    deletes.extend(prefix + keys[one] + segment_suffix(at) for one, at in changes.dropped)
    shard.write_folded(build, puts, deletes, keys, changes.by_key(len(keys)))
