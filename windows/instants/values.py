"""Every feature at many pairs of key and instant.

The same numbers as serving gives at these instants, from events instead of tiles: windows, order,
nulls, defaults and statuses are the code's that serves. There are no tiles here that an instant
could cut, so no value is `COARSE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ..algebra import NULL, OVERFLOW, Bools, Cut, Int64s, Reading, States, finish
from ..finish import statuses_of
from ..ladder import EVER_START_US
from ..lifting import lift_groups, take_order, take_rows
from ..series import expand, status_of
from ..shape import Shape, WindowedFeature
from ..tiles import NEVER_US
from .arrow import interleaved, to_arrow, with_nulls
from .rows import Asked, EventRows, total_order
from .timeline import Timeline
from .windows import Ranges, ranges_of, rows_of

ROWS_MAX: Final = 1 << 22
"""Rows that are taken apart at a time, over all windows; a single pair may have more."""


@dataclass(frozen=True, slots=True)
class FeatureValues:
    """One feature at q pairs of key and instant, in the order in which they were asked.

    `values`: an Arrow array of the feature's type (`DataType.arrow`), null where there is none, the
    feature's default where it has one. `statuses` uint8 (q,) of `Status`. `start_us`, `end_us`
    int64 (q,): the bounds that were counted. `newest_us` int64 (q,): the newest event time in the
    window, `NEVER_US` where it is empty. Of a series all but the values are those of the whole.
    """

    values: pa.Array
    statuses: np.ndarray
    start_us: Int64s
    end_us: Int64s
    newest_us: Int64s

    def __len__(self) -> int:
        return len(self.statuses)


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
    flat, places = expand(shape.features if features is None else features)
    order = np.lexsort((asked.at_us, asked.key))
    rows, asked = rows.take(total_order(rows)), asked.take(order)
    timeline = Timeline.of(rows.key, rows.order.event_us)
    columns = _columns(shape, rows, timeline, asked, flat)
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    columns = [_taken(column, back) for column in columns]
    return [
        _listed(columns[place], feature) if isinstance(place, slice) else columns[place]
        for place, feature in zip(places, features or shape.features, strict=True)
    ]


def _columns(
    shape: Shape,
    rows: EventRows,
    timeline: Timeline,
    asked: Asked,
    flat: Sequence[WindowedFeature],
) -> list[FeatureValues]:
    """All features of sorted rows and pairs."""
    windows = dict.fromkeys(feature.window for feature in flat)
    ranges = {window: ranges_of(shape, rows, timeline, asked, window) for window in windows}
    found = _found(shape, rows, timeline, asked)
    parts: list[list[FeatureValues]] = [[] for _ in flat]
    for begin, end in _lots(ranges.values(), len(asked)):
        span = slice(begin, end)
        some = Asked(asked.key[span], asked.at_us[span])
        for window, whole in ranges.items():
            mine = Ranges(
                whole.lo[span],
                whole.hi[span],
                whole.start_us[span],
                whole.end_us[span],
                None if whole.known is None else whole.known[span],
            )
            places = [place for place, feature in enumerate(flat) if feature.window == window]
            finished = _of_window(shape, rows, some, mine, [flat[p] for p in places], found[span])
            for place, column in zip(places, finished, strict=True):
                parts[place].append(column)
    return [_joined(columns) for columns in parts]


def _lots(ranges: Any, size: int) -> Iterator[tuple[int, int]]:
    """Lots of consecutive pairs whose ranges have about `ROWS_MAX` rows together, at least one."""
    upto = np.concatenate(([0], np.cumsum(np.sum([r.hi - r.lo for r in ranges], axis=0))))
    begin = 0
    while True:
        end = int(np.searchsorted(upto, upto[begin] + ROWS_MAX, side="right")) - 1
        end = min(max(end, begin + 1), size)
        yield begin, end
        begin = end
        if end == size:
            return


def _of_window(
    shape: Shape,
    rows: EventRows,
    asked: Asked,
    ranges: Ranges,
    features: Sequence[WindowedFeature],
    found: Bools,
) -> list[FeatureValues]:
    """The features of one window."""
    row, counts = rows_of(rows, asked, ranges.lo, ranges.hi)
    order = take_order(rows.order, row)
    states: dict[int, States] = {}
    for number in sorted({slot for feature in features for slot in feature.slots}):
        slot = shape.slots[number]
        column = None if slot.input is None else take_rows(rows.inputs[slot.input], row)
        states[number] = lift_groups(slot.monoid, column, order, counts)
    newest_us = np.full(len(asked), NEVER_US)
    some = np.flatnonzero(counts)
    newest_us[some] = order.event_us[np.cumsum(counts)[some] - 1]
    return [
        _finished(
            feature,
            tuple(states[slot] for slot in feature.slots),
            Reading(asked.at_us, ranges.start_us, ranges.end_us),
            counts == 0,
            found,
            ranges.known,
            newest_us,
        )
        for feature in features
    ]


def _finished(
    feature: WindowedFeature,
    states: tuple[States, ...],
    reading: Reading,
    is_empty: Bools,
    found: Bools,
    known: Bools | None,
    newest_us: Int64s,
) -> FeatureValues:
    values, kinds = finish(feature.aggregate, states, feature.params, reading)
    if isinstance(feature.aggregate, Cut):
        reading, counts = feature.aggregate.counted(states, feature.params, reading)
        is_empty = is_empty | ~counts
    exact = np.zeros(len(kinds), bool)
    statuses = statuses_of(kinds, is_empty, found, exact, known)
    column = to_arrow(values, feature.output)
    column = with_nulls(column, kinds == NULL, feature.default)
    unsaid = kinds == OVERFLOW
    if known is not None:
        unsaid = unsaid | (~known & found)
    column = with_nulls(column, unsaid)
    return FeatureValues(column, statuses, reading.start_us, reading.end_us, newest_us)


def _found(shape: Shape, rows: EventRows, timeline: Timeline, asked: Asked) -> Bools:
    """Whether each key has an event within retention before its instant."""
    oldest_us = np.full(len(asked), EVER_START_US)
    if shape.retention_us is not None:
        oldest_us = asked.at_us - shape.retention_us
    lo = timeline.before(asked.key, oldest_us)
    hi = timeline.before(asked.key, asked.at_us)
    if rows.known_us is None:
        return np.asarray(lo < hi)
    return np.asarray(rows_of(rows, asked, lo, hi)[1] > 0)


def _joined(parts: Sequence[FeatureValues]) -> FeatureValues:
    """The columns of all parts, one after the other; at least one."""
    if len(parts) == 1:
        return parts[0]
    return FeatureValues(
        pa.concat_arrays([part.values for part in parts]),
        np.concatenate([part.statuses for part in parts]),
        np.concatenate([part.start_us for part in parts]),
        np.concatenate([part.end_us for part in parts]),
        np.concatenate([part.newest_us for part in parts]),
    )


def _taken(column: FeatureValues, pairs: Int64s) -> FeatureValues:
    """The values of the pairs at `pairs`."""
    return FeatureValues(
        column.values.take(pa.array(pairs)),
        column.statuses[pairs],
        column.start_us[pairs],
        column.end_us[pairs],
        column.newest_us[pairs],
    )


def _listed(columns: Sequence[FeatureValues], feature: WindowedFeature) -> FeatureValues:
    """The columns of a series, newest window first, as one column of lists."""
    return FeatureValues(
        interleaved([one.values for one in columns], feature.output),
        status_of(np.stack([one.statuses for one in columns])),
        np.min([one.start_us for one in columns], axis=0),
        np.max([one.end_us for one in columns], axis=0),
        np.max([one.newest_us for one in columns], axis=0),
    )
