"""Which of some sorted rows are known at each pair's instant, as a few ranges and a few rows.

Without the clock `known` all of them are: one *level* of rows, none of them hidden. With it the
rows of a key become known nearly in the order of their event times, so that at an instant all up to
some row are known and all past some later row are not; only those between are looked at one by
one. A row that more than a handful of later ones overtake (a phone that was off for a day) would
stretch that; so such *stragglers* make a level of their own, and theirs the next, each with more
patience. What a window counts is then a range of each level, and a few *loose* rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from ..algebra import Bools, Int64s, States, concat, merge, take
from ..lifting import expanded, lift_groups, take_order, take_rows
from .need import Need
from .rows import Asked, EventRows
from .states import Slices, lots
from .timeline import Timeline

PATIENCE: Final = 32
"""How many later rows may overtake a row of the first level."""

LOOSE_MAX: Final = 1 << 24
"""Rows between those that a pair knows and those that it does not, of many pairs together."""

_MORE_PATIENCE: Final = 16
"""How many times as many with each further level."""


@dataclass(frozen=True)
class Level:
    """Rows of which each pair knows those before `until`, int64 (q,), whatever else it knows.

    `place` int64 (m,), ascending: where they stand among all rows; None: they are all of them.
    """

    rows: EventRows
    place: Int64s | None
    until: Int64s

    def before(self, position: Int64s) -> Int64s:
        """How many rows of the level stand before a position among all rows."""
        return position if self.place is None else np.searchsorted(self.place, position)

    def positions(self, row: Int64s) -> Int64s:
        """Where rows of the level stand among all rows."""
        return row if self.place is None else self.place[row]

    def known(self, pair: Int64s, lo: Int64s, hi: Int64s) -> tuple[Int64s, Int64s]:
        """The rows of the level that each pair knows of a range of all rows, as a range."""
        begin = self.before(lo)
        return begin, np.maximum(begin, np.minimum(self.before(hi), self.until[pair]))

    def session_begins(self, gap_us: int) -> Int64s:
        """For each row of the level, the first one of its session among them."""
        event_us, key = self.rows.order.event_us, self.rows.key
        begins = np.ones(len(key), bool)
        begins[1:] = (key[1:] != key[:-1]) | (event_us[1:] - event_us[:-1] > gap_us)
        return np.maximum.accumulate(np.where(begins, np.arange(len(key)), 0))


@dataclass(frozen=True)
class Visible:
    """The rows that each of q pairs knows. `rows` are all rows; `levels` may be of some of them.

    `loose` int64 (e,): positions of further rows that are known, ascending for each pair; those of
    pair i are `[edges[i], edges[i + 1])`.

    Ranges are of positions among all rows; `pair` says whose each is. All of shape (r,).
    """

    rows: EventRows
    levels: tuple[Level, ...]
    loose: Int64s
    edges: Int64s

    @cached_property
    def _placed(self) -> Int64s:
        """The loose rows as one ascending column of (pair, position)."""
        owner = np.repeat(np.arange(len(self.edges) - 1), np.diff(self.edges))
        return owner * (len(self.rows) + 1) + self.loose

    def _loose(self, pair: Int64s, lo: Int64s, hi: Int64s) -> tuple[Int64s, Int64s]:
        """The loose rows in each range, as ranges of them."""
        if not len(self.loose):
            return np.zeros(len(pair), np.int64), np.zeros(len(pair), np.int64)
        base = pair * (len(self.rows) + 1)
        begin = np.searchsorted(self._placed, base + lo)
        return begin, np.maximum(begin, np.searchsorted(self._placed, base + hi))

    def count(self, pair: Int64s, lo: Int64s, hi: Int64s) -> Int64s:
        """How many rows of each range are known."""
        begin, end = self._loose(pair, lo, hi)
        found = end - begin
        for level in self.levels:
            begin, end = level.known(pair, lo, hi)
            found = found + (end - begin)
        return found

    def last(self, pair: Int64s, lo: Int64s, hi: Int64s) -> Int64s:
        """The position of the last known row of each range; -1 where there is none."""
        found = np.full(len(pair), -1)
        for level in self.levels:
            begin, end = level.known(pair, lo, hi)
            some = np.flatnonzero(begin < end)
            found[some] = np.maximum(found[some], level.positions(end[some] - 1))
        begin, end = self._loose(pair, lo, hi)
        some = np.flatnonzero(begin < end)
        found[some] = np.maximum(found[some], self.loose[end[some] - 1])
        return found

    def newest(self, pair: Int64s, lo: Int64s, hi: Int64s, count: int) -> Int64s:
        """Where the last `count` known rows of each range begin, or all if they are fewer.

        That is the position of the first of them, and `hi` where there are none.
        """
        if len(self.levels) == 1 and not len(self.loose):
            (level,) = self.levels
            begin, end = level.known(pair, lo, hi)
            first = np.maximum(begin, end - count)
            some = np.flatnonzero(first < end)
            found = np.array(hi)
            found[some] = level.positions(first[some])
            return found
        wanted = np.minimum(self.count(pair, lo, hi), count)
        left, right = np.array(lo), np.array(hi)
        active = np.flatnonzero((wanted > 0) & (right - left > 1))
        while len(active):
            middle = (left[active] + right[active]) // 2
            enough = self.count(pair[active], middle, hi[active]) >= wanted[active]
            left[active[enough]], right[active[~enough]] = middle[enough], middle[~enough]
            active = active[right[active] - left[active] > 1]
        return np.where(wanted > 0, left, hi)

    def session(self, pair: Int64s, lo: Int64s, hi: Int64s, gap_us: int) -> Int64s:
        """Where the newest session of known rows in each range begins; `hi` where there is none.

        Each step joins what the session touches of one level. A step a change of level in a
        session, which is one for most.
        """
        event_us = self.rows.order.event_us
        begins = [level.session_begins(gap_us) for level in self.levels]
        first = self.last(pair, lo, hi)
        found = np.where(first >= 0, first, hi)
        active = np.flatnonzero(first >= 0)
        while len(active):
            was = found[active]
            for level, begin_of in zip(self.levels, begins, strict=True):
                least, end = level.known(pair[active], lo[active], found[active])
                some = np.flatnonzero(least < end)
                mine, row = active[some], end[some] - 1
                near = event_us[found[mine]] - level.rows.order.event_us[row] <= gap_us
                joined = np.maximum(begin_of[row[near]], least[some[near]])
                found[mine[near]] = level.positions(joined)
            least, end = self._loose(pair[active], lo[active], found[active])
            some = np.flatnonzero(least < end)
            mine, loose = active[some], self.loose[end[some] - 1]
            near = event_us[found[mine]] - event_us[loose] <= gap_us
            found[mine[near]] = loose[near]
            active = active[found[active] < was]
        return found

    def states(self, needs: Sequence[Need], pair: Int64s, lo: Int64s, hi: Int64s) -> list[States]:
        """The states of the known rows of each range; all `needs` are of one column."""
        states: list[States] = []
        for level in self.levels:
            begin, end = level.known(pair, lo, hi)
            column, order = needs[0].column(level.rows), level.rows.order
            if not states:
                slices = Slices(column, order, begin, end)
                states = [slices.states(need.monoid) for need in needs]
                continue
            some = np.flatnonzero(begin < end)
            slices = Slices(column, order, begin[some], end[some])
            parts = [slices.states(need.monoid) for need in needs]
            states = _merged(needs, states, some, parts)
        begin, end = self._loose(pair, lo, hi)
        some = np.flatnonzero(begin < end)
        if not len(some):
            return states
        _, row = expanded(begin[some], end[some])
        row, whole = self.loose[row], needs[0].column(self.rows)
        column = None if whole is None else take_rows(whole, row)
        order, counts = take_order(self.rows.order, row), (end - begin)[some]
        parts = [lift_groups(need.monoid, column, order, counts) for need in needs]
        return _merged(needs, states, some, parts)

    def plain(self, pair: Int64s, lo: Int64s, hi: Int64s) -> tuple[Int64s, Int64s, Bools]:
        """The known rows of each range as a range of the first level's rows, and whether that is
        all of them."""
        begin, end = self.levels[0].known(pair, lo, hi)
        return begin, end, end - begin == self.count(pair, lo, hi)


def visible_of(rows: EventRows, asked: Asked, place: Int64s | None = None) -> Visible:
    """What each pair knows of sorted rows, or of those at the positions `place` (ascending)."""
    levels = _levels(rows, asked, place)
    return _seen(rows, asked, levels)


def visible_parts(rows: EventRows, asked: Asked) -> Iterator[tuple[int, int, Visible]]:
    """The same for spans `[begin, end)` of consecutive pairs, which are all of them as a rule.

    Rows that become known in an order of their own leave many loose ones: only so many at a time.
    """
    levels = _levels(rows, asked, None)
    sizes = np.sum([ends - level.until for level, ends in levels], axis=0)
    for begin, end in lots(sizes, LOOSE_MAX):
        span = slice(begin, end)
        some = Asked(asked.key[span], asked.at_us[span])
        part = [
            (Level(level.rows, level.place, level.until[span]), ends[span])
            for level, ends in levels
        ]
        yield begin, end, _seen(rows, some, part)


def _seen(rows: EventRows, asked: Asked, levels: Sequence[tuple[Level, Int64s]]) -> Visible:
    """What is known by levels, each with the row from which on a pair knows none."""
    none, edges = np.empty(0, np.int64), np.zeros(len(asked) + 1, np.int64)
    owners, loose = [none], [none]
    for level, ends in levels:
        owner, row = expanded(level.until, ends)
        if level.rows.known_us is None or not len(row):
            continue
        seen = level.rows.known_us[row] < asked.at_us[owner]
        owners.append(owner[seen])
        loose.append(level.positions(row[seen]))
    owner, positions = np.concatenate(owners), np.concatenate(loose)
    order = np.lexsort((positions, owner))
    np.cumsum(np.bincount(owner, minlength=len(asked)), out=edges[1:])
    return Visible(rows, tuple(level for level, _ in levels), positions[order], edges)


def _levels(rows: EventRows, asked: Asked, place: Int64s | None) -> list[tuple[Level, Int64s]]:
    """The levels of the rows at `place`, each with the row from which on a pair knows none."""
    patience, known_us = PATIENCE, rows.known_us
    if known_us is None:
        some = rows if place is None else rows.take(place)
        until = np.full(len(asked), len(some))
        return [(Level(some, place, until), until)]
    levels: list[tuple[Level, Int64s]] = []
    place = np.arange(len(rows)) if place is None else place
    while True:
        assert rows.known_us is not None, (
            "asked only of rows with an instant at which each is known"
        )
        timeline = Timeline.of(rows.key[place], rows.known_us[place])
        packed = timeline.packed
        least = np.minimum.accumulate(packed[::-1])[::-1]
        is_late = np.zeros(len(packed), bool)
        if (packed != least).any():
            is_late = np.searchsorted(least, packed) - 1 - np.arange(len(packed)) > patience
        kept = place[~is_late]
        packed = packed[~is_late]
        some = rows if len(kept) == len(rows) else rows.take(kept)
        until = replace(timeline, packed=np.maximum.accumulate(packed)).before(
            asked.key, asked.at_us
        )
        least = np.minimum.accumulate(packed[::-1])[::-1]
        ends = replace(timeline, packed=least).before(asked.key, asked.at_us)
        whole = None if len(kept) == len(rows) else kept
        levels.append((Level(some, whole, until), np.maximum(until, ends)))
        place = place[is_late]
        if not len(place):
            return levels
        patience *= _MORE_PATIENCE


def _merged(
    needs: Sequence[Need], states: list[States], which: Int64s, parts: list[States]
) -> list[States]:
    """The states with others merged into those at `which`."""
    if not len(which):
        return states
    place = np.arange(len(states[0][0]))
    place[which] = len(place) + np.arange(len(which))
    together = (
        concat((state, merge(need.monoid, take(state, which), part)))
        for need, state, part in zip(needs, states, parts, strict=True)
    )
    return [take(both, place) for both in together]
