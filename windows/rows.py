"""The newest rows of a key as a state: what `last(n)` and `since(predicate)` are finished from.

Those windows are cut by *order*, not by time: which rows count is known only when all tiles are
together. So the state is the rows themselves, at most `cap` of them, and an aggregate lifts them
when it is read. Merging keeps the newest rows of both sides: a function of the set of rows.

With `marked` rows, one that matches the window's predicate is a *mark*: rows up to the newest mark
drop out. If more than `cap` rows follow it, the newest that had to go is kept as a *floor*, which
says that the state overflowed. (A row is dropped only when `cap` newer ones are there, so the floor
is the `cap + 1`-th newest in every order of merging; a later mark past it mends the state.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from .aggregates.support import binary, binary_of, buffers_of, empty_bytes
from .algebra import Bools, Column, Int64s, Lists, Order, Runs, StateField, States, take

ValueType = Literal["<i8", "<f8", "bytes"]

VALUE_TYPE: Final[dict[str, ValueType]] = {
    "float": "<f8",
    "int": "<i8",
    "bool": "<i8",
    "time": "<i8",
    "string": "bytes",
}
"""How the values of a kind of column are kept."""

_VALID, _MARK, _FLOOR = 1, 2, 4
"""What an item's `flags` say: it has a value; it is no row but the mark; the floor."""

_NOT_A_ROW: Final = _MARK | _FLOOR


@dataclass(frozen=True, slots=True)
class RowsRead:
    """The rows of k states, ready to be lifted: `counts` rows each (int64), a state after another.

    `overflowed` is bool (k,).
    """

    counts: Int64s
    column: Column
    order: Order
    overflowed: Bools

    def only(self, chosen: Bools) -> RowsRead:
        """Of all rows those that are `chosen`, bool, one each."""
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        places = np.flatnonzero(chosen)
        (values,) = take((self.column.values,), places)
        valid = None if self.column.valid is None else self.column.valid[places]
        order = Order(
            *(one[places] for one in (self.order.event_us, self.order.ordinal, self.order.offset))
        )
        counts = np.bincount(owner[places], minlength=len(self.counts)).astype(np.int64)
        return RowsRead(counts, Column(values, valid), order, self.overflowed)


@dataclass(frozen=True, slots=True)
class NewestRows:
    """The newest `cap` rows in the total order, 40 bytes each, and the bytes of their texts.

    A state is items in order: event time, ordinal, offset, value (of a text: its length), flags, 8
    bytes each; texts follow in a field of their own. Where `marked`, the column comes beside the
    predicate (0 or 1).
    """

    cap: int
    value: ValueType
    marked: bool = False
    version: int = 1

    @property
    def name(self) -> str:
        """`rows` or `rows_since`, the cap, and the type of value."""
        return f"rows{'_since' if self.marked else ''}_{self.cap}_{self.value.strip('<')}"

    @property
    def fields(self) -> tuple[StateField, ...]:
        items = StateField("items", "bytes")
        return (items, StateField("texts", "bytes")) if self.value == "bytes" else (items,)

    @property
    def item(self) -> np.dtype[np.void]:
        """One item of a state."""
        value = "<i8" if self.value == "bytes" else self.value
        names = ("event_us", "ordinal", "offset")
        return np.dtype([*((name, "<i8") for name in names), ("value", value), ("flags", "<i8")])

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        if column is None:
            column = Column(np.zeros(runs.size, np.int64))
        items = np.zeros(runs.size, self.item)
        items["event_us"], items["ordinal"], items["offset"] = (
            order.event_us,
            order.ordinal,
            order.offset,
        )
        texts = None
        valid = np.ones(runs.size, bool) if column.valid is None else column.valid
        if self.value == "bytes":
            texts = binary(column.values)
            offsets, _ = buffers_of(texts)
            items["value"] = np.diff(offsets)
        else:
            items["value"] = np.where(valid, column.values, 0)
        items["flags"] = valid * _VALID
        if self.marked:
            matches = np.asarray(column.beside) != 0
            items["flags"][matches] = _MARK
            items["value"][matches] = 0 if texts is None else items["value"][matches]
        return self._kept(items, texts, runs.ids, runs.count)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        items, texts, counts = self._items(states)
        ids = np.repeat(runs.ids, counts)
        return self._kept(items, texts, ids, runs.count)

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        columns: States = tuple(
            field if isinstance(field, pa.Array) else pa.array(field, pa.large_binary())
            for field in states
        )
        count = len(columns[0])
        if not count:
            return (b"",) * len(self.fields)
        merged = self.reduce(columns, Runs(np.zeros(1, np.int64), count))
        return tuple(binary(field)[0].as_py() for field in merged)

    def zero(self, count: int) -> States:
        return tuple(empty_bytes(count) for _ in self.fields)

    def rows(self, states: States) -> RowsRead:
        """The rows of some states, in the total order within each."""
        items, texts, counts = self._items(states)
        owner = np.repeat(np.arange(len(counts)), counts)
        is_row = items["flags"] & _NOT_A_ROW == 0
        overflowed = np.zeros(len(counts), bool)
        overflowed[owner[items["flags"] & _FLOOR != 0]] = True
        rows = np.flatnonzero(is_row)
        kept = items[rows]
        values: Any = np.ascontiguousarray(kept["value"])
        if texts is not None:
            values = texts.take(pa.array(rows))
        valid = kept["flags"] & _VALID != 0
        order = Order(
            *(np.ascontiguousarray(kept[name]) for name in ("event_us", "ordinal", "offset"))
        )
        return RowsRead(
            np.bincount(owner[rows], minlength=len(counts)).astype(np.int64),
            Column(values, None if valid.all() else valid),
            order,
            overflowed,
        )

    def _items(self, states: States) -> tuple[np.ndarray, pa.LargeBinaryArray | None, Int64s]:
        """All items of some states, their texts, and how many each state has."""
        offsets, data = buffers_of(binary(states[0]))
        items = np.frombuffer(data[offsets[0] : offsets[-1]].tobytes(), self.item)
        counts = np.diff(offsets) // self.item.itemsize
        if self.value != "bytes":
            return items, None, counts
        begins, texts = buffers_of(binary(states[1]))
        ends = np.concatenate(([0], np.cumsum(items["value"])))
        return items, binary_of(ends, texts[begins[0] : begins[-1]].tobytes()), counts

    def _kept(
        self, items: np.ndarray, texts: pa.LargeBinaryArray | None, ids: Int64s, count: int
    ) -> States:
        """The states of runs of items; `ids` numbers the run of each, from 0 to `count`."""
        order = np.lexsort((items["offset"], items["ordinal"], items["event_us"], ids))
        items, ids = items[order], ids[order]
        flags = items["flags"]
        place = np.arange(len(items))
        alive = np.ones(len(items), bool)
        if self.marked:
            mark = _greatest(np.where(flags & _MARK != 0, place, -1), ids, count)
            alive = place >= mark[ids]
        is_row = alive & (flags & _NOT_A_ROW == 0)
        newer = _newer(is_row, ids, count)
        dropped = is_row & (newer >= self.cap)
        if self.marked:
            floors = np.where(alive & (dropped | (flags & _FLOOR != 0)), place, -1)
            floor = _greatest(floors, ids, count)
            flags = np.where(dropped, _FLOOR, flags)
            alive &= (flags & _FLOOR == 0) | (place == floor[ids])
            items["flags"] = flags
            items["value"] = np.where(flags & _FLOOR != 0, items["value"] * 0, items["value"])
        else:
            alive &= ~dropped
        return self._states(items, texts, order, ids, np.flatnonzero(alive), count)

    def _states(
        self,
        items: np.ndarray,
        texts: pa.LargeBinaryArray | None,
        order: Int64s,
        ids: Int64s,
        kept: Int64s,
        count: int,
    ) -> States:
        chosen = items[kept]
        lengths = np.bincount(ids[kept], minlength=count)
        ends = np.concatenate(([0], np.cumsum(lengths)))
        packed = None
        if texts is not None:
            # Only rows have texts; of marks and floors the length is 0.
            has_text = chosen["flags"] & _VALID != 0
            chosen["value"] = np.where(has_text, chosen["value"], 0)
            taken = texts.take(pa.array(order[kept], mask=~has_text)).fill_null(b"")
            offsets, data = buffers_of(binary(taken))
            packed = binary_of(offsets[ends] - offsets[0], data[offsets[0] : offsets[-1]].tobytes())
        states = binary_of(ends * self.item.itemsize, chosen.tobytes())
        return (states,) if packed is None else (states, packed)


def _greatest(values: Int64s, ids: Int64s, count: int) -> Int64s:
    """The greatest value of each run; -1 of none."""
    greatest = np.full(count, -1, np.int64)
    np.maximum.at(greatest, ids, values)
    return greatest


def _newer(is_row: Bools, ids: Int64s, count: int) -> Int64s:
    """For each item, how many rows of its run stand behind it."""
    through = np.cumsum(is_row)
    totals = np.zeros(count, np.int64)
    np.maximum.at(totals, ids, through)
    newer: Int64s = totals[ids] - through
    return newer
