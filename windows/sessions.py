"""Sessions: intervals of event time in which no gap is longer than the session's.

A state is a key's sessions in order, each with its first and last event time and the inner states
of its events. Merging two states joins sessions that lie within a gap of each other, so events may
come in any order: a late one that fills a gap makes one session of two. An event exactly one gap
after another still belongs to its session.

Which session a reader sees is the newest before the instant. Older ones are kept as long as an
event may be expected that joins them (`Sessions.pruned`), and no longer. When the last one ended
that was dropped is remembered as a *floor*: events of a partition that was silent, or that were
driven again, may come later than that, and a session that they stretch down to the floor would be
too short. It is told from all others, so that nobody takes it for whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from .aggregates.support import binary, binary_of, buffers_of, empty_bytes
from .algebra import (
    Bools,
    Column,
    Int64s,
    Lists,
    Monoid,
    Order,
    Runs,
    StateField,
    States,
    concat,
    take,
)

NO_FLOOR: Final = -(2**63)


@dataclass(frozen=True, slots=True)
class NewestRead:
    """The newest session of each of k states: `first_us`, `last_us`, inner states.

    `found`: whether there is one. `cut`: whether it reaches down to one that was dropped.
    """

    first_us: Int64s
    last_us: Int64s
    inner: States
    found: Bools
    cut: Bools


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions by `gap_us`, each with a state of `inner`: 16 bytes and that state's, each.

    The first field holds the sessions' records, ascending. What `inner` keeps as bytes follows in a
    field of its own, session after session; the record has its length. The last field is the
    floor: when the last session ended that was dropped, or −2⁶³.
    """

    gap_us: int
    inner: Monoid
    version: int = 2

    @property
    def name(self) -> str:
        """`sessions`, the gap in µs, and the inner monoid with its version."""
        return f"sessions_{self.gap_us}_{self.inner.name}_{self.inner.version}"

    @property
    def fields(self) -> tuple[StateField, ...]:
        texts = (StateField(f"f{n}", "bytes") for n in self._texts)
        return (StateField("sessions", "bytes"), *texts, StateField("floor_us", "<i8"))

    @property
    def _texts(self) -> tuple[int, ...]:
        """Which fields of `inner` are bytes."""
        return tuple(n for n, field in enumerate(self.inner.fields) if field.dtype == "bytes")

    @property
    def record(self) -> np.dtype[np.void]:
        """One session: first and last event time, then the inner state."""
        kinds = ("<i8" if f.dtype == "bytes" else f.dtype for f in self.inner.fields)
        fields = [(f"f{n}", kind) for n, kind in enumerate(kinds)]
        return np.dtype([("first_us", "<i8"), ("last_us", "<i8"), *fields])

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        """Every row counts as an event of a session, also one without a value."""
        new = np.ones(runs.size, bool)
        new[1:] = np.diff(order.event_us) > self.gap_us
        new[runs.starts] = True
        sessions = Runs(np.flatnonzero(new), runs.size)
        inner = self.inner.lift(column, order, sessions)
        records = self._records(
            order.event_us[sessions.starts], order.event_us[sessions.last], inner
        )
        edges = np.searchsorted(sessions.starts, [*runs.starts, runs.size])
        return self._states(records, inner, edges, np.full(runs.count, NO_FLOOR))

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        records, inner, counts = self._read(states)
        ids = np.repeat(runs.ids, counts)
        ordered = np.lexsort((records["first_us"], ids))
        records, inner, ids = records[ordered], take(inner, ordered), ids[ordered]
        groups = _joined(records["first_us"], records["last_us"], ids, self.gap_us)
        if groups.count < groups.size:
            inner = self.inner.reduce(inner, groups)
        merged = self._records(
            records["first_us"][groups.starts],
            np.maximum.reduceat(records["last_us"], groups.starts) if groups.count else [],
            inner,
        )
        edges = np.searchsorted(ids[groups.starts], np.arange(runs.count + 1))
        floors = np.asarray(states[-1])
        floors = np.maximum.reduceat(floors, runs.starts) if runs.count else floors
        return self._states(merged, inner, edges, floors)

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        texts: States = tuple(
            field if isinstance(field, pa.Array) else pa.array(field, pa.large_binary())
            for field in states[:-1]
        )
        count = len(texts[0])
        if not count:
            return (*(b"" for _ in texts), NO_FLOOR)
        floors = np.asarray(states[-1], np.int64)
        *merged, (floor,) = self.reduce((*texts, floors), Runs(np.zeros(1, np.int64), count))
        return (*(binary(field)[0].as_py() for field in merged), int(floor))

    def zero(self, count: int) -> States:
        return (*(empty_bytes(count) for _ in self.fields[:-1]), np.full(count, NO_FLOOR))

    def newest(self, states: States) -> NewestRead:
        """The newest session of each of k states."""
        records, inner, counts = self._read(states)
        found = counts > 0
        chosen = (np.cumsum(counts) - 1)[found]
        first_us, last_us = np.zeros(len(counts), np.int64), np.zeros(len(counts), np.int64)
        first_us[found], last_us[found] = records["first_us"][chosen], records["last_us"][chosen]
        # Keys without sessions take a zero, which stands behind all sessions.
        place = np.full(len(counts), len(records))
        place[found] = chosen
        # Added to the floor's side it might overflow: that of none is the least int64.
        cut = found & (first_us - self.gap_us <= np.asarray(states[-1]))
        chosen_states = take(concat((inner, self.inner.zero(1))), place)
        return NewestRead(first_us, last_us, chosen_states, found, cut)

    def pruned(self, states: States, before_us: Int64s) -> States:
        """The states without what no reader is expected to see again.

        `before_us` (k,): no event from before it is expected any more. The newest session stays,
        and those that an event from then on could join.
        """
        records, inner, counts = self._read(states)
        owner = np.repeat(np.arange(len(counts)), counts)
        newest = np.zeros(len(records), bool)
        newest[(np.cumsum(counts) - 1)[counts > 0]] = True
        keep = newest | (records["last_us"] + self.gap_us >= before_us[owner])
        edges = np.concatenate(([0], np.cumsum(np.bincount(owner[keep], minlength=len(counts)))))
        floors = np.array(states[-1])
        np.maximum.at(floors, owner[~keep], records["last_us"][~keep])
        return self._states(records[keep], take(inner, np.flatnonzero(keep)), edges, floors)

    def _read(self, states: States) -> tuple[np.ndarray, States, Int64s]:
        """All sessions of some states, their inner states, and how many each has."""
        offsets, data = buffers_of(binary(states[0]))
        records = np.frombuffer(data[offsets[0] : offsets[-1]].tobytes(), self.record)
        inner: list[Any] = [
            np.ascontiguousarray(records[f"f{n}"]) for n in range(len(self.inner.fields))
        ]
        for number, texts in zip(self._texts, states[1:-1], strict=True):
            begins, content = buffers_of(binary(texts))
            ends = np.concatenate(([0], np.cumsum(inner[number])))
            inner[number] = binary_of(ends, content[begins[0] : begins[-1]].tobytes())
        return records, tuple(inner), np.diff(offsets) // self.record.itemsize

    def _records(self, first_us: Any, last_us: Any, inner: States) -> np.ndarray:
        records = np.empty(len(first_us), self.record)
        records["first_us"], records["last_us"] = first_us, last_us
        for number, column in enumerate(inner):
            is_bytes = number in self._texts
            records[f"f{number}"] = np.diff(buffers_of(binary(column))[0]) if is_bytes else column
        return records

    def _states(self, records: np.ndarray, inner: States, edges: Int64s, floors: Int64s) -> States:
        """Sessions `[edges[i], edges[i + 1])` as state i."""
        states: list[Any] = [binary_of(edges * self.record.itemsize, records.tobytes())]
        for number in self._texts:
            offsets, data = buffers_of(binary(inner[number]))
            content = data[offsets[0] : offsets[-1]].tobytes()
            states.append(binary_of(offsets[edges] - offsets[0], content))
        return (*states, floors)


def _joined(first_us: Int64s, last_us: Int64s, ids: Int64s, gap_us: int) -> Runs:
    """Runs of sessions that are one; they stand in order of `first_us` within their owner `ids`.

    A session joins the one before if it begins at most a gap after the latest end so far.
    """
    size = len(ids)
    if not size:
        return Runs(np.empty(0, np.int64), 0)
    # A running maximum that starts anew with each owner: ends as ranks, lifted above the last.
    ranks = np.empty(size, np.int64)
    by_end = np.argsort(last_us, kind="stable")
    ranks[by_end] = np.arange(size)
    latest = last_us[by_end][np.maximum.accumulate(ranks + ids * size) - ids * size]
    new = np.ones(size, bool)
    new[1:] = (ids[1:] != ids[:-1]) | (first_us[1:] - latest[:-1] > gap_us)
    return Runs(np.flatnonzero(new), size)
