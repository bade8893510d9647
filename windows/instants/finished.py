"""From the rows that count to finished columns.

States of a fixed size are computed for all pairs at a time, each once however many features read
it. States of bytes may be large, so they are computed, finished and forgotten for a lot of pairs at
a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from ...schemas.types import DataType
from ..aggregates.distinct import ApproxDistinct
from ..algebra import NULL, OVERFLOW, VALUE, Bools, Codes, Int64s, States, Values, finish, take
from ..finish import statuses_of
from ..geometry import Window
from ..over import OverRows, codes_over
from ..series import status_of
from ..tiles import NEVER_US
from .arrow import interleaved, to_arrow, with_nulls
from .counted import Counted
from .distinct import distinct
from .need import Need
from .rows import Asked
from .states import LONG, ROWS_MAX, is_small, lots
from .tasks import CutBy, Task
from .visible import Visible
from .windows import Ranges

PAIRS_MAX: Final = 1 << 15
"""Pairs whose states of bytes are held at a time."""

Small: TypeAlias = Mapping[tuple[Need, CutBy], States]


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

    def take(self, pairs: Int64s) -> FeatureValues:
        """The values of the pairs at `pairs` (int64)."""
        return FeatureValues(
            self.values.take(pa.array(pairs)),
            self.statuses[pairs],
            self.start_us[pairs],
            self.end_us[pairs],
            self.newest_us[pairs],
        )


def finished(
    visible: Visible,
    asked: Asked,
    tasks: Sequence[Task],
    cuts: Mapping[CutBy, Counted],
    ranges: Mapping[Window, Ranges],
    found: Bools,
) -> list[FeatureValues]:
    """The column of every task; `found` as in `finish.statuses_of`."""
    small = _small(visible, tasks, cuts)
    newest_us = {window: _newest_us(visible, of) for window, of in ranges.items()}
    columns = []
    for task in tasks:
        of = cuts[task.cut]
        values, codes = _values(visible, asked, task, of, small)
        columns.append(_judged(task, of, values, codes, found, newest_us[task.cut.window]))
    return columns


def joined(parts: Sequence[FeatureValues]) -> FeatureValues:
    """The values of all parts, one part after the other; at least one."""
    return FeatureValues(
        pa.concat_arrays([part.values for part in parts]),
        np.concatenate([part.statuses for part in parts]),
        np.concatenate([part.start_us for part in parts]),
        np.concatenate([part.end_us for part in parts]),
        np.concatenate([part.newest_us for part in parts]),
    )


def listed(columns: Sequence[FeatureValues], item: DataType) -> FeatureValues:
    """The columns of a series, newest window first, as one column of lists of `item`."""
    return FeatureValues(
        interleaved([one.values for one in columns], item),
        status_of(np.stack([one.statuses for one in columns])),
        np.min([one.start_us for one in columns], axis=0),
        np.max([one.end_us for one in columns], axis=0),
        np.max([one.newest_us for one in columns], axis=0),
    )


def _small(visible: Visible, tasks: Iterable[Task], cuts: Mapping[CutBy, Counted]) -> Small:
    """All states of a fixed size; each monoid sees its column once, whatever the windows."""
    wanted: dict[Need, dict[CutBy, None]] = {}
    for task in tasks:
        for need in task.needs:
            if is_small(need.monoid):
                wanted.setdefault(need, {})[task.cut] = None
    alike: dict[tuple[Any, ...], list[Need]] = {}
    for need, of in wanted.items():
        alike.setdefault((need.input, need.alone, tuple(of)), []).append(need)
    states: dict[tuple[Need, CutBy], States] = {}
    for (_, _, of), needs in alike.items():
        lo = np.concatenate([cuts[cut].lo for cut in of])
        hi = np.concatenate([cuts[cut].hi for cut in of])
        size = len(lo) // len(of)
        found = visible.states(needs, np.tile(np.arange(size), len(of)), lo, hi)
        for need, together in zip(needs, found, strict=True):
            for number, cut in enumerate(of):
                span = slice(number * size, (number + 1) * size)
                of_rows = tuple(field[span] for field in together)
                states[need, cut] = cuts[cut].whole(need, of_rows)
    return states


def _values(
    visible: Visible, asked: Asked, task: Task, of: Counted, small: Small
) -> tuple[pa.Array, Codes]:
    """The finished values of a task, as Arrow, and what finishing said of each."""
    if all(is_small(need.monoid) for need in task.needs):
        states = tuple(small[need, task.cut] for need in task.needs)
        return _as_arrow(task, finish(task.aggregate, states, task.params, of.reading(asked.at_us)))
    pair = np.arange(len(asked))
    if not isinstance(task.aggregate, ApproxDistinct):
        return _in_lots(visible, asked, task, of, pair, small)
    # Counting is quicker than making states; it wants all rows of a pair in one range.
    begin, end, is_plain = visible.plain(pair, of.lo, of.hi)
    is_plain = is_plain & of.is_rows
    column = task.needs[0].column(visible.levels[0].rows)
    assert column is not None, "different values are those of a column"
    numbers = distinct(column, np.where(is_plain, begin, 0), np.where(is_plain, end, 0))
    others = np.flatnonzero(~is_plain)
    if len(others):
        counted, _ = _in_lots(visible, asked, task, of, others, small)
        numbers[others] = counted.to_numpy()
    return to_arrow(numbers, task.feature.output), np.full(len(numbers), VALUE, np.uint8)


def _in_lots(
    visible: Visible, asked: Asked, task: Task, of: Counted, pair: Int64s, small: Small
) -> tuple[pa.Array, Codes]:
    """The values of the pairs at `pair`, by states of which some are bytes."""
    parts = []
    for begin, end in lots(np.minimum(of.counts[pair], LONG), ROWS_MAX, PAIRS_MAX):
        mine = pair[begin:end]
        lot = of.take(mine)
        states = tuple(
            take(small[need, task.cut], mine)
            if is_small(need.monoid)
            else lot.whole(need, visible.states([need], mine, lot.lo, lot.hi)[0])
            for need in task.needs
        )
        reading = lot.reading(asked.at_us[mine])
        parts.append(_as_arrow(task, finish(task.aggregate, states, task.params, reading)))
    values, codes = zip(*parts, strict=True)
    return pa.concat_arrays(values), np.concatenate(codes)


def _as_arrow(task: Task, done: tuple[Values, Codes]) -> tuple[pa.Array, Codes]:
    return to_arrow(done[0], task.feature.output), done[1]


def _judged(
    task: Task, of: Counted, values: pa.Array, codes: Codes, found: Bools, newest_us: Int64s
) -> FeatureValues:
    """The values with their statuses; nothing and defaults where these belong."""
    exact = np.zeros(len(codes), bool)
    if isinstance(task.cut.over, OverRows):
        overflowed = exact if of.overflowed is None else of.overflowed
        codes = codes_over(codes, of.counts, overflowed)
    statuses = statuses_of(codes, of.counts == 0, found, exact, of.known)
    values = with_nulls(values, codes == NULL, task.feature.default)
    unsaid = codes == OVERFLOW
    if of.known is not None:
        unsaid = unsaid | (~of.known & found)
    return FeatureValues(with_nulls(values, unsaid), statuses, of.start_us, of.end_us, newest_us)


def _newest_us(visible: Visible, of: Ranges) -> Int64s:
    """The newest known event time in each range."""
    newest_us = np.full(len(of.lo), NEVER_US)
    last = visible.last(np.arange(len(of.lo)), of.lo, of.hi)
    some = np.flatnonzero(last >= 0)
    newest_us[some] = visible.rows.order.event_us[last[some]]
    return newest_us if of.newest_us is None else np.maximum(newest_us, of.newest_us)
