"""Bodies: a key's tiles before its horizon, in one row, or a row for each rung where that is large.

Every fold makes a body anew, and nearly always only its finest rung has changed. So a body of more
than `SPLIT_BYTES` is split: a *part* for each rung, and a *directory* in the body's place, with the
stamp and a list of the parts. A part carries nothing but tiles, so that one whose tiles are as they
were is the same bytes, and is not written again. A body that has shrunk to half becomes one row
again; in between it stays what it is, so that none goes back and forth.

What a key's body is never depends on which of the two it is: whoever reads it reads all of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..schemas.errors import StateCorrupt
from ..windows.algebra import Bools, Runs
from ..windows.shape import Shape
from ..windows.tiles import NEVER_US, KeyedTiles
from .packing import (
    BODY,
    DIRECTORY,
    KIND_AT,
    PART,
    STAMPED_BYTES,
    Stamps,
    bytes_of_tiles,
    pack,
    pack_directories,
    tile_count,
)

SPLIT_BYTES: int = 64 << 10
"""Tiles of more bytes than this are split by rung; of half as many, they are one row again."""

_ENTRY = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class BodyChanges:
    """The rows of some keys' bodies after a fold.

    `rows` holds for each key its body, or the directory of its parts; `parts` the parts that
    change, as (number of the key, part, block), the block None for one that goes.
    """

    rows: Sequence[bytes]
    parts: Sequence[tuple[int, int, bytes | None]] = ()


def change_bodies(
    shape: Shape, keyed: KeyedTiles, stamps: Stamps, before: Sequence[Mapping[int, bytes]]
) -> BodyChanges:
    """The rows of bodies with these tiles; `before` holds the parts of each key as they are stored.

    A key without tiles is never split.
    """
    was_split = np.array([bool(parts) for parts in before], dtype=bool)
    bounds = np.where(was_split, SPLIT_BYTES // 2, SPLIT_BYTES)
    is_split = bytes_of_tiles(shape, keyed) > bounds
    if not (is_split | was_split).any():
        return BodyChanges(pack(shape, keyed, BODY, stamps))
    whole, split = np.flatnonzero(~is_split), np.flatnonzero(is_split)
    parts: list[dict[int, bytes]] = [{} for _ in before]
    for key, part, block in _parts(shape, keyed, is_split):
        parts[key][part] = block
    rows = [b""] * len(keyed)
    packed = pack(shape, keyed.take(whole), BODY, stamps.take(whole))
    entries = [[(part, tile_count(parts[key][part])) for part in parts[key]] for key in split]
    lists = [b"".join(_ENTRY.pack(*entry) for entry in of_key) for of_key in entries]
    directories = pack_directories(shape, keyed.newest_us[split], stamps.take(split), lists)
    for chosen, blocks in ((whole, packed), (split, directories)):
        for key, row in zip(chosen.tolist(), blocks, strict=True):
            rows[key] = row
    changed: list[tuple[int, int, bytes | None]] = []
    for key, (old, new) in enumerate(zip(before, parts, strict=True)):
        changed.extend((key, part, new[part]) for part in new if old.get(part) != new[part])
        changed.extend((key, part, None) for part in old.keys() - new.keys())
    return BodyChanges(rows, changed)


def _parts(shape: Shape, keyed: KeyedTiles, is_split: Bools) -> Iterator[tuple[int, int, bytes]]:
    """The parts of keys that are split: number of the key, part, block; by key, then by part."""
    owner, rung = keyed.key_of_tile, keyed.tiles.rung
    order = np.flatnonzero(is_split[owner])
    # Stable: in a part the tiles ascend in time, as in the body.
    order = order[np.lexsort((rung[order], owner[order]))]
    runs = Runs.of_changes(owner[order], rung[order])
    names = pa.array([b""] * runs.count, type=pa.large_binary())
    edges = np.append(runs.starts, runs.size)
    by_rung = KeyedTiles(names, edges, np.full(runs.count, NEVER_US), keyed.tiles.take(order))
    first = order[runs.starts]
    keys, parts = owner[first].tolist(), (1 + rung[first].astype(np.int64)).tolist()
    yield from zip(keys, parts, pack(shape, by_rung, PART), strict=True)


def is_directory(body: bytes) -> bool:
    """Whether a body's row is the directory of its parts."""
    return len(body) > KIND_AT and body[KIND_AT] == DIRECTORY


def parts_in(directory: bytes) -> list[int]:
    """The parts that a directory lists: 1 + the rung of each one's tiles."""
    return [part for part, _ in _ENTRY.iter_unpack(directory[STAMPED_BYTES:])]


def check_parts(directory: bytes, parts: Mapping[int, bytes | None]) -> dict[int, bytes]:
    """The parts that were found for a directory; raises `StateCorrupt` if they are not those."""
    found: dict[int, bytes] = {}
    for part, tiles in _ENTRY.iter_unpack(directory[STAMPED_BYTES:]):
        block = parts.get(part)
        if block is None or tile_count(block) != tiles:
            raise StateCorrupt(where="stored body", detail=f"part {part} is not what it was")
        found[part] = block
    return found
