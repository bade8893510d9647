"""Which rows a cut window counts at each pair."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..algebra import Bools, Int64s, Reading, States
from ..over import OverRows
from .carried import NOTHING, Before, Carried
from .need import Need
from .rows import Asked
from .tasks import CutBy
from .timeline import Timeline
from .visible import Visible, visible_of
from .windows import Ranges


@dataclass(frozen=True, slots=True)
class Counted:
    """What counts at q pairs: what is known of the rows `[lo, hi)`, `counts` rows; of shape (q,).

    `start_us`, `end_us`: the bounds that are reported; `read`: those that the aggregate is finished
    with. `overflowed`: more rows would count than are kept; None where that cannot be. `known`: as
    in `Ranges`. `before`: what counts besides, which `counts` has in it; None: nothing does.
    """

    lo: Int64s
    hi: Int64s
    counts: Int64s
    start_us: Int64s
    end_us: Int64s
    read: tuple[Int64s, Int64s]
    overflowed: Bools | None = None
    known: Bools | None = None
    before: Before | None = None

    def reading(self, at_us: Int64s) -> Reading:
        """When and over which bounds an aggregate is finished."""
        return Reading(at_us, *self.read)

    def take(self, pair: Int64s) -> Counted:
        """The same of the pairs at `pair`."""
        return Counted(
            self.lo[pair],
            self.hi[pair],
            self.counts[pair],
            self.start_us[pair],
            self.end_us[pair],
            (self.read[0][pair], self.read[1][pair]),
            None if self.overflowed is None else self.overflowed[pair],
            None if self.known is None else self.known[pair],
            None if self.before is None else self.before.take(pair),
        )

    def whole(self, need: Need, states: States) -> States:
        """The states of all that counts, from those of the rows."""
        return states if self.before is None else self.before.added(need, states)

    @property
    def is_rows(self) -> Bools:
        """At which pairs nothing counts but the rows."""
        if self.before is None:
            return np.ones(len(self.lo), bool)
        is_rows: Bools = self.before.key == NOTHING
        return is_rows


def counted(
    visible: Visible,
    timeline: Timeline,
    asked: Asked,
    cut: CutBy,
    of: Ranges,
    carried: Carried | None = None,
) -> Counted:
    """What counts of the ranges of a window at q pairs. O(n + q log n).

    With something `carried`, rows that are in there do not count once more.
    """
    if carried is not None and cut.is_whole:
        return _after(visible, timeline, asked, cut, of, carried)
    pair, bounds = np.arange(len(asked)), (of.start_us, of.end_us)
    if cut.gap_us is not None:
        return _session(visible, pair, cut.gap_us, of)
    if not isinstance(cut.over, OverRows):
        counts = visible.count(pair, of.lo, of.hi)
        return Counted(of.lo, of.hi, counts, *bounds, bounds, known=of.known)
    over, lo, hi, older_us, overflowed = cut.over, of.lo, of.hi, of.start_us, None
    if over.within_us is not None:
        older_us = of.end_us - over.within_us
        lo = np.minimum(hi, np.maximum(lo, timeline.before(asked.key, older_us)))
    if cut.marks is not None:
        lo = _after_match(visible, asked, cut.marks, lo, hi)
        overflowed = visible.count(pair, lo, hi) > over.cap
    lo = visible.newest(pair, lo, hi, over.cap)
    if over.skip:
        hi = np.maximum(lo, visible.newest(pair, lo, hi, over.skip))
    counts = visible.count(pair, lo, hi)
    start_us = np.array(older_us)
    some = np.flatnonzero(counts)
    start_us[some] = visible.rows.order.event_us[lo[some]]
    return Counted(lo, hi, counts, start_us, of.end_us, bounds, overflowed)


def _after_match(visible: Visible, asked: Asked, marks: int, lo: Int64s, hi: Int64s) -> Int64s:
    """Where what follows the last known match in each range begins; where none is, the range."""
    matches = visible.rows.inputs[marks].beside
    of_matches = visible_of(visible.rows, asked, np.flatnonzero(np.asarray(matches)))
    return np.maximum(lo, of_matches.last(np.arange(len(asked)), lo, hi) + 1)


def _session(visible: Visible, pair: Int64s, gap_us: int, of: Ranges) -> Counted:
    """The newest session in each range."""
    event_us = visible.rows.order.event_us
    lo = visible.session(pair, of.lo, of.hi, gap_us)
    counts = visible.count(pair, lo, of.hi)
    some = np.flatnonzero(counts)
    start_us, end_us = np.array(of.start_us), np.array(of.end_us)
    start_us[some] = event_us[lo[some]]
    end_us[some] = event_us[visible.last(pair, lo, of.hi)[some]] + 1
    return Counted(lo, of.hi, counts, start_us, end_us, (start_us, end_us))


def _after(
    visible: Visible, timeline: Timeline, asked: Asked, cut: CutBy, of: Ranges, carried: Carried
) -> Counted:
    """What counts of the rows after those that are carried, and these too."""
    pair, key = np.arange(len(asked)), carried.numbers(asked.key)
    lo = np.minimum(of.hi, np.maximum(of.lo, timeline.before(asked.key, carried.until_us[key])))
    after = replace(of, lo=lo)
    if cut.gap_us is None:
        found = counted(visible, timeline, asked, cut, after)
        before = Before(carried.states, None, key)
        return replace(found, counts=found.counts + carried.counts[key], before=before)
    found = _session(visible, pair, cut.gap_us, after)
    is_first = visible.count(pair, lo, found.lo) == 0
    has, newest_us = found.counts > 0, carried.newest_us[key]
    first_us = np.where(has, found.start_us, newest_us)
    joined = is_first & carried.joins(key, first_us, cut.gap_us)
    newest = carried.sessions[cut.gap_us]
    start_us = np.where(joined, newest.first_us[key], found.start_us)
    end_us = np.where(joined & ~has, newest_us + 1, found.end_us)
    return Counted(
        found.lo,
        found.hi,
        found.counts + np.where(joined, newest.counts[key], 0),
        start_us,
        end_us,
        (start_us, end_us),
        before=Before(carried.states, cut.gap_us, np.where(joined, key, NOTHING)),
    )
