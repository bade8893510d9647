"""One key's features, finished from its stored rows without building a table.

`windows.finish` works on columns and pays for itself from a few keys on; for one key its fixed cost
is the whole cost. Here a window is a range of each block's tiles, found by bisection, and most
ranges have been merged before: all tiles of a head, and those of a body from one on to the last,
lie beside the tiles as one record (`windows.suffixes`). Only what is left is merged tile by tile:
windows that begin in the head, that end before now, and states too large for such records.

It answers only at an instant after the key's newest event and at or after its horizon. There only
an edge finer than a second can cut a tile (`windows.coarsen` keeps tiles before the horizon finer
than every other), and the segments have the tile's instants. Anywhere else it declines, and the
columns decide. Where it does answer, both agree (tested).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import pyarrow as pa

from ..schemas.outcomes import Status
from ..state import packing
from ..state.online.rows import Segments
from ..windows.algebra import (
    OVERFLOWED,
    Aggregate,
    AggregateAt,
    Monoid,
    OfNothing,
    Pairwise,
    Reading,
)
from ..windows.civil_days import calendar_of
from ..windows.finish import converter
from ..windows.geometry import Window
from ..windows.ladder import INSTANT
from ..windows.shape import Shape, WindowedFeature
from ..windows.suffixes import small_slots
from .single_cuts import NO_SEGMENTS, read_fine
from .single_tiles import NO_TILES, START, BlockForm, Body, Head, SlotRead, State, Tiles, merged
from .single_zones import KeyZone, key_zone

_CODES: Final = {"<u2": "H", "u1": "B", "|u1": "B", "<u4": "I", "<u8": "Q", "<i8": "q", "<f8": "d"}
_HEADER: Final = struct.Struct(
    "<" + "".join(_CODES[one[1]] for one in (*packing.PREFIX.descr, *packing.STAMP.descr))
)
assert _HEADER.size == packing.STAMPED_BYTES
_PRESENT: Final = int(Status.PRESENT)
_EMPTY: Final = int(Status.EMPTY)
_NOT_FOUND: Final = int(Status.NOT_FOUND)
_OVERFLOW: Final = int(Status.OVERFLOW)
_NO_ZONE: Final = int(Status.NO_ZONE)


class SingleAnswer(NamedTuple):
    """Values and statuses (numbers of `Status`), one a feature."""

    values: list[Any]
    statuses: list[int]


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
    """A window, the slots that its features read, and the features.

    `is_fine`: its edges may cut a tile, which the segments then refine. `zone`: where it goes by
    the key's own time zone, how that is found. `by_days`: it may count tiles of civil days, which
    other midnights than those of today may have made.
    """

    window: Window
    slots: tuple[SlotRead, ...]
    finishes: tuple[_Finish, ...]
    is_fine: bool
    zone: KeyZone | None
    by_days: bool


@dataclass(frozen=True, slots=True)
class SingleKey:
    """Finishes features of a shape for one key at a time. Made by `single_key`."""

    form: BlockForm
    retention_us: int | None
    feature_count: int
    reads: tuple[_WindowRead, ...]

    def answer(
        self,
        head: bytes | None,
        body: bytes | None,
        at_us: int,
        segments: Segments = NO_SEGMENTS,
    ) -> SingleAnswer | None:
        """The features of the key that has these rows, at `at_us`; None where columns must decide.

        None stands for damaged rows too: reading them as columns names what is wrong.
        """
        if head is None:
            if body is not None:
                return None
            return self._finish(NO_TILES, NO_TILES, at_us, False, segments)
        recent = self._open(head, packing.ONLINE_HEAD, at_us)
        older = NO_TILES if body is None else self._open(body, packing.ONLINE_BODY, at_us)
        if recent is None or older is None:
            return None
        found = recent.count + older.count > 0 and (
            self.retention_us is None
            or max(recent.newest_us, older.newest_us) >= at_us - self.retention_us
        )
        return self._finish(recent, older, at_us, found, segments)

    def _open(self, block: bytes, kind: int, at_us: int) -> Tiles | None:
        """The tiles of a block; None if it is not whole, or the instant lies before its end."""
        if len(block) < packing.STAMPED_BYTES:
            return None
        form = self.form
        header = _HEADER.unpack_from(block)
        magic, version, found, count, heap_bytes, layout, newest_us, *_, horizon_us = header
        if (magic, version, found, layout) != (packing.MAGIC, packing.VERSION, kind, form.layout):
            return None
        heap_at: int = packing.STAMPED_BYTES + count * form.dtype.itemsize
        summary_at = heap_at + heap_bytes
        if at_us <= newest_us or at_us < horizon_us:
            return None
        if kind == packing.ONLINE_HEAD:
            if len(block) != summary_at + form.summary.size:
                return None
            return Head(block, form, count, heap_at, summary_at, newest_us)
        if len(block) != summary_at + count * (START.size + form.summary.size):
            return None
        return Body(block, form, count, heap_at, summary_at, newest_us)

    def _finish(
        self, head: Tiles, body: Tiles, at_us: int, found: bool, segments: Segments
    ) -> SingleAnswer | None:
        values: list[Any] = [None] * self.feature_count
        statuses = [_PRESENT if found else _NOT_FOUND] * self.feature_count
        for read in self.reads:
            window, finishes, zone = read.window, read.finishes, read.zone
            edges = window.bounds(at_us) if zone is None else zone.bounds(body, head, at_us)
            if edges is None and found:
                _mark(statuses, finishes, _NO_ZONE)
                continue
            older_us, newer_us = edges or (at_us, at_us)
            held = self._held(read, body, head, segments, older_us, newer_us)
            if held is None:
                return None
            states, is_empty = held
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

    def _held(
        self,
        read: _WindowRead,
        body: Tiles,
        head: Tiles,
        segments: Segments,
        older_us: int,
        newer_us: int,
    ) -> tuple[Sequence[State], bool] | None:
        """The states of a window's slots, and whether it is empty; None where columns decide."""
        if read.by_days:
            # As in `windows.cover`: a newer edge cuts nothing that has no event past it.
            has_newer = newer_us <= max(body.newest_us, head.newest_us)
            if body.is_cut_by(older_us) or (has_newer and body.is_cut_by(newer_us)):
                return None
        slots = read.slots
        if read.is_fine:
            return read_fine(self.form, slots, body, head, segments, older_us, newer_us)
        begin, end = body.range(older_us, newer_us)
        first, last = head.range(older_us, newer_us)
        of_body, of_head = body.states(slots, begin, end), head.states(slots, first, last)
        return merged(slots, of_body, of_head), begin == end and first == last


def _mark(statuses: list[int], finishes: Sequence[_Finish], status: int) -> None:
    for one in finishes:
        statuses[one.place] = status


def single_key(shape: Shape, features: Sequence[WindowedFeature]) -> SingleKey:
    """Compile the features of a shape for reading one key at a time."""
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
        slot_reads = tuple(_slot_read(shape, number) for number in slots)
        is_fine = window.grain == INSTANT
        by_days = shape.civil_days is not None and calendar_of(window) is not None
        reads.append(
            _WindowRead(window, slot_reads, finishes, is_fine, key_zone(shape, window), by_days)
        )
    return SingleKey(
        form=_form(shape),
        retention_us=shape.retention_us,
        feature_count=len(features),
        reads=tuple(reads),
    )


def _form(shape: Shape) -> BlockForm:
    summary = packing.summary_dtype(shape)
    return BlockForm(
        layout=packing.layout_of(shape),
        dtype=packing.record_dtype(shape),
        summary=struct.Struct("<" + "".join(_CODES[one[1]] for one in summary.descr if one[0])),
        texts=frozenset(n for n, field in enumerate(shape.fields) if field.dtype == "bytes"),
    )


def _slot_read(shape: Shape, number: int) -> SlotRead:
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
    return SlotRead(fields, monoid.reduce_one, _merge_one(monoid), zero, summary)


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
