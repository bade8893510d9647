"""What one span of time hands on to the next, where the rows of keys are looked at in turns.

A bounded window needs only rows that it reaches. One without bound counts all that came before, so
that is *carried*: for each key how many rows there were, the newest event time, and the states of
what will be asked; of sessions those of the newest one. What is carried is a prefix of each key's
rows in the total order, all of which were known when the turn began that reads it: a row that was
not keeps itself and all later ones of its key from being carried.

A window that order cuts to some newest rows is no prefix. It needs rows, and these are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from ...schemas.time import DAY_US
from ..algebra import Bools, Int64s, States, concat, merge, take
from ..ladder import EVER_START_US
from ..shape import Shape
from ..tiles import NEVER_US
from ..zoned import ZonedCalendar
from .need import Need
from .rows import EventRows
from .states import Slices
from .tasks import CutBy, Task
from .timeline import Timeline

NOTHING: Final = -1
"""The number of a key of which nothing is carried: the last entry of every column."""

Kept: TypeAlias = Mapping[tuple[Need, int | None], States]
"""States a key: of all its rows, or of those of its newest session by a gap in µs."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest session of each key: its first event time, and how many rows it has."""

    first_us: Int64s
    counts: Int64s


@dataclass(frozen=True, slots=True)
class Carried:
    """What was before `until_us` of each of k keys; every column has one more entry, of no rows.

    `counts` int64 (k + 1,) rows, the newest at `newest_us` (`NEVER_US` if there are none);
    `sessions` by their gaps.
    """

    until_us: Int64s
    counts: Int64s
    newest_us: Int64s
    states: Kept
    sessions: Mapping[int, Newest]

    @staticmethod
    def of_nothing(wanted: Iterable[tuple[Need, int | None]], keys: int) -> Carried:
        """Before the first turn."""
        none = np.zeros(keys + 1, np.int64)
        states = {one: take(one[0].monoid.zero(1), none) for one in wanted}
        sessions = {gap_us: Newest(none, none) for _, gap_us in states if gap_us is not None}
        until_us, newest_us = np.full(keys + 1, EVER_START_US), np.full(keys + 1, NEVER_US)
        return Carried(until_us, none, newest_us, states, sessions)

    def numbers(self, key: Int64s) -> Int64s:
        """The places of keys in the columns; a key that no row has is at the last one."""
        return np.where((key >= 0) & (key < len(self.counts)), key, NOTHING)

    def joins(self, key: Int64s, first_us: Int64s, gap_us: int) -> Bools:
        """Whether rows that begin at `first_us` go on with the newest session of their keys."""
        some = np.flatnonzero(self.counts[key] > 0)
        joined = np.zeros(len(key), bool)
        joined[some] = first_us[some] - self.newest_us[key[some]] <= gap_us
        return joined


@dataclass(frozen=True, slots=True)
class Before:
    """Of which key's carried states, if any, each of q pairs counts."""

    states: Kept
    gap_us: int | None
    key: Int64s

    def take(self, pair: Int64s) -> Before:
        """The same of the pairs at `pair`."""
        return Before(self.states, self.gap_us, self.key[pair])

    def added(self, need: Need, states: States) -> States:
        """`states` (q,), each with what is carried."""
        some = np.flatnonzero(self.key != NOTHING)
        if not len(some):
            return states
        carried = take(self.states[need, self.gap_us], self.key[some])
        if len(some) == len(self.key):
            return merge(need.monoid, carried, states)
        place = np.arange(len(self.key))
        place[some] = len(place) + np.arange(len(some))
        together = merge(need.monoid, carried, take(states, some))
        return take(concat((states, together)), place)


def wanted(shape: Shape, tasks: Sequence[Task]) -> list[tuple[Need, int | None]]:
    """Which states the tasks read of all that was before."""
    found: dict[tuple[Need, int | None], None] = {}
    for task in tasks:
        window = task.cut.window
        if isinstance(window, ZonedCalendar):
            slot = shape.slots[window.zone_slot]
            found[Need(slot.monoid, slot.input), None] = None
        if task.cut.is_whole:
            found |= {(need, task.cut.gap_us): None for need in task.needs}
    return list(found)


def advanced(carried: Carried, rows: EventRows, timeline: Timeline, until_us: int) -> Carried:
    """What is carried to instants from `until_us` on, from all rows before. O(n + k log n) for n
    sorted rows, of which some may be carried already."""
    every, event_us = np.arange(len(carried.counts)), rows.order.event_us
    reached_us = np.full(len(every), until_us)
    if rows.known_us is not None:
        waits = np.flatnonzero(rows.known_us >= until_us)
        np.minimum.at(reached_us, rows.key[waits], event_us[waits])
    lo = timeline.before(every, carried.until_us)
    hi: Int64s = np.maximum(lo, timeline.before(every, reached_us))
    newest_us, some = np.array(carried.newest_us), np.flatnonzero(lo < hi)
    newest_us[some] = event_us[hi[some] - 1]
    sessions = {gap_us: _session(carried, rows, lo, hi, gap_us) for gap_us in carried.sessions}
    states: dict[tuple[Need, int | None], States] = {}
    for need, gap_us in carried.states:
        begin, goes_on = (lo, every) if gap_us is None else sessions[gap_us][1:]
        more = Slices(need.column(rows), rows.order, begin, hi).states(need.monoid)
        states[need, gap_us] = Before(carried.states, gap_us, goes_on).added(need, more)
    newest = {gap_us: one[0] for gap_us, one in sessions.items()}
    return Carried(reached_us, carried.counts + (hi - lo), newest_us, states, newest)


def _session(
    carried: Carried, rows: EventRows, lo: Int64s, hi: Int64s, gap_us: int
) -> tuple[Newest, Int64s, Int64s]:
    """The newest session of each key with the rows `[lo, hi)`: where it begins among these, and
    the number of the key where it goes on with the one before."""
    event_us, every, before = rows.order.event_us, np.arange(len(lo)), carried.sessions[gap_us]
    breaks = np.ones(len(rows), bool)
    breaks[1:] = (rows.key[1:] != rows.key[:-1]) | (event_us[1:] - event_us[:-1] > gap_us)
    begins = np.maximum.accumulate(np.where(breaks, np.arange(len(rows)), 0))
    begin, goes_on, first_us = np.array(lo), lo == hi, np.array(before.first_us)
    some = np.flatnonzero(lo < hi)
    begin[some] = np.maximum(lo[some], begins[hi[some] - 1])
    # Only of the first of these rows can that be true.
    goes_on[some] = carried.joins(some, event_us[begin[some]], gap_us)
    new = np.flatnonzero(~goes_on)
    first_us[new] = event_us[begin[new]]
    counts = np.where(goes_on, before.counts, 0) + (hi - begin)
    return Newest(first_us, counts), begin, np.where(goes_on, every, NOTHING)


def kept(
    carried: Carried, rows: EventRows, timeline: Timeline, cuts: Sequence[CutBy], until_us: int
) -> Bools:
    """Which sorted rows instants from `until_us` on may still look at: the last ones of each key.

    `carried` is what is carried there.
    """
    every = np.arange(len(carried.counts))
    begin = upto = timeline.before(every, carried.until_us)
    reaches = [cut.window.reach_us for cut in cuts]
    reach_us = max((one for one in reaches if one is not None), default=None)
    if reach_us is not None:
        # A day more: windows of days cut by order are reported with an older edge than they reach.
        edge_us = np.full(len(every), until_us - reach_us - DAY_US)
        begin = np.minimum(begin, timeline.before(every, edge_us))
    newest = max((cut.newest for cut in cuts if cut.newest is not None), default=None)
    if newest is not None:
        first = timeline.before(every, np.full(len(every), EVER_START_US))
        begin = np.minimum(begin, np.maximum(first, upto - newest))
    found: Bools = np.arange(len(rows)) >= begin.take(rows.key)
    return found
