"""Which rows a feature counts at each pair, and what is finished of them.

A window is a range of the sorted rows of a key. One that is cut by order is a shorter range: the
last rows of it, those after the last match, those since the last gap. So what `windows.over` keeps
for such windows while it serves is not needed here: the aggregate itself is finished over the
range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..algebra import Aggregate, AggregateAt, Bools, Int64s, Reading
from ..geometry import Window
from ..over import OverRows, OverSession
from ..shape import Shape, WindowedFeature
from .need import Need
from .rows import Asked
from .timeline import Timeline
from .visible import Visible, visible_of
from .windows import Ranges


@dataclass(frozen=True, slots=True)
class CutBy:
    """A window, and how order cuts it; two that compare equal count the same rows."""

    window: Window
    over: OverRows | OverSession | None = None
    marks: int | None = None

    @staticmethod
    def of(shape: Shape, feature: WindowedFeature) -> CutBy:
        """How the rows of a feature are cut; what it computes of them does not matter."""
        over = feature.aggregate
        if isinstance(over, OverSession):
            return CutBy(feature.window, replace(over, inner=_ANY, kind=None))
        if isinstance(over, OverRows):
            marks = shape.slots[feature.slots[0]].input if over.marked else None
            return CutBy(feature.window, replace(over, inner=_ANY, kind=None), marks)
        return CutBy(feature.window)


_ANY: Any = None
"""Stands for whatever aggregate is taken over a cut."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What counts at q pairs: what is known of the rows `[lo, hi)`, `counts` rows; of shape (q,).

    `start_us`, `end_us`: the bounds that are reported; `read`: those that the aggregate is finished
    with. `overflowed`: more rows would count than are kept; None where that cannot be. `known`: as
    in `Ranges`.
    """

    lo: Int64s
    hi: Int64s
    counts: Int64s
    start_us: Int64s
    end_us: Int64s
    read: tuple[Int64s, Int64s]
    overflowed: Bools | None = None
    known: Bools | None = None

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
        )


def counted(visible: Visible, timeline: Timeline, asked: Asked, cut: CutBy, of: Ranges) -> Counted:
    """What counts of the ranges of a window at q pairs. O(n + q log n)."""
    pair, bounds = np.arange(len(asked)), (of.start_us, of.end_us)
    if isinstance(cut.over, OverSession):
        return _session(visible, pair, cut.over.gap_us, of)
    if cut.over is None:
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


@dataclass(frozen=True, slots=True)
class Task:
    """What is finished for a feature: an aggregate over states of the rows that count."""

    feature: WindowedFeature
    cut: CutBy
    aggregate: Aggregate | AggregateAt
    needs: tuple[Need, ...]

    @property
    def params(self) -> Mapping[str, Any]:
        """Those of the feature."""
        return self.feature.params


def task_of(shape: Shape, feature: WindowedFeature) -> Task:
    """What is finished for a feature of `shape`."""
    over, slots = feature.aggregate, [shape.slots[slot] for slot in feature.slots]
    cut = CutBy.of(shape, feature)
    if not isinstance(over, OverRows | OverSession):
        return Task(feature, cut, over, tuple(Need(s.monoid, s.input) for s in slots))
    inputs = [slot.input for slot in slots]
    wanted = over.inner.needs(over.kind, feature.params)
    if isinstance(over, OverRows):
        inputs = inputs * len(wanted)
    needs = tuple(
        Need(need.monoid, number if need.takes_input else None, cut.marks is not None)
        for need, number in zip(wanted, inputs, strict=True)
    )
    return Task(feature, cut, over.inner, needs)
