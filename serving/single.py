"""One key's features, finished from its stored rows without building a table.

`windows.finish` works on columns and pays for itself from a few keys on; for one key its fixed cost
is the whole cost. Here the records become lists, each window a range of them by bisection, and
each state that several features share is reduced once.

It answers only where no tile can be cut: at an instant after the key's newest event and at or after
its horizon, from tiles in order of time (`windows.coarsen` keeps tiles before the horizon finer
than every edge that may fall on them). Anywhere else it declines, and the columns decide. Where it
does answer, both agree (tested).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ..schemas.outcomes import Status
from ..state import packing
from ..windows.algebra import OVERFLOWED
from ..windows.geometry import Window
from ..windows.ladder import EVER_START_US
from ..windows.shape import Shape, WindowedFeature

_CODES: Final = {"<u2": "H", "u1": "B", "|u1": "B", "<u4": "I", "<u8": "Q", "<i8": "q"}
_HEADER: Final = struct.Struct(
    "<" + "".join(_CODES[one[1]] for one in (*packing.PREFIX.descr, *packing.STAMP.descr))
)
assert _HEADER.size == packing.STAMPED_BYTES
_MODE_AT: Final = 9  # the second byte of a record's tag, which follows its start
_OFFSET: Final = 0xFFFFFFFF

_PRESENT: Final = int(Status.PRESENT)
_EMPTY: Final = int(Status.EMPTY)
_NOT_FOUND: Final = int(Status.NOT_FOUND)
_OVERFLOW: Final = int(Status.OVERFLOW)


class SingleAnswer(NamedTuple):
    """Values and statuses (numbers of `Status`), one a feature."""

    values: list[Any]
    statuses: list[int]


class _SlotRead(NamedTuple):
    """One slot that features read: its fields, its monoid's reduction, its zero.

    `places` says, for each window in order, where the slot's state over it goes among all states;
    -1 where no feature reads it.
    """

    fields: tuple[int, ...]
    reduce_one: Callable[[tuple[list[Any], ...]], tuple[Any, ...]]
    zero: tuple[Any, ...]
    places: tuple[int, ...]


class _Finish(NamedTuple):
    """How a feature comes from the reduced states; `empty` is served instead of null."""

    finish_one: Callable[..., Any]
    params: Any
    states: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    window: int
    convert: Callable[[Any], Any] | None
    empty: Any


@dataclass(frozen=True, slots=True)
class SingleKey:
    """Finishes `features` of a shape for one key at a time. Made by `single_key`."""

    layout: int
    dtype: np.dtype[np.void]
    retention_us: int | None
    windows: tuple[Window, ...]
    numbers: tuple[int, ...]
    texts: tuple[int, ...]
    slots: tuple[_SlotRead, ...]
    state_count: int
    finishes: tuple[_Finish, ...]

    def answer(self, head: bytes | None, body: bytes | None, at_us: int) -> SingleAnswer | None:
        """The features of the key that has these rows, at `at_us`; None where columns must decide.

        None stands for damaged rows too: reading them as columns names what is wrong.
        """
        if head is None:
            return None if body is not None else self._absent()
        row = self._view(head, body, at_us)
        if row is None:
            return None
        records, starts, newest_us, heaps = row
        columns = {number: records[f"f{number}"].tolist() for number in self.numbers}
        for number in self.texts:
            columns[number] = _texts(records[f"f{number}"].tolist(), heaps)
        spans = []
        for window in self.windows:
            older, newer = window.bounds(at_us)
            first = bisect_left(starts, older)
            spans.append((first, bisect_left(starts, newer, first)))
        found = bool(starts) and (
            self.retention_us is None or newest_us >= at_us - self.retention_us
        )
        return self._finish(self._reduce(columns, spans), spans, found)

    def _absent(self) -> SingleAnswer:
        """The features of a key that has no rows."""
        spans = [(0, 0)] * len(self.windows)
        return self._finish(self._reduce({}, spans), spans, found=False)

    def _view(
        self, head: bytes, body: bytes | None, at_us: int
    ) -> tuple[np.ndarray, list[int], int, tuple[tuple[bytes, int], ...]] | None:
        """All records, body first; their starts; the newest event time; heaps with first record."""
        width = self.dtype.itemsize
        newest_us, joined, heaps, counts = EVER_START_US, b"", [], []
        for block in (head,) if body is None else (body, head):
            if len(block) < packing.STAMPED_BYTES:
                return None
            magic, version, _, tiles, heap_bytes, layout, newest, *_, horizon = _HEADER.unpack_from(
                block
            )
            if (magic, version, layout) != (packing.MAGIC, packing.VERSION, self.layout):
                return None
            end = packing.STAMPED_BYTES + tiles * width
            if len(block) != end + heap_bytes or at_us <= newest or at_us < horizon:
                return None
            newest_us = max(newest_us, newest)
            joined += block[packing.STAMPED_BYTES : end]
            counts.append(tiles)
            if self.texts:
                heaps.append((block[end:], tiles))
        if joined[_MODE_AT::width].count(packing.ADD) != sum(counts):
            return None
        records = np.frombuffer(joined, self.dtype)
        starts = records["start"].tolist()
        # Each block is sorted; together they are, unless a late event's tile is still in the head.
        if (
            len(counts) == 2
            and counts[0]
            and counts[1]
            and starts[counts[0] - 1] > starts[counts[0]]
        ):
            return None
        return records, starts, newest_us, tuple(heaps)

    def _reduce(
        self, columns: dict[int, list[Any]], spans: Sequence[tuple[int, int]]
    ) -> tuple[tuple[Any, ...], ...]:
        """Every state that some feature reads, each tile looked at once a slot where it can be.

        Windows that end at the same tile are nested: from the shortest on, each is the one before
        and what lies between their older edges.
        """
        states: list[tuple[Any, ...]] = [()] * self.state_count
        order = sorted(range(len(spans)), key=spans.__getitem__, reverse=True)
        for fields, reduce_one, zero, places in self.slots:
            state, begun, ended = zero, -1, -1
            for window in order:
                place = places[window]
                if place < 0:
                    continue
                first, last = spans[window]
                if first == last:
                    states[place] = zero
                    continue
                if last != ended:
                    state = reduce_one(tuple([columns[f][first:last] for f in fields]))
                elif first != begun:
                    inner = zip(fields, state, strict=True)
                    state = reduce_one(tuple([[*columns[f][first:begun], s] for f, s in inner]))
                begun, ended = first, last
                states[place] = state
        return tuple(states)

    def _finish(
        self,
        states: tuple[tuple[Any, ...], ...],
        spans: Sequence[tuple[int, int]],
        found: bool,
    ) -> SingleAnswer:
        values, statuses = [], []
        for finish_one, params, chosen, window, convert, empty in self.finishes:
            value = finish_one(chosen(states), params)
            status = _PRESENT
            if value is None:
                value, status = empty, _EMPTY
            elif value is OVERFLOWED:
                value, status = None, _OVERFLOW
            else:
                if convert is not None:
                    value = convert(value)
                first, last = spans[window]
                if first == last:
                    status = _EMPTY
            values.append(value)
            statuses.append(status if found else _NOT_FOUND)
        return SingleAnswer(values, statuses)


def single_key(shape: Shape, features: Sequence[WindowedFeature]) -> SingleKey:
    """Compile the features of a shape for reading one key at a time."""
    windows = tuple(dict.fromkeys(feature.window for feature in features))
    pairs = [(slot, windows.index(one.window)) for one in features for slot in one.slots]
    places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
    slots = tuple(
        _slot_read(shape, slot, tuple(places.get((slot, w), -1) for w in range(len(windows))))
        for slot in dict.fromkeys(slot for slot, _ in places)
    )
    read = sorted({field for slot in slots for field in slot.fields})
    return SingleKey(
        layout=packing.layout_of(shape),
        dtype=packing.record_dtype(shape),
        retention_us=shape.retention_us,
        windows=windows,
        numbers=tuple(n for n in read if shape.fields[n].dtype != "bytes"),
        texts=tuple(n for n in read if shape.fields[n].dtype == "bytes"),
        slots=slots,
        state_count=len(places),
        finishes=tuple(
            _Finish(
                one.aggregate.finish_one,
                one.params,
                _chooser([places[slot, windows.index(one.window)] for slot in one.slots]),
                windows.index(one.window),
                _CONVERT.get(one.output.kind),
                one.default,
            )
            for one in features
        ),
    )


_CONVERT: Final[dict[str, Callable[[Any], Any]]] = {"string": bytes.decode, "bool": bool}


def _slot_read(shape: Shape, slot: int, places: tuple[int, ...]) -> _SlotRead:
    span, monoid = shape.field_ranges[slot], shape.slots[slot].monoid
    zero = tuple(
        column.to_pylist()[0] if isinstance(column, pa.Array) else column.tolist()[0]
        for column in monoid.zero(1)
    )
    return _SlotRead(tuple(range(span.start, span.stop)), monoid.reduce_one, zero, places)


def _chooser(places: Sequence[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Picks the states at `places`, always as a tuple."""
    if len(places) == 1:
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(*places)


def _texts(places: list[int], heaps: tuple[tuple[bytes, int], ...]) -> list[bytes]:
    """The byte values at `places` (offset | length << 32) of each block's heap."""
    values, begin = [], 0
    for heap, count in heaps:
        for place in places[begin : begin + count]:
            offset = place & _OFFSET
            values.append(heap[offset : offset + (place >> 32)])
        begin += count
    return values
