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
from .counted import Task, counted, task_of
from .finished import FeatureValues, finished, joined, listed
from .rows import Asked, EventRows, in_order
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
    wanted = shape.features if features is None else features
    flat, places = expand(wanted)
    order = np.lexsort((asked.at_us, asked.key))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    columns = _columns(shape, in_order(rows), asked.take(order), flat)
    columns = [column.take(back) for column in columns]
    return [
        listed(columns[place], feature.output) if isinstance(place, slice) else columns[place]
        for place, feature in zip(places, wanted, strict=True)
    ]


def _columns(
    shape: Shape, rows: EventRows, asked: Asked, flat: Sequence[WindowedFeature]
) -> list[FeatureValues]:
    """All features of sorted rows and pairs."""
    timeline = Timeline.of(rows.key, rows.order.event_us)
    tasks = [task_of(shape, feature) for feature in flat]
    parts = [
        _part(shape, visible, timeline, Asked(asked.key[begin:end], asked.at_us[begin:end]), tasks)
        for begin, end, visible in visible_parts(rows, asked)
    ]
    return (
        parts[0] if len(parts) == 1 else [joined(columns) for columns in zip(*parts, strict=True)]
    )


def _part(
    shape: Shape, visible: Visible, timeline: Timeline, asked: Asked, tasks: Sequence[Task]
) -> list[FeatureValues]:
    """All features of some of the pairs."""
    windows = dict.fromkeys(task.cut.window for task in tasks)
    ranges = {window: ranges_of(shape, visible, timeline, asked, window) for window in windows}
    cuts = {
        cut: counted(visible, timeline, asked, cut, ranges[cut.window])
        for cut in dict.fromkeys(task.cut for task in tasks)
    }
    return finished(visible, asked, tasks, cuts, ranges, _found(shape, visible, timeline, asked))


def _found(shape: Shape, visible: Visible, timeline: Timeline, asked: Asked) -> Bools:
    """Whether each key has a known event within retention before its instant."""
    oldest_us: Int64s = np.full(len(asked), EVER_START_US)
    if shape.retention_us is not None:
        oldest_us = asked.at_us - shape.retention_us
    lo = timeline.before(asked.key, oldest_us)
    hi = timeline.before(asked.key, asked.at_us)
    return np.asarray(visible.count(np.arange(len(asked)), lo, np.maximum(lo, hi)) > 0)
