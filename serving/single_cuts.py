"""A window of one key whose edges cut tiles: the instants of segments stand in for those.

The tile that an edge cuts is left out, and what its instants inside the window add up to is merged
in: of most, one record of the segment's summary and up to 31 instants before it. As in
`windows.cover` the instants must account for all of the tile's rows; else the columns decide.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..schemas.time import HOUR_US
from ..state import packing
from ..state.online.rows import Segments
from ..windows.suffixes import STRIDE
from .single_tiles import START, BlockForm, CutTile, SlotRead, State, Tiles, merged, texts_at

NO_SEGMENTS: Final[Segments] = {}

_PREFIX: Final = struct.Struct("<HBBIIIq")
assert _PREFIX.size == packing.PREFIX.itemsize
_ROWS_BYTES: Final = 8


def read_fine(
    form: BlockForm,
    slots: Sequence[SlotRead],
    body: Tiles,
    head: Tiles,
    segments: Segments,
    older_us: int,
    newer_us: int,
) -> tuple[Sequence[State], bool] | None:
    """The states of a window's slots, and whether it is empty; None where columns must decide."""
    states: Sequence[State] | None = None
    for tiles in (body, head):
        begin, end = tiles.range(older_us, newer_us)
        cut = tiles.cut_by(older_us)
        # A tile counts whole if none of the events beside it lies past the newer edge.
        tail = tiles.cut_by(newer_us) if newer_us <= tiles.newest_us else None
        cuts = [] if cut is None else [cut]
        pieces = [(begin, end)]
        if tail is not None and tail.place >= begin:
            cuts.append(tail)
            pieces = [(begin, tail.place), (tail.place + 1, end)]
        for first, last in pieces:
            if first < last:
                states = merged(slots, states, tiles.states(slots, first, last))
        for one in cuts:
            found = _instants(form, slots, one, segments, older_us, newer_us)
            if found is None:
                return None
            for part in found:
                states = merged(slots, states, part)
    if states is None:
        return [slot.zero for slot in slots], True
    return states, False


def _instants(
    form: BlockForm,
    slots: Sequence[SlotRead],
    cut: CutTile,
    segments: Segments,
    older_us: int,
    newer_us: int,
) -> list[list[State]] | None:
    """What those of a cut tile's instants that count add up to, part by part.

    None if they are not all there, or a segment is not whole.
    """
    found, rows = [], 0
    for block in segments.get(cut.start_us // HOUR_US, ()):
        segment = _open(block, form)
        if segment is None:
            return None
        first, last = segment.before(cut.start_us), segment.before(cut.end_us)
        rows += segment.rows(first, last)
        begin = max(first, segment.before(older_us))
        end = min(last, segment.before(newer_us))
        if begin < end:
            found.append(segment.states(slots, begin, end))
    return found if rows == cut.rows else None


def _open(block: bytes, form: BlockForm) -> _Segment | None:
    """A segment's block; None if it is not whole."""
    if len(block) < _PREFIX.size:
        return None
    magic, version, kind, count, heap_bytes, layout, newest_us = _PREFIX.unpack_from(block)
    known = packing.MAGIC, packing.VERSION, packing.ONLINE_SEGMENT, form.layout
    heap_at = _PREFIX.size + count * form.dtype.itemsize
    strides = -(-count // STRIDE)
    whole = heap_at + heap_bytes + strides * (_ROWS_BYTES + form.summary.size)
    if (magic, version, kind, layout) != known or len(block) != whole:
        return None
    return _Segment(block, form, count, heap_at, heap_at + heap_bytes, newest_us)


class _Segment:
    """The instants of a segment, and every `STRIDE`th one's merge with all later ones."""

    __slots__ = ("_block", "_count", "_form", "_heap_at", "_newest_us", "_summary_at")

    def __init__(
        self,
        block: bytes,
        form: BlockForm,
        count: int,
        heap_at: int,
        summary_at: int,
        newest_us: int,
    ) -> None:
        self._block = block
        self._form = form
        self._count = count
        self._heap_at = heap_at
        self._summary_at = summary_at
        self._newest_us = newest_us

    def before(self, edge_us: int) -> int:
        """How many instants lie before `edge_us`."""
        if edge_us > self._newest_us:
            return self._count
        block, size, start = self._block, self._form.dtype.itemsize, START.unpack_from
        return bisect_left(
            range(self._count), edge_us, key=lambda i: start(block, _PREFIX.size + i * size)[0]
        )

    def rows(self, begin: int, end: int) -> int:
        """The rows of instants `[begin, end)`."""
        if begin == end:
            return 0
        if end - begin == self._count:
            rows: int = START.unpack_from(self._block, self._summary_at)[0]
            return rows
        return int((self._records(begin, end)["tag"] >> np.uint64(16)).sum())

    def states(self, slots: Sequence[SlotRead], begin: int, end: int) -> list[State]:
        """The merge of instants `[begin, end)`, at least one, a state a slot."""
        suffix, by_hand = None, end
        stride = -(-begin // STRIDE)
        if end == self._count and stride * STRIDE < end:
            record_bytes = _ROWS_BYTES + self._form.summary.size
            at = self._summary_at + stride * record_bytes + _ROWS_BYTES
            suffix, by_hand = self._form.summary.unpack_from(self._block, at), stride * STRIDE
        states = []
        for slot in slots:
            if suffix is None or slot.summary is None:
                states.append(self._reduced(slot, begin, end))
            elif begin == by_hand:
                states.append(suffix[slot.summary])
            else:
                mine = self._reduced(slot, begin, by_hand)
                states.append(slot.merge_one(mine, suffix[slot.summary]))
        return states

    def _reduced(self, slot: SlotRead, begin: int, end: int) -> State:
        records, columns = self._records(begin, end), []
        for number in slot.fields:
            column: list[Any] = records[f"f{number}"].tolist()
            if number in self._form.texts:
                column = texts_at(self._block, self._heap_at, column)
            columns.append(column)
        return slot.reduce_one(tuple(columns))

    def _records(self, begin: int, end: int) -> np.ndarray:
        at = _PREFIX.size + begin * self._form.dtype.itemsize
        return np.frombuffer(self._block, self._form.dtype, end - begin, at)
