"""Blocks of the state as blocks of the online store: the same tiles, packed for reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...windows.shape import Shape
from ...windows.tiles import KeyedTiles, bounds_of, concat_tiles, group
from ..packing import ONLINE_BODY, ONLINE_SEGMENT, pack, unpack
from ..shard import StoredKey


def online_segments(
    shape: Shape, segments: Sequence[tuple[bytes, int, bytes | None]]
) -> list[tuple[bytes, int, bytes | None]]:
    """Segments of the state as online rows; those that are gone (None) as they are."""
    there = [block for _, _, block in segments if block is not None]
    blocks = unpack(shape, there, stamped=False)
    names = pa.array([b""] * len(there), type=pa.large_binary())
    keyed = KeyedTiles(names, blocks.bounds, blocks.newest_us, blocks.tiles)
    packed = iter(pack(shape, keyed, ONLINE_SEGMENT))
    return [
        (key, number, None if block is None else next(packed)) for key, number, block in segments
    ]


def online_bodies(
    shape: Shape, keys: Sequence[bytes], stored: Sequence[StoredKey]
) -> list[tuple[bytes, bytes]]:
    """Bodies of the state as online rows, by key, for those keys that have one; never split."""
    have = [(key, rows) for key, rows in zip(keys, stored, strict=True) if rows.body is not None]
    blocks = unpack(shape, [rows.body or b"" for _, rows in have], stamped=True)
    owner, tiles = np.repeat(np.arange(len(have)), np.diff(blocks.bounds)), blocks.tiles
    split = [(i, part) for i, (_, rows) in enumerate(have) for part in rows.parts.values()]
    if split:
        parts = unpack(shape, [part for _, part in split], stamped=False)
        of_parts = np.repeat(np.array([i for i, _ in split]), np.diff(parts.bounds))
        together = concat_tiles([tiles, parts.tiles])
        owner, tiles = group(shape, np.concatenate((owner, of_parts)), together)
    names = pa.array([key for key, _ in have], type=pa.large_binary())
    keyed = KeyedTiles(names, bounds_of(owner, len(have)), blocks.newest_us, tiles)
    packed = pack(shape, keyed, ONLINE_BODY, blocks.stamps)
    return [(key, block) for (key, _), block in zip(have, packed, strict=True)]


def folded_through(shape: Shape, rows: StoredKey) -> int:
    """The commit up to which a key's chunks are in its head; 0 if it was never folded."""
    if rows.head is None:
        return 0
    return int(unpack(shape, [rows.head], stamped=True).stamps.folded_through[0])
