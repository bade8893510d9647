"""One key's features, finished from its stored rows without building a table.

`windows.finish` works on columns and pays for itself from a few keys on; for one key its fixed cost
is the whole cost. Here a window is a range of each block's tiles, found by bisection, and most
ranges have been merged before: all tiles of a head, and those of a body from one on to the last,
lie beside the tiles as one record (`windows.suffixes`). Only what is left is merged tile by tile:
windows that begin in the head, that end before now, and states too large for such records.

It answers only where no tile can be cut: at an instant after the key's newest event and at or after
its horizon (`windows.coarsen` keeps tiles before the horizon finer than every edge that may fall on
them). Anywhere else it declines, and the columns decide. Where it does answer, both agree (tested).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ..schemas.outcomes import Status
from ..state import packing
from ..windows.algebra import (
    OVERFLOWED,
    Aggregate,
    AggregateAt,
    Monoid,
    OfNothing,
    Pairwise,
    Reading,
)
from ..windows.finish import converter
from ..windows.geometry import Window
from ..windows.shape import Shape, WindowedFeature
from ..windows.suffixes import small_slots

_CODES: Final = {"<u2": "H", "u1": "B", "|u1": "B", "<u4": "I", "<u8": "Q", "<i8": "q", "<f8": "d"}
_HEADER: Final = struct.Struct(
    "<" + "".join(_CODES[one[1]] for one in (*packing.PREFIX.descr, *packing.STAMP.descr))
)
assert _HEADER.size == packing.STAMPED_BYTES
_START: Final = struct.Struct("<q")
_OFFSET: Final = 0xFFFFFFFF

_PRESENT: Final = int(Status.PRESENT)
_EMPTY: Final = int(Status.EMPTY)
_NOT_FOUND: Final = int(Status.NOT_FOUND)
_OVERFLOW: Final = int(Status.OVERFLOW)

State = tuple[Any, ...]
"""One state in Python scalars."""


class SingleAnswer(NamedTuple):
    """Values and statuses (numbers of `Status`), one a feature."""

    values: list[Any]
    statuses: list[int]


class _SlotRead(NamedTuple):
    """One slot that a window's features read: its fields, how its states merge, its zero.

    `summary` is where its fields stand in a record of a summary; None if they are too large for it.
    """

    fields: tuple[int, ...]
    reduce_one: Callable[[tuple[list[Any], ...]], State]
    merge_one: Callable[[State, State], State]
    zero: State
    summary: slice | None


class _Finish(NamedTuple):
    """How a feature comes from its window's states; `empty` is served instead of null.

    `place` is the feature's among all, `states` the places of what it reads among the window's
    slots; `finish_one` takes a `Reading` too where `reads_instant`.
    """

    place: int
    finish_one: Callable[..., Any]
    reads_instant: bool
    params: Any
    states: tuple[int, ...]
    convert: Callable[[Any], Any] | None
    empty: Any


class _WindowRead(NamedTuple):
    """A window, the slots that its features read, and the features."""

    window: Window
    slots: tuple[_SlotRead, ...]
    finishes: tuple[_Finish, ...]


@dataclass(frozen=True, slots=True)
class SingleKey:
    """Finishes features of a shape for one key at a time. Made by `single_key`."""

    layout: int
    dtype: np.dtype[np.void]
    summary: struct.Struct
    texts: frozenset[int]
    retention_us: int | None
    feature_count: int
    reads: tuple[_WindowRead, ...]

    def answer(self, head: bytes | None, body: bytes | None, at_us: int) -> SingleAnswer | None:
        """The features of the key that has these rows, at `at_us`; None where columns must decide.

        None stands for damaged rows too: reading them as columns names what is wrong.
        """
        if head is None:
            return None if body is not None else self._finish(_NO_TILES, _NO_TILES, at_us, False)
        recent = self._open(head, packing.ONLINE_HEAD, at_us)
        older = _NO_TILES if body is None else self._open(body, packing.ONLINE_BODY, at_us)
        if recent is None or older is None:
            return None
        found = recent.count + older.count > 0 and (
            self.retention_us is None
            or max(recent.newest_us, older.newest_us) >= at_us - self.retention_us
        )
        return self._finish(recent, older, at_us, found)

    def _open(self, block: bytes, kind: int, at_us: int) -> _Tiles | None:
        """The tiles of a block; None if it is not whole, or the instant lies before its end."""
        if len(block) < packing.STAMPED_BYTES:
            return None
        header = _HEADER.unpack_from(block)
        magic, version, found, count, heap_bytes, layout, newest_us, *_, horizon_us = header
        if (magic, version, found, layout) != (packing.MAGIC, packing.VERSION, kind, self.layout):
            return None
        heap_at: int = packing.STAMPED_BYTES + count * self.dtype.itemsize
        summary_at = heap_at + heap_bytes
        if at_us <= newest_us or at_us < horizon_us:
            return None
        if kind == packing.ONLINE_HEAD:
            if len(block) != summary_at + self.summary.size:
                return None
            return _Head(block, self, count, heap_at, summary_at, newest_us)
        if len(block) != summary_at + count * (_START.size + self.summary.size):
            return None
        return _Body(block, self, count, heap_at, summary_at, newest_us)

    def _finish(self, head: _Tiles, body: _Tiles, at_us: int, found: bool) -> SingleAnswer:
        values: list[Any] = [None] * self.feature_count
        statuses = [_PRESENT if found else _NOT_FOUND] * self.feature_count
        for window, slots, finishes in self.reads:
            older_us, newer_us = window.bounds(at_us)
            begin, end = body.range(older_us, newer_us)
            first, last = head.range(older_us, newer_us)
            states = _merged(slots, body.states(slots, begin, end), head.states(slots, first, last))
            is_empty = begin == end and first == last
            for place, finish_one, reads_instant, params, chosen, convert, empty in finishes:
                mine = tuple([states[number] for number in chosen])
                if reads_instant:
                    value = finish_one(mine, params, Reading(at_us, older_us, newer_us))
                else:
                    value = finish_one(mine, params)
                status = _EMPTY if is_empty else _PRESENT
                if value is None:
                    value, status = empty, _EMPTY
                elif value is OVERFLOWED:
                    value, status = None, _OVERFLOW
                else:
                    if isinstance(value, OfNothing):
                        value, status = value.value, _EMPTY
                    if convert is not None:
                        value = convert(value)
                values[place] = value
                if found:
                    statuses[place] = status
        return SingleAnswer(values, statuses)


class _Tiles:
    """The tiles of one block as they lie; columns become lists only where they are needed."""

    __slots__ = ("_block", "_columns", "_heap_at", "_key", "_summary_at", "count", "newest_us")

    def __init__(
        self,
        block: bytes,
        key: SingleKey | None,
        count: int,
        heap_at: int,
        summary_at: int,
        newest_us: int,
    ) -> None:
        self._block = block
        self._key = key
        self._heap_at = heap_at
        self._summary_at = summary_at
        self._columns: dict[int, list[Any]] = {}
        self.count = count
        self.newest_us = newest_us

    def range(self, older_us: int, newer_us: int) -> tuple[int, int]:
        """The tiles that start in `[older_us, newer_us)`."""
        return 0, 0

    def states(self, slots: Sequence[_SlotRead], begin: int, end: int) -> list[State] | None:
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

    def _merged_before(self, begin: int, end: int) -> State | None:
        """The record of the summary that stands for tiles `[begin, end)`, if one does."""
        return None

    def _column(self, number: int) -> list[Any]:
        """A field of all tiles."""
        column = self._columns.get(number)
        if column is None:
            assert self._key is not None, "there are no tiles to read"
            records = np.frombuffer(self._block, self._key.dtype, self.count, packing.STAMPED_BYTES)
            column = records[f"f{number}"].tolist()
            if number in self._key.texts:
                column = self._texts(column)
            self._columns[number] = column
        return column

    def _texts(self, places: Sequence[int]) -> list[bytes]:
        """The byte values at `places` (offset | length << 32) of the heap."""
        block, heap_at = self._block, self._heap_at
        begins = [heap_at + (place & _OFFSET) for place in places]
        return [
            block[begin : begin + (place >> 32)]
            for begin, place in zip(begins, places, strict=True)
        ]


class _Head(_Tiles):
    """The recent tiles; the summary is the merge of all of them."""

    __slots__ = ()

    def range(self, older_us: int, newer_us: int) -> tuple[int, int]:
        if not self.count:
            return 0, 0
        begin, end = 0, self.count
        if older_us > _START.unpack_from(self._block, packing.STAMPED_BYTES)[0]:
            begin = bisect_left(self._starts(), older_us)
        if newer_us <= self.newest_us:
            end = bisect_left(self._starts(), newer_us, begin)
        return begin, end

    def _starts(self) -> list[int]:
        starts = self._columns.get(-1)
        if starts is None:
            assert self._key is not None, "there are no tiles to read"
            records = np.frombuffer(self._block, self._key.dtype, self.count, packing.STAMPED_BYTES)
            starts = self._columns[-1] = records["start"].tolist()
        return starts

    def _merged_before(self, begin: int, end: int) -> State | None:
        if end - begin < self.count or self._key is None:
            return None
        return self._key.summary.unpack_from(self._block, self._summary_at)


class _Body(_Tiles):
    """The older tiles; the summary has their starts, and the merge of each with all later ones."""

    __slots__ = ()

    def range(self, older_us: int, newer_us: int) -> tuple[int, int]:
        begin_at, count = self._summary_at, self.count
        starts = memoryview(self._block)[begin_at : begin_at + _START.size * count].cast("q")
        begin = bisect_left(starts, older_us)
        end = count if newer_us > self.newest_us else bisect_left(starts, newer_us, begin)
        return begin, end

    def _merged_before(self, begin: int, end: int) -> State | None:
        if end < self.count or self._key is None:
            return None
        summary = self._key.summary
        records_at = self._summary_at + _START.size * self.count
        return summary.unpack_from(self._block, records_at + summary.size * begin)


_NO_TILES: Final = _Tiles(b"", None, 0, 0, 0, 0)


def _merged(
    slots: Sequence[_SlotRead], a: Sequence[State] | None, b: Sequence[State] | None
) -> Sequence[State]:
    """The states of two sets of tiles together; None stands for no tiles."""
    if a is None:
        return [slot.zero for slot in slots] if b is None else b
    if b is None:
        return a
    return [slot.merge_one(x, y) for slot, x, y in zip(slots, a, b, strict=True)]


def single_key(shape: Shape, features: Sequence[WindowedFeature]) -> SingleKey:
    """Compile the features of a shape for reading one key at a time."""
    summary = packing.summary_dtype(shape)
    reads = []
    for window in dict.fromkeys(feature.window for feature in features):
        mine = [(i, one) for i, one in enumerate(features) if one.window == window]
        slots = tuple(dict.fromkeys(slot for _, one in mine for slot in one.slots))
        finishes = tuple(
            _Finish(
                place,
                *_finish_one(one.aggregate),
                one.params,
                tuple(slots.index(slot) for slot in one.slots),
                converter(one.output),
                one.default,
            )
            for place, one in mine
        )
        reads.append(_WindowRead(window, tuple(_slot_read(shape, s) for s in slots), finishes))
    return SingleKey(
        layout=packing.layout_of(shape),
        dtype=packing.record_dtype(shape),
        summary=struct.Struct("<" + "".join(_CODES[one[1]] for one in summary.descr if one[0])),
        texts=frozenset(n for n, field in enumerate(shape.fields) if field.dtype == "bytes"),
        retention_us=shape.retention_us,
        feature_count=len(features),
        reads=tuple(reads),
    )


def _slot_read(shape: Shape, number: int) -> _SlotRead:
    monoid, span, small = shape.slots[number].monoid, shape.field_ranges[number], small_slots(shape)
    zero = tuple(
        column.to_pylist()[0] if isinstance(column, pa.Array) else column.tolist()[0]
        for column in monoid.zero(1)
    )
    summary = None
    if number in small:
        before = small[: small.index(number)]
        begin = sum(len(shape.slots[one].monoid.fields) for one in before)
        summary = slice(begin, begin + len(monoid.fields))
    fields = tuple(range(span.start, span.stop))
    return _SlotRead(fields, monoid.reduce_one, _merge_one(monoid), zero, summary)


def _merge_one(monoid: Monoid) -> Callable[[State, State], State]:
    if isinstance(monoid, Pairwise):
        return monoid.merge_one
    reduce_one = monoid.reduce_one
    return lambda a, b: reduce_one(tuple([[x, y] for x, y in zip(a, b, strict=True)]))


def _finish_one(aggregate: Aggregate | AggregateAt) -> tuple[Callable[..., Any], bool]:
    """How one key's states finish, and whether the instant is needed for it."""
    if isinstance(aggregate, AggregateAt):
        return aggregate.finish_one_at, True
    return aggregate.finish_one, False
