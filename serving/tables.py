"""Stored rows of many keys as columns: what `windows.finish` reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from ..state.online.rows import Segments
from ..state.packing import unpack
from ..windows.shape import Shape
from ..windows.tiles import NEVER_US, KeyedTiles, Tiles, bounds_of, concat_tiles, empty_tiles
from .single_cuts import NO_SEGMENTS

StoredRow = tuple[bytes | None, bytes | None, Segments]
"""Head and body of a key, and its segments of the hours that were asked for."""

NO_ROW: Final[StoredRow] = (None, None, NO_SEGMENTS)


def table_of(shape: Shape, rows: Sequence[StoredRow]) -> tuple[KeyedTiles, np.ndarray]:
    """All rows as one table of tiles by key, and the keys' horizons."""
    newest_us, horizon_us = np.full(len(rows), NEVER_US), np.full(len(rows), NEVER_US)
    owners, parts = [np.empty(0, dtype=np.int64)], [empty_tiles(shape)]
    for side in (1, 0):  # bodies hold the older tiles
        have = np.array([i for i, row in enumerate(rows) if row[side] is not None], dtype=np.int64)
        if not len(have):
            continue
        blocks = unpack(shape, [rows[i][side] or b"" for i in have.tolist()], stamped=True)
        owners.append(np.repeat(have, np.diff(blocks.bounds)))
        parts.append(blocks.tiles)
        newest_us[have] = np.maximum(newest_us[have], blocks.newest_us)
        horizon_us[have] = np.maximum(horizon_us[have], blocks.stamps.horizon_us)
    return _by_key(len(rows), np.concatenate(owners), parts, newest_us), horizon_us


def instants_of(shape: Shape, rows: Sequence[StoredRow]) -> KeyedTiles | None:
    """The instants of all segments that were read, by key; None if there are none."""
    found = [
        (i, block) for i, row in enumerate(rows) for blocks in row[2].values() for block in blocks
    ]
    if not found:
        return None
    blocks = unpack(shape, [block for _, block in found], stamped=False)
    owner = np.repeat(np.array([i for i, _ in found]), np.diff(blocks.bounds))
    return _by_key(len(rows), owner, [blocks.tiles], np.full(len(rows), NEVER_US))


def _by_key(
    key_count: int, owner: np.ndarray, parts: Sequence[Tiles], newest_us: np.ndarray
) -> KeyedTiles:
    """Tiles in any order, brought together by key."""
    order = np.argsort(owner, kind="stable")
    keys = pa.array([b""] * key_count, type=pa.large_binary())
    return KeyedTiles(
        keys, bounds_of(owner[order], key_count), newest_us, concat_tiles(parts).take(order)
    )


def newest_before(keyed: KeyedTiles, instants: KeyedTiles | None, at_us: int) -> list[int | None]:
    """The newest event time before `at_us` of each key; a tile's start where only that is known."""
    newest_us = np.where(keyed.newest_us < at_us, keyed.newest_us, NEVER_US)
    later = np.flatnonzero(keyed.newest_us >= at_us)
    for table in (keyed, instants):
        if len(later) and table is not None:
            key, starts = table.key_of_tile, table.tiles.start_us
            before = (starts < at_us) & np.isin(key, later)
            np.maximum.at(newest_us, key[before], starts[before])
    return [None if at == NEVER_US else at for at in newest_us.tolist()]
