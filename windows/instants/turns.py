"""Values span after span of time, so that not all rows of a key have to be there at once.

Each *turn* has the rows of one span of event time, those before it that were kept, and the pairs
whose instants lie in the span. Its values are those of all rows together: what windows without
bound have to know of earlier ones is carried (`carried`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..algebra import Int64s
from ..series import expand
from ..shape import Shape, WindowedFeature
from .carried import Carried, advanced, kept, wanted
from .finished import FeatureValues
from .rows import Asked, EventRows, ordered
from .tasks import task_of
from .timeline import Timeline
from .values import values_of


@dataclass(frozen=True, slots=True)
class Turn:
    """The values of one span, and what the next one needs: what is carried, and which of the rows.

    `kept` int64: places among the rows that were given, ascending.
    """

    values: list[FeatureValues]
    carried: Carried
    kept: Int64s


def turn_of(
    shape: Shape,
    rows: EventRows,
    asked: Asked,
    features: Sequence[WindowedFeature],
    before: Carried | int,
    until_us: int | None,
) -> Turn:
    """The features of `asked`, whose instants lie before `until_us` and not before the last turn's.

    `rows` are those kept by the last turn and all between its `until_us` and this one, in any
    order. `before` is what that carried; for the first turn, how many keys there are: all numbers
    of keys lie below. `until_us` is None for the last turn, which hands on nothing.

    The same values as `values_at` gives from all rows: bit for bit, sums of floats within the bound
    that their aggregates state. O((n + q + k) log n) for n rows, q pairs and k keys.
    """
    tasks = [task_of(shape, feature) for feature in expand(features)[0]]
    if isinstance(before, int):
        before = Carried.of_nothing(wanted(shape, tasks), before)
    order, mine = ordered(rows)
    values = values_of(shape, mine, asked, features, before)
    if until_us is None:
        return Turn(values, before, np.empty(0, np.int64))
    timeline = Timeline.of(mine.key, mine.order.event_us)
    carried = advanced(before, mine, timeline, until_us)
    keeps = kept(carried, mine, timeline, [task.cut for task in tasks], until_us)
    return Turn(values, carried, np.sort(order[keeps]))
