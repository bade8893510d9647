"""Every feature at many pairs of key and instant.

The same numbers as serving gives at these instants, from events instead of tiles: windows, order,
nulls, defaults and statuses are the code's that serves. There are no tiles here that an instant
could cut, so no value is `COARSE`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..algebra import Bools, Int64s
from ..ladder import EVER_START_US
from ..series import expand
from ..shape import Shape, WindowedFeature
from .carried import Carried
from .counted import counted
from .finished import FeatureValues, finished, joined, listed
from .rows import Asked, EventRows, in_order
from .tasks import Task, task_of
from .timeline import Timeline
from .visible import Visible, visible_parts
from .windows import ranges_of


def values_at(
    shape: Shape,
    rows: EventRows,
    asked: Asked,
    features: Sequence[WindowedFeature] | None = None,
) -> list[FeatureValues]:
    """The features (default: all of `shape`) of every pair of `asked`, as `rows` tell them.

    Equal to what serving answers at these instants, had it the same rows: bit for bit, sums of
    floats within the bound that their aggregates state. Where `rows` have a `known_us`, a row
    counts only at instants after it.

    O((n + q) log n) for n rows and q pairs, a few columns of them in memory.
    """
    return values_of(shape, in_order(rows), asked, shape.features if features is None else features)


def values_of(
    shape: Shape,
    rows: EventRows,
    asked: Asked,
    features: Sequence[WindowedFeature],
    carried: Carried | None = None,
) -> list[FeatureValues]:
    """The same of sorted rows; with something carried, as those after it and some before tell."""
    flat, places = expand(features)
    order = np.lexsort((asked.at_us, asked.key))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    columns = _columns(shape, rows, asked.take(order), flat, carried)
    columns = [column.take(back) for column in columns]
    return [
        listed(columns[place], feature.output) if isinstance(place, slice) else columns[place]
        for place, feature in zip(places, features, strict=True)
    ]


def _columns(
    shape: Shape,
    rows: EventRows,
    asked: Asked,
    flat: Sequence[WindowedFeature],
    carried: Carried | None,
) -> list[FeatureValues]:
    """All features of sorted rows and pairs."""
    timeline = Timeline.of(rows.key, rows.order.event_us)
    tasks = [task_of(shape, feature) for feature in flat]
    parts = [
        _part(shape, visible, timeline, asked.take(np.arange(begin, end)), tasks, carried)
        for begin, end, visible in visible_parts(rows, asked)
    ]
    return (
        parts[0] if len(parts) == 1 else [joined(columns) for columns in zip(*parts, strict=True)]
    )


def _part(
    shape: Shape,
    visible: Visible,
    timeline: Timeline,
    asked: Asked,
    tasks: Sequence[Task],
    carried: Carried | None,
) -> list[FeatureValues]:
    """All features of some of the pairs."""
    windows = dict.fromkeys(task.cut.window for task in tasks)
    ranges = {
        window: ranges_of(shape, visible, timeline, asked, window, carried) for window in windows
    }
    cuts = {
        cut: counted(visible, timeline, asked, cut, ranges[cut.window], carried)
        for cut in dict.fromkeys(task.cut for task in tasks)
    }
    found = _found(shape, visible, timeline, asked, carried)
    return finished(visible, asked, tasks, cuts, ranges, found)


def _found(
    shape: Shape, visible: Visible, timeline: Timeline, asked: Asked, carried: Carried | None
) -> Bools:
    """Whether each key has a known event within retention before its instant."""
    oldest_us: Int64s = np.full(len(asked), EVER_START_US)
    if shape.retention_us is not None:
        oldest_us = asked.at_us - shape.retention_us
    lo = timeline.before(asked.key, oldest_us)
    hi = timeline.before(asked.key, asked.at_us)
    found: Bools = visible.count(np.arange(len(asked)), lo, np.maximum(lo, hi)) > 0
    if carried is not None:
        key = carried.numbers(asked.key)
        found |= (carried.counts[key] > 0) & (carried.newest_us[key] >= oldest_us)
    return found
