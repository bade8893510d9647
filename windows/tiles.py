"""Tiles as columns: many tiles of many keys at once.

`Tiles` is a table with one row a tile; `KeyedTiles` groups such a table by entity key. Merging is
one operation, `group`: sort by (key, start, rung), then let each slot's monoid reduce the runs of
equal tiles. Ingest, commit, fold and mirror all come down to it, so a number cannot depend on which
of them brought its parts together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..schemas.time import SECOND_US
from .algebra import Int64s, Runs, Values
from .ladder import EVER, WIDTH_US
from .shape import Shape

NEVER_US = -(2**63)
"""Newest event time of a key that has none, and the horizon of a key that was never folded."""

_RUNG_BITS = 3
"""Of all rungs but civil days."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """n tiles of one build as columns of length n.

    `start_us` int64, `rung` uint8, `rows` int64 (events folded, whatever their inputs), then one
    array a field of the build's shape. Never mutated.
    """

    start_us: np.ndarray
    rung: np.ndarray
    rows: np.ndarray
    columns: tuple[Values, ...]

    def __len__(self) -> int:
        return len(self.start_us)

    def take(self, indices: np.ndarray) -> Tiles:
        """The tiles at `indices` (int64), in that order."""
        return Tiles(
            self.start_us[indices],
            self.rung[indices],
            self.rows[indices],
            tuple(take_column(column, indices) for column in self.columns),
        )

    @property
    def end_us(self) -> Int64s:
        """End of each tile; of the *ever* tile its start (it cuts nothing)."""
        ends: Int64s = self.start_us + WIDTH_US[self.rung]
        return ends


@dataclass(frozen=True, slots=True)
class KeyedTiles:
    """Tiles grouped by entity key.

    `keys` are k distinct encoded keys; the tiles of key i are `[bounds[i], bounds[i + 1])`, sorted
    by (start, rung) without repetition; `newest_us[i]` is the newest event time folded into the key
    (`NEVER_US` if unknown).
    """

    keys: pa.LargeBinaryArray
    bounds: np.ndarray
    newest_us: np.ndarray
    tiles: Tiles

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def size_bytes(self) -> int:
        """What holding the keys and tiles takes: the bytes of their columns."""
        of = self.tiles
        columns = (of.start_us, of.rung, of.rows, *of.columns, self.bounds, self.newest_us)
        return int(self.keys.nbytes) + sum(int(column.nbytes) for column in columns)

    @property
    def key_of_tile(self) -> np.ndarray:
        """For each tile, the number of its key (int64)."""
        return np.repeat(np.arange(len(self.keys)), np.diff(self.bounds))

    def take(self, indices: np.ndarray) -> KeyedTiles:
        """The keys at `indices` (int64) with their tiles, in that order."""
        lengths = np.diff(self.bounds)[indices]
        bounds = np.concatenate(([0], np.cumsum(lengths)))
        tiles = np.repeat(self.bounds[indices] - bounds[:-1], lengths) + np.arange(bounds[-1])
        return KeyedTiles(
            self.keys.take(pa.array(indices)),
            bounds,
            self.newest_us[indices],
            self.tiles.take(tiles),
        )

    def slice(self, begin: int, end: int) -> KeyedTiles:
        """Keys `[begin, end)` with their tiles, without copying."""
        first, last = int(self.bounds[begin]), int(self.bounds[end])
        tiles = Tiles(
            self.tiles.start_us[first:last],
            self.tiles.rung[first:last],
            self.tiles.rows[first:last],
            tuple(column[first:last] for column in self.tiles.columns),
        )
        return KeyedTiles(
            self.keys[begin:end],
            self.bounds[begin : end + 1] - first,
            self.newest_us[begin:end],
            tiles,
        )


def take_column(column: Values, indices: np.ndarray) -> Values:
    """The values of a state column at `indices`."""
    if isinstance(column, np.ndarray):
        taken: Values = column[indices]
        return taken
    return column.take(pa.array(indices))


def empty_tiles(shape: Shape) -> Tiles:
    """No tiles of the shape."""
    columns = tuple(
        pa.array([], type=pa.large_binary()) if f.dtype == "bytes" else np.empty(0, dtype=f.dtype)
        for f in shape.fields
    )
    return Tiles(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.int64), columns)


def concat_tiles(parts: Sequence[Tiles]) -> Tiles:
    """One table of all parts' tiles, in order; `parts` is not empty."""
    if len(parts) == 1:
        return parts[0]
    return Tiles(
        np.concatenate([part.start_us for part in parts]),
        np.concatenate([part.rung for part in parts]),
        np.concatenate([part.rows for part in parts]),
        tuple(_concat_column(columns) for columns in zip(*(p.columns for p in parts), strict=True)),
    )


def _concat_column(columns: Sequence[Values]) -> Values:
    if isinstance(columns[0], np.ndarray):
        return np.concatenate(columns)
    return pa.concat_arrays(columns)


def sort_order(key: np.ndarray, start_us: np.ndarray, rung: np.ndarray) -> np.ndarray:
    """Indices that sort tiles by (key, start, rung). O(n log n).

    Packs the three into one integer where they fit (they nearly always do), because sorting one
    int64 is an order of magnitude faster than a lexicographic sort.
    """
    if len(key) < 2:
        return np.arange(len(key))
    bounded = rung != EVER
    finite = start_us if bounded.all() else start_us[bounded]
    if not len(finite):
        return np.argsort(key, kind="stable")
    oldest, newest = int(finite.min()), int(finite.max())
    step_us = SECOND_US if not (finite % SECOND_US).any() else 1
    steps = (newest - oldest) // step_us + 2
    rung_bits = _RUNG_BITS if rung.max() < 1 << _RUNG_BITS else 8
    time_bits = steps.bit_length() + rung_bits
    if int(key.max()).bit_length() + time_bits > 63:
        return np.lexsort((rung, start_us, key))
    step = np.where(bounded, (start_us - oldest) // step_us + 1, 0)
    return np.argsort((key << time_bits) | (step << rung_bits) | rung)


def group(shape: Shape, key: np.ndarray, tiles: Tiles) -> tuple[np.ndarray, Tiles]:
    """Merge tiles of the same (key, start, rung); returns the keys' numbers and the tiles, sorted.

    `key` int64 (n,) numbers the key of each tile, in any order. The result does not depend on the
    order of the input; tiles that are as they are to be come back uncopied.
    """
    order = sort_order(key, tiles.start_us, tiles.rung)
    key = key[order]
    if len(key) < 2:
        return key, tiles.take(order)
    start_us, rung = tiles.start_us[order], tiles.rung[order]
    new = np.empty(len(key), dtype=bool)
    new[0] = True
    new[1:] = (key[1:] != key[:-1]) | (start_us[1:] != start_us[:-1]) | (rung[1:] != rung[:-1])
    if new.all():
        return key, tiles if (order[1:] > order[:-1]).all() else tiles.take(order)
    runs = Runs(np.flatnonzero(new), len(key))
    if all(isinstance(column, np.ndarray) for column in tiles.columns):
        return key[runs.starts], reduce_tiles(shape, tiles.take(order), runs)
    return key[runs.starts], _reduce_some(shape, tiles, order, runs)


def _reduce_some(shape: Shape, tiles: Tiles, order: np.ndarray, runs: Runs) -> Tiles:
    """As `reduce_tiles` of `tiles` in this order, but what is equal to no other is only copied.

    A state of bytes costs a hundred times more to merge than to copy, and of a hot key nearly all
    tiles are as they were.
    """
    lengths = runs.lengths
    several = lengths > 1
    merged = reduce_tiles(
        shape,
        tiles.take(order[np.repeat(several, lengths)]),
        Runs.of_lengths(lengths[several]),
    )
    place = order[runs.starts]
    place[several] = len(tiles) + np.arange(len(merged))
    return concat_tiles([tiles, merged]).take(place)


def reduce_tiles(shape: Shape, tiles: Tiles, runs: Runs) -> Tiles:
    """One tile for each run of `tiles`; start and rung are those of the run's first."""
    columns: list[Values] = []
    for slot, span in zip(shape.slots, shape.field_ranges, strict=True):
        columns.extend(slot.monoid.reduce(tiles.columns[span], runs))
    return Tiles(
        tiles.start_us[runs.starts],
        tiles.rung[runs.starts],
        np.add.reduceat(tiles.rows, runs.starts),
        tuple(columns),
    )


def bounds_of(key: np.ndarray, key_count: int) -> np.ndarray:
    """Where each key's tiles begin and end, for `key` ascending: int64 (key_count + 1,)."""
    bounds = np.zeros(key_count + 1, dtype=np.int64)
    np.cumsum(np.bincount(key, minlength=key_count), out=bounds[1:])
    return bounds


def merge_keyed(shape: Shape, parts: Sequence[KeyedTiles]) -> KeyedTiles:
    """All tiles of all parts by key; equal tiles merged; `parts` is not empty."""
    if len(parts) == 1:
        return parts[0]
    return merge_numbered(shape, parts, *number_keys(parts))


def number_keys(parts: Sequence[KeyedTiles]) -> tuple[pa.LargeBinaryArray, Int64s]:
    """The distinct keys of all parts, and the number of each part's keys among them.

    They stand in the order in which they first occur; the numbers of one part follow those of the
    part before. `parts` is not empty.
    """
    encoded = pa.concat_arrays([part.keys for part in parts]).dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)


def merge_numbered(
    shape: Shape, parts: Sequence[KeyedTiles], keys: pa.LargeBinaryArray, codes: Int64s
) -> KeyedTiles:
    """All tiles of all parts by key, as `merge_keyed`, for keys that are numbered already.

    `codes` is as `number_keys` gives them, or any other numbering of the same `keys`, which decides
    the order in which they stand.
    """
    lengths = np.concatenate([np.diff(part.bounds) for part in parts])
    key, tiles = group(
        shape, np.repeat(codes, lengths), concat_tiles([part.tiles for part in parts])
    )
    newest_us = np.full(len(keys), NEVER_US)
    np.maximum.at(newest_us, codes, np.concatenate([part.newest_us for part in parts]))
    return KeyedTiles(keys, bounds_of(key, len(keys)), newest_us, tiles)
