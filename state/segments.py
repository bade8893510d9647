"""Segments: the instants behind a key's coarse tiles, in rows of their own, an hour each.

A fold makes an instant part of a second (later a minute, an hour) and appends the instant itself to
the segment of its hour, as long as some edge may still cut that hour (`windows.segments`). A row
takes `ROW_INSTANTS`; the next of the same hour is begun only once it is full, so that a reader who
meets one that is not full has all of them. Appending sorts: late instants lie among the others.
Nothing else ever changes a row, and a fold drops it when no edge reaches its hour any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from ..schemas.time import HOUR_US
from ..windows.algebra import Int64s
from ..windows.segments import first_kept_hour
from ..windows.shape import Shape
from ..windows.tiles import KeyedTiles, Tiles, bounds_of, concat_tiles, group
from .packing import ONLINE_SEGMENT, SEGMENT, pack, tile_count, unpack
from .rows import segment_number
from .segment_rows import SegmentRows

ROW_INSTANTS: Final = 4096
"""Instants of a full row; fixed, because readers stop at the first row that has fewer."""

_END: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class SegmentChanges:
    """What a fold does to segments; each names its key by number.

    `stored` and `online` are the blocks of the rows written, in the two forms.
    """

    keys: Sequence[int] = ()
    numbers: Sequence[int] = ()
    stored: Sequence[bytes] = ()
    online: Sequence[bytes] = ()
    dropped: Sequence[tuple[int, int]] = ()

    def by_key(self, key_count: int) -> Sequence[Sequence[int]]:
        """For each key the numbers of its rows that change; empty if none do at all."""
        if not self.numbers and not self.dropped:
            return ()
        changed: list[list[int]] = [[] for _ in range(key_count)]
        for key, number in (*zip(self.keys, self.numbers, strict=True), *self.dropped):
            changed[key].append(number)
        return changed


@dataclass(frozen=True, slots=True)
class Moved:
    """Which keys a fold moves on: their old and new horizons, and whether anything is left."""

    build: int
    keys: Sequence[bytes]
    before_us: Int64s
    after_us: Int64s
    present: np.ndarray


def change_segments(
    rows: SegmentRows, shape: Shape, moved: Moved, key: Int64s, instants: Tiles
) -> SegmentChanges:
    """Append `instants` to the segments of their keys, and drop what no edge reaches any more.

    `key` int64 (n,) numbers the key of each instant, ascending; the instants of a key ascend too.
    """
    first = first_kept_hour(shape, moved.after_us)
    hour = instants.start_us // HOUR_US
    kept = np.flatnonzero((hour >= first[key]) & moved.present[key])
    dropped = _dropped(rows, shape, moved, first)
    if not len(kept):
        return SegmentChanges(dropped=dropped)
    key, hour, instants = key[kept], hour[kept], instants.take(kept)
    new = np.concatenate(([True], (key[1:] != key[:-1]) | (hour[1:] != hour[:-1])))
    owner, begins = np.cumsum(new) - 1, np.flatnonzero(new)
    named = [
        (moved.keys[one], at)
        for one, at in zip(key[begins].tolist(), hour[begins].tolist(), strict=True)
    ]
    last = rows.last_of(moved.build, named)
    place = np.array([0 if one is None else one[0] for one in last])
    full = [one is not None and tile_count(one[1]) >= ROW_INSTANTS for one in last]
    place += full
    extended = [i for i, one in enumerate(last) if one is not None and not full[i]]
    if extended:
        blocks = unpack(shape, [last[i][1] for i in extended], stamped=False)  # type: ignore[index]
        old = np.repeat(np.array(extended), np.diff(blocks.bounds))
        owner, instants = group(
            shape, np.concatenate((owner, old)), concat_tiles([instants, blocks.tiles])
        )
    return _written(shape, dropped, key[begins], hour[begins], place, owner, instants)


def _written(
    shape: Shape,
    dropped: Sequence[tuple[int, int]],
    key: Int64s,
    hour: Int64s,
    place: Int64s,
    owner: Int64s,
    instants: Tiles,
) -> SegmentChanges:
    """The rows of each (key, hour) from `place` on; `owner` numbers the pair of each instant."""
    bounds = bounds_of(owner, len(key))
    of_row = (np.arange(len(owner)) - bounds[owner]) // ROW_INSTANTS
    counts = -(-np.diff(bounds) // ROW_INSTANTS)
    row_owner = np.repeat(np.arange(len(key)), counts)
    row_begin = np.cumsum(counts) - counts
    row_place = np.arange(counts.sum()) - row_begin[row_owner] + place[row_owner]
    edges = bounds_of(row_begin[owner] + of_row, len(row_owner))
    newest_us = instants.start_us[edges[1:] - 1]
    names = pa.array([b""] * len(row_owner), type=pa.large_binary())
    keyed = KeyedTiles(names, edges, newest_us, instants)
    return SegmentChanges(
        key[row_owner].tolist(),
        [
            segment_number(at, n)
            for at, n in zip(hour[row_owner].tolist(), row_place.tolist(), strict=True)
        ],
        pack(shape, keyed, SEGMENT),
        pack(shape, keyed, ONLINE_SEGMENT),
        dropped,
    )


def _dropped(rows: SegmentRows, shape: Shape, moved: Moved, first: Int64s) -> list[tuple[int, int]]:
    """The rows of hours before `first`, and all of keys that are gone.

    Only hours that the horizon before still kept are looked at: those dropped earlier would have
    to be crossed one by one.
    """
    begin = first_kept_hour(shape, moved.before_us)
    found: list[tuple[int, int]] = []
    for key in np.flatnonzero((first > begin) | ~moved.present).tolist():
        end = segment_number(int(first[key]), 0) if moved.present[key] else _END
        numbers = rows.numbers(
            moved.build, moved.keys[key], segment_number(int(begin[key]), 0), end
        )
        found.extend((key, number) for number in numbers)
    return found
