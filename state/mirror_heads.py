"""Adding chunks to online heads: the mirror's merge, columnar, without a store.

A head says which commit it holds. Of the chunks of a key only those of later commits are added to
it, so adding a chunk twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

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
from .packing import ONLINE_HEAD, Stamps, pack, unpack


@dataclass(frozen=True, slots=True)
class Base:
    """Heads before the chunks: their tiles with owners, and per key what their stamps say."""

    owner: np.ndarray
    tiles: Tiles
    newest_us: np.ndarray
    commit: np.ndarray
    folded_through: np.ndarray
    horizon_us: np.ndarray

    @staticmethod
    def of(shape: Shape, heads: Sequence[bytes | None]) -> Base:
        """What these heads say; a key without one has no tiles, and no commit."""
        count = len(heads)
        newest_us, horizon_us = np.full(count, NEVER_US), np.full(count, NEVER_US)
        commit, folded = np.zeros(count, np.int64), np.zeros(count, np.uint64)
        have = np.array([i for i, head in enumerate(heads) if head is not None], dtype=np.int64)
        if not len(have):
            nothing = np.empty(0, np.int64)
            return Base(nothing, empty_tiles(shape), newest_us, commit, folded, horizon_us)
        blocks = unpack(shape, [head for head in heads if head is not None], stamped=True)
        newest_us[have] = blocks.newest_us
        commit[have] = blocks.stamps.commit.astype(np.int64)
        folded[have] = blocks.stamps.folded_through
        horizon_us[have] = blocks.stamps.horizon_us
        owner = np.repeat(have, np.diff(blocks.bounds))
        return Base(owner, blocks.tiles, newest_us, commit, folded, horizon_us)


def add_chunks(
    shape: Shape,
    keys: pa.LargeBinaryArray,
    codes: np.ndarray,
    base: Base,
    chunks: Sequence[tuple[int, KeyedTiles]],
    commits: np.ndarray,
    incarnations: np.ndarray,
) -> list[bytes | None]:
    """The new head of each key; None for a key that a fold removed and no later chunk touched.

    `codes` int64 numbers the keys of all chunks, one chunk after the other; `commits` int64 (keys,)
    and `incarnations` uint64 (keys,) are what the new heads hold.
    """
    owners, parts = [base.owner], [base.tiles]
    newest_us, at = base.newest_us, 0
    touched = np.zeros(len(keys), dtype=bool)
    touched[base.owner] = True
    for number, keyed in chunks:
        mine = codes[at : at + len(keyed)]
        at += len(keyed)
        news = base.commit[mine] < number
        if not news.all():
            keyed, mine = keyed.take(np.flatnonzero(news)), mine[news]
        owners.append(mine[keyed.key_of_tile])
        parts.append(keyed.tiles)
        newest_us[mine] = np.maximum(newest_us[mine], keyed.newest_us)
        touched[mine] = True
    key, tiles = group(shape, np.concatenate(owners), concat_tiles(parts))
    stamps = Stamps(
        incarnations,
        # A row that was read from the state while commits went on stays ahead of this one.
        np.maximum(base.commit, commits).astype(np.uint64),
        base.folded_through,
        base.horizon_us,
    )
    keyed = KeyedTiles(keys, bounds_of(key, len(keys)), newest_us, tiles)
    packed: list[bytes | None] = [*pack(shape, keyed, ONLINE_HEAD, stamps)]
    kept = touched | (base.horizon_us > NEVER_US)
    for gone in np.flatnonzero(~kept).tolist():
        packed[gone] = None
    return packed
