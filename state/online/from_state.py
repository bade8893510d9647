"""Blocks of the state as blocks of the online store: the same tiles, packed for reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from ...windows.shape import Shape
from ...windows.tiles import KeyedTiles
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


def online_bodies(shape: Shape, bodies: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Bodies of the state as online rows, by key."""
    blocks = unpack(shape, list(bodies.values()), stamped=True)
    keys = pa.array(list(bodies), type=pa.large_binary())
    keyed = KeyedTiles(keys, blocks.bounds, blocks.newest_us, blocks.tiles)
    packed = pack(shape, keyed, ONLINE_BODY, blocks.stamps)
    return list(zip(bodies, packed, strict=True))


def folded_through(shape: Shape, rows: StoredKey) -> int:
    """The commit up to which a key's chunks are in its head; 0 if it was never folded."""
    if rows.head is None:
        return 0
    return int(unpack(shape, [rows.head], stamped=True).stamps.folded_through[0])
