"""Whether served values are what history says, and if not, why.

A value is held against recomputations that assume less and less: all events under today's
definition; then only those that count; then only those that had been applied when it was served;
then the same under the definition of then. The first that agrees names the cause. One that agrees
with none is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ...connectors.rfc3339 import format_instant
from ...engine.plan import Build
from ...windows.algebra import Bools, Int64s
from ...windows.instants import Asked
from ...windows.shape import WindowedFeature
from ..tilewise import alike
from .events import Events
from .recompute import Values, knowledge, of_all, of_known
from .report import EVENTS_MAX, Difference, Event, Report

_INEXACT: Final = frozenset({"ERROR", "COARSE"})
_STALE: Final = "STALE"
_CELLS_MAX: Final = 50_000_000


@dataclass(frozen=True, slots=True)
class Served:
    """q served values of each of some features, of one view.

    `key` int64 (q,) numbers the keys as `Events` do, `names` are theirs; `at_us`, `served_us` int64
    (q,); `ends` says what had been applied; `values` and `statuses` are by feature.
    """

    key: Int64s
    names: Sequence[Mapping[str, Any]]
    at_us: Int64s
    served_us: Int64s
    ends: Sequence[dict[int, int]]
    trace_ids: list[str]
    values: Mapping[str, list[Any]]
    statuses: Mapping[str, list[str]]

    def take(self, pairs: Int64s) -> Served:
        """Those at `pairs`."""
        places = pairs.tolist()
        return Served(
            self.key[pairs],
            [self.names[p] for p in places],
            self.at_us[pairs],
            self.served_us[pairs],
            [self.ends[p] for p in places],
            [self.trace_ids[p] for p in places],
            {name: [of[p] for p in places] for name, of in self.values.items()},
            {name: [of[p] for p in places] for name, of in self.statuses.items()},
        )

    @property
    def asked(self) -> Asked:
        """The pairs of key and instant."""
        return Asked(self.key, self.at_us)


@dataclass(frozen=True, slots=True)
class Side:
    """One definition of a view: its build, and the events of the keys as it reads them."""

    build: Build
    events: Events

    def feature(self, name: str) -> WindowedFeature | None:
        """The feature of that name, if the definition has it."""
        return next((one for one in self.build.shape.features if one.name == name), None)


def compare(report: Report, served: Served, now: Side, then: Side | None) -> None:
    """Hold served values against today's definition `now`, and `then`, if that was another.

    Counts in `report`, and names what differs.
    """
    for name in served.values:
        feature = now.feature(name)
        if feature is None:
            report.skipped["no longer defined"] += len(served.key)
            continue
        skipped = [status in _INEXACT for status in served.statuses[name]]
        for status, skips in zip(served.statuses[name], skipped, strict=True):
            report.skipped[status] += skips
        kept = served.take(np.flatnonzero(~np.array(skipped, np.bool_)))
        report.compared += len(kept.key)
        if len(kept.key):
            _feature(report, kept, feature, now, then)


def _feature(
    report: Report, served: Served, feature: WindowedFeature, now: Side, then: Side | None
) -> None:
    name = feature.name
    events = now.events
    (truth,) = of_all(now.build, [feature], events, served.asked, events.original)
    equal = _same(served, name, truth)
    exact = sum(one == two for one, two in zip(served.values[name], truth.values, strict=True))
    report.floats += max(0, int(equal.sum()) - exact)
    differ = np.flatnonzero(~equal)
    lot = max(1, _CELLS_MAX // max(1, len(events.rows)))
    for begin in range(0, len(differ), lot):
        pairs = differ[begin : begin + lot]
        for difference in _explained(served.take(pairs), feature, now, then, _at(truth, pairs)):
            report.blame(difference)


def _explained(
    served: Served, feature: WindowedFeature, now: Side, then: Side | None, truth: Values
) -> Iterator[Difference]:
    """The differences of some pairs, each with its cause."""
    name, asked = feature.name, served.asked
    known = knowledge(now.events, asked, served.ends)
    (counted,) = of_all(now.build, [feature], now.events, asked, now.events.folded)
    (as_known,) = of_known(now.build, [feature], now.events, asked, known)
    expired, in_time = _same(served, name, counted), _same(served, name, as_known)
    redefined = _redefined(served, name, then)
    for pair in range(len(served.key)):
        made = _between(now.events, served, pair, truth)
        if expired[pair]:
            cause, rows = "expired", made & ~now.events.folded
        elif in_time[pair]:
            rows = made & now.events.folded & ~known[pair]
            came = now.events.log_us[rows] >= served.served_us[pair]
            cause = "late" if came.any() or not rows.any() else "lag"
        else:
            cause, rows = ("definition" if redefined[pair] else "unexplained"), made
        yield Difference(
            cause=cause,
            feature=f"{now.build.view}:{name}",
            key=served.names[pair],
            at=format_instant(int(served.at_us[pair])),
            served=served.values[name][pair],
            served_status=served.statuses[name][pair],
            recomputed=truth.values[pair],
            recomputed_status=truth.statuses[pair],
            trace_id=served.trace_ids[pair],
            build=now.build.id,
            events=_events(now.events, np.flatnonzero(rows)),
        )


def _redefined(served: Served, name: str, then: Side | None) -> Bools:
    """Which pairs agree with the definition under which they were served."""
    feature = None if then is None else then.feature(name)
    if then is None or feature is None:
        return np.zeros(len(served.key), np.bool_)
    events, asked = then.events, served.asked
    known = knowledge(events, asked, served.ends)
    (as_known,) = of_known(then.build, [feature], events, asked, known)
    return _same(served, name, as_known)


def _same(served: Served, name: str, values: Values) -> Bools:
    """Which served values and statuses are these, but for the last digits of floats."""
    pairs = zip(
        served.values[name], served.statuses[name], values.values, values.statuses, strict=True
    )
    return np.array(
        [alike(value, other) and status in (one, _STALE) for value, status, other, one in pairs],
        np.bool_,
    )


def _at(values: Values, pairs: Int64s) -> Values:
    return Values(
        [values.values[p] for p in pairs.tolist()],
        [values.statuses[p] for p in pairs.tolist()],
        values.start_us[pairs],
        values.end_us[pairs],
    )


def _between(events: Events, served: Served, pair: int, values: Values) -> Bools:
    """The events of a pair's key that lie within the bounds that were counted."""
    event_us = events.rows.order.event_us
    inside = (event_us >= values.start_us[pair]) & (event_us < values.end_us[pair])
    chosen: Bools = inside & (events.rows.key == served.key[pair]) & events.original
    return chosen


def _events(events: Events, rows: Int64s) -> tuple[Event, ...]:
    """The newest of these events."""
    order = events.rows.order
    newest = rows[np.argsort(order.event_us[rows], kind="stable")][-EVENTS_MAX:]
    return tuple(
        Event(
            events.partitions[int(order.ordinal[row])],
            int(order.offset[row]),
            format_instant(int(order.event_us[row])),
            format_instant(int(events.log_us[row])),
        )
        for row in newest.tolist()
    )
