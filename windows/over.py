"""Aggregates over windows that are cut by order: `last(n)`, `since(predicate)`, `session(gap)`.

For these the plan keeps other states than the aggregate's own (`windows.rows`,
`windows.sessions`), and the aggregate is *wrapped*: when the window is read, what counts is picked
out of them, and the aggregate finishes as it does anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.types import DataType
from .aggregates.support import scalar_of_one
from .algebra import (
    NOTHING,
    OVERFLOW,
    VALUE,
    Aggregate,
    AggregateAt,
    Bools,
    Codes,
    Column,
    Int64s,
    Order,
    Reading,
    StateNeed,
    States,
    Values,
    finish,
)
from .lifting import lift_groups
from .rows import VALUE_TYPE, NewestRows, RowsRead
from .sessions import NewestRead, Sessions

Wrapped = Aggregate | AggregateAt


@dataclass(frozen=True, slots=True)
class OverRows:
    """An aggregate over the newest rows of a key: its states are lifted when it is read.

    `cap` rows are kept; with `marked` those since the last match, and more of them overflow. Of the
    rows kept the newest `skip` do not count, nor those older than `within_us` before the window's
    end. (Both may be looked at last: what is newer than a row within the span lies in it too.)
    """

    inner: Wrapped
    kind: str | None
    cap: int
    marked: bool = False
    skip: int = 0
    within_us: int | None = None

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def rows(self) -> NewestRows:
        """The rows that are kept; a count of events keeps rows without values."""
        return NewestRows(self.cap, VALUE_TYPE[self.kind or "int"], self.marked)

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        self.inner.needs(self.kind, params)
        return (StateNeed(self.rows, self.kind is not None or self.marked),)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return self.inner.output(input_type, params)

    def finish_at(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Values, Codes]:
        read = self._counting(states, reading)
        inner = _lifted(self.inner, self.kind, params, read.column, read.order, read.counts)
        values, codes = finish(self.inner, inner, params, reading)
        return values, codes_over(codes, read.counts, read.overflowed)

    def counted(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Reading, Bools]:
        """From the oldest row that counts. Too many rows count too, although none can be told."""
        read = self._counting(states, reading)
        some = np.flatnonzero(read.counts)
        start_us = np.array(self._older_us(reading))
        start_us[some] = read.order.event_us[(np.cumsum(read.counts) - read.counts)[some]]
        counts = (read.counts > 0) | read.overflowed
        return Reading(reading.at_us, start_us, reading.end_us), counts

    def _counting(self, states: tuple[States, ...], reading: Reading) -> RowsRead:
        """The rows that count."""
        read = self.rows.rows(states[0])
        if not self.skip and self.within_us is None:
            return read
        owner = np.repeat(np.arange(len(read.counts)), read.counts)
        newer = np.cumsum(read.counts)[owner] - 1 - np.arange(len(owner))
        counts = newer >= self.skip
        counts &= read.order.event_us >= np.asarray(self._older_us(reading))[owner]
        return read.only(counts)

    def _older_us(self, reading: Reading) -> Any:
        """The window's older edge."""
        return reading.start_us if self.within_us is None else reading.end_us - self.within_us

    def finish_one_at(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any], reading: Reading
    ) -> Any:
        return _one(self, states, params, reading)


def codes_over(codes: Codes, counts: Int64s, overflowed: Bools) -> Codes:
    """What finishing said of each value over so many rows, and of those that overflowed."""
    codes = np.where((counts == 0) & (codes == VALUE), NOTHING, codes)
    return np.where(overflowed, OVERFLOW, codes).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class OverSession:
    """An aggregate over the newest session of a key.

    One that reaches down to a session which was dropped overflows: nobody knows how long it is.
    """

    inner: Wrapped
    kind: str | None
    gap_us: int

    @property
    def name(self) -> str:
        return self.inner.name

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return tuple(
            StateNeed(Sessions(self.gap_us, need.monoid), need.takes_input)
            for need in self.inner.needs(self.kind, params)
        )

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return self.inner.output(input_type, params)

    def finish_at(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Values, Codes]:
        newest = [
            Sessions(self.gap_us, need.monoid).newest(mine)
            for need, mine in zip(self.inner.needs(self.kind, params), states, strict=True)
        ]
        inner = tuple(one.inner for one in newest)
        values, codes = finish(self.inner, inner, params, _session_bounds(newest[0], reading))
        return values, np.where(newest[0].cut, OVERFLOW, codes).astype(np.uint8)

    def counted(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Reading, Bools]:
        """From the first event of the newest session to just after its last."""
        # Where a session's events lie does not depend on what is kept of them.
        sessions = Sessions(self.gap_us, self.inner.needs(self.kind, params)[0].monoid)
        newest = sessions.newest(states[0])
        return _session_bounds(newest, reading), newest.found

    def finish_one_at(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any], reading: Reading
    ) -> Any:
        return _one(self, states, params, reading)


def _session_bounds(newest: NewestRead, reading: Reading) -> Reading:
    """From the first event of the newest session to just after its last."""
    return Reading(
        reading.at_us,
        np.where(newest.found, newest.first_us, reading.start_us),
        np.where(newest.found, newest.last_us + 1, reading.end_us),
    )


def _lifted(
    aggregate: Wrapped,
    kind: str | None,
    params: Mapping[str, Any],
    column: Column,
    order: Order,
    counts: np.ndarray,
) -> tuple[States, ...]:
    """The aggregate's states over runs of rows, some of which may have none."""
    return tuple(
        lift_groups(need.monoid, column if need.takes_input else None, order, counts)
        for need in aggregate.needs(kind, params)
    )


def _one(
    aggregate: OverRows | OverSession,
    states: tuple[tuple[Any, ...], ...],
    params: Mapping[str, Any],
    reading: Reading,
) -> Any:
    """One key by way of columns: what is picked from rows and sessions is picked there only."""
    at = Reading(*(np.array([one]) for one in (reading.at_us, reading.start_us, reading.end_us)))
    return scalar_of_one(aggregate.finish_at(tuple(map(_columns_of_one, states)), params, at))


def _columns_of_one(state: tuple[Any, ...]) -> States:
    """A state as columns of length 1."""
    return tuple(
        pa.array([field], pa.large_binary())
        if isinstance(field, bytes)
        else np.array([field], np.int64)
        for field in state
    )
