"""The tiles of one block as they lie, read for one key: what `single` merges."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from ..schemas.time import HOUR_US
from ..state import packing
from ..windows.ladder import CIVIL, CIVIL_QUARTERS_MAX, INSTANT, WIDTH_US

START: Final = struct.Struct("<q")
START_AND_TAG: Final = struct.Struct("<qQ")
_OFFSET: Final = 0xFFFFFFFF
_WIDTHS_US: Final[list[int]] = WIDTH_US.tolist()
_FEW_TILES: Final = 8
"""Up to so many are quicker one by one than as an array."""
_LONGEST_DAY_US: Final = _WIDTHS_US[CIVIL + CIVIL_QUARTERS_MAX]

State = tuple[Any, ...]
"""One state in Python scalars."""


@dataclass(frozen=True, slots=True)
class BlockForm:
    """What the blocks of a build look like: records of tiles and of summaries, fields of bytes."""

    layout: int
    dtype: np.dtype[np.void]
    summary: struct.Struct
    texts: frozenset[int]


class SlotRead(NamedTuple):
    """One slot that a window's features read: its fields, how its states merge, its zero.

    `summary` is where its fields stand in a record of a summary; None if they are too large for it.
    """

    fields: tuple[int, ...]
    reduce_one: Callable[[tuple[list[Any], ...]], State]
    merge_one: Callable[[State, State], State]
    zero: State
    summary: slice | None


class CutTile(NamedTuple):
    """A tile that an edge lies inside of; `place` is its number in its block."""

    place: int
    start_us: int
    end_us: int
    rows: int


class Tiles:
    """The tiles of one block as they lie; columns become lists only where they are needed."""

    __slots__ = ("_block", "_columns", "_form", "_heap_at", "_summary_at", "count", "newest_us")

    def __init__(
        self,
        block: bytes,
        form: BlockForm | None,
        count: int,
        heap_at: int,
        summary_at: int,
        newest_us: int,
    ) -> None:
        self._block = block
        self._form = form
        self._heap_at = heap_at
        self._summary_at = summary_at
        self._columns: dict[int, list[Any]] = {}
        self.count = count
        self.newest_us = newest_us

    def range(self, older_us: int, newer_us: int) -> tuple[int, int]:
        """The tiles that start in `[older_us, newer_us)`."""
        return 0, 0

    def cut_by(self, edge_us: int) -> CutTile | None:
        """The tile of a second or more that has `edge_us` inside it, if there is one."""
        place = self._before(edge_us)
        while place:
            place -= 1
            at = packing.STAMPED_BYTES + place * self._record_bytes
            start_us, tag = START_AND_TAG.unpack_from(self._block, at)
            rung = tag & 0xFF
            if rung != INSTANT:
                end_us = start_us + _WIDTHS_US[rung]
                if end_us > edge_us:
                    return CutTile(place, start_us, end_us, tag >> 16)
                return None
            if start_us <= edge_us - HOUR_US:
                return None  # what an edge may cut is an hour wide at most
        return None

    def states(self, slots: Sequence[SlotRead], begin: int, end: int) -> list[State] | None:
        """The merge of tiles `[begin, end)`, a state a slot; None of no tiles."""
        if begin == end:
            return None
        record = self._merged_before(begin, end)
        return [
            record[slot.summary]
            if record is not None and slot.summary is not None
            else slot.reduce_one(tuple([self._column(n)[begin:end] for n in slot.fields]))
            for slot in slots
        ]

    def is_cut_by(self, edge_us: int) -> bool:
        """Whether a civil day has `edge_us` inside it: its zone has another midnight now."""
        return False

    def latest(self, fields: Sequence[int]) -> State | None:
        """Of a slot with the last value, the state that is last in the order; None of no tiles.

        Its first three fields are the value's place in that order.
        """
        if not self.count:
            return None
        records = self._records()
        event_us = records[f"f{fields[0]}"]
        rows = np.flatnonzero(event_us == event_us.max())
        if len(rows) > 1:
            rows = rows[np.lexsort([records[f"f{n}"][rows] for n in reversed(fields[1:3])])]
        *place, value = (records[f"f{number}"][rows[-1]].item() for number in fields)
        return (*place, *texts_at(self._block, self._heap_at, [value]))

    def _before(self, edge_us: int) -> int:
        """How many tiles start before `edge_us`."""
        return 0

    def _merged_before(self, begin: int, end: int) -> State | None:
        """The record of the summary that stands for tiles `[begin, end)`, if one does."""
        return None

    @property
    def _record_bytes(self) -> int:
        assert self._form is not None, "there are no tiles to read"
        return self._form.dtype.itemsize

    def _records(self) -> np.ndarray:
        assert self._form is not None, "there are no tiles to read"
        return np.frombuffer(self._block, self._form.dtype, self.count, packing.STAMPED_BYTES)

    def _column(self, number: int) -> list[Any]:
        """A field of all tiles."""
        column = self._columns.get(number)
        if column is None:
            column = self._records()[f"f{number}"].tolist()
            assert self._form is not None, "there are no tiles to read"
            if number in self._form.texts:
                column = texts_at(self._block, self._heap_at, column)
            self._columns[number] = column
        return column


def texts_at(block: bytes, heap_at: int, places: Sequence[int]) -> list[bytes]:
    """The byte values at `places` (offset | length << 32) of a block's heap."""
    begins = [heap_at + (place & _OFFSET) for place in places]
    return [
        block[begin : begin + (place >> 32)] for begin, place in zip(begins, places, strict=True)
    ]


class Head(Tiles):
    """The recent tiles; the summary is the merge of all of them."""

    __slots__ = ()

    def range(self, older_us: int, newer_us: int) -> tuple[int, int]:
        if not self.count:
            return 0, 0
        begin, end = 0, self.count
        if older_us > START.unpack_from(self._block, packing.STAMPED_BYTES)[0]:
            begin = bisect_left(self._starts(), older_us)
        if newer_us <= self.newest_us:
            end = bisect_left(self._starts(), newer_us, begin)
        return begin, end

    def _before(self, edge_us: int) -> int:
        if not self.count or edge_us <= START.unpack_from(self._block, packing.STAMPED_BYTES)[0]:
            return 0
        return bisect_left(self._starts(), edge_us)

    def _starts(self) -> list[int]:
        starts = self._columns.get(-1)
        if starts is None:
            starts = self._columns[-1] = self._records()["start"].tolist()
        return starts

    def _merged_before(self, begin: int, end: int) -> State | None:
        if end - begin < self.count or self._form is None:
            return None
        return self._form.summary.unpack_from(self._block, self._summary_at)


class Body(Tiles):
    """The older tiles; the summary has their starts, and the merge of each with all later ones."""

    __slots__ = ()

    def range(self, older_us: int, newer_us: int) -> tuple[int, int]:
        starts, count = self._starts(), self.count
        begin = bisect_left(starts, older_us)
        end = count if newer_us > self.newest_us else bisect_left(starts, newer_us, begin)
        return begin, end

    def is_cut_by(self, edge_us: int) -> bool:
        starts = self._starts()
        place = bisect_left(starts, edge_us)
        return is_day_cut(self._block, self._record_bytes, starts, place, edge_us)

    def _before(self, edge_us: int) -> int:
        return bisect_left(self._starts(), edge_us)

    def _starts(self) -> memoryview[int]:
        begin_at = self._summary_at
        return memoryview(self._block)[begin_at : begin_at + START.size * self.count].cast("q")

    def _merged_before(self, begin: int, end: int) -> State | None:
        if end < self.count or self._form is None:
            return None
        summary = self._form.summary
        records_at = self._summary_at + START.size * self.count
        return summary.unpack_from(self._block, records_at + summary.size * begin)


def is_day_cut(
    block: bytes, record_bytes: int, starts: memoryview[int], place: int, edge_us: int
) -> bool:
    """Whether a civil day among a body's tiles before `place`, where `edge_us` lies, is past it."""
    begin = bisect_left(starts, edge_us - _LONGEST_DAY_US, 0, place)
    at = packing.STAMPED_BYTES + begin * record_bytes
    if place - begin <= _FEW_TILES:
        for number in range(place - begin):
            start_us, tag = START_AND_TAG.unpack_from(block, at + number * record_bytes)
            rung = tag & 0xFF
            if rung >= CIVIL and start_us + _WIDTHS_US[rung] > edge_us:
                return True
        return False
    tags = np.ndarray((place - begin,), "<u8", block, at + START.size, (record_bytes,))
    rungs = tags & np.uint64(0xFF)
    past = np.frombuffer(starts[begin:place], "<i8") + WIDTH_US[rungs] > edge_us
    return bool((past & (rungs >= CIVIL)).any())


NO_TILES: Final = Tiles(b"", None, 0, 0, 0, 0)


def merged(
    slots: Sequence[SlotRead], a: Sequence[State] | None, b: Sequence[State] | None
) -> Sequence[State]:
    """The states of two sets of tiles together; None stands for no tiles."""
    if a is None:
        return [slot.zero for slot in slots] if b is None else b
    if b is None:
        return a
    return [slot.merge_one(x, y) for slot, x, y in zip(slots, a, b, strict=True)]
