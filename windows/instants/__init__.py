"""The values of features at many (key, instant) pairs, from the events themselves.

Serving reads tiles; a training set has no use for them: it asks once, at many instants of the past.
So here events are sorted by key and total order, a window at an instant is a range of rows, and the
aggregates' own states of ranges are finished as they are when they are served.

* `values`: the way in, `values_at`
* `rows`: what goes in, and in which order it is kept
* `timeline`: where in it an instant of a key is
* `tasks`: what is finished for a feature, and how order cuts its window
* `windows`, `counted`: which rows a window counts at each pair, also where order cuts it
* `visible`: which of them were known by then
* `states`: the states of ranges of rows, by `prefixes`, `picks`, or for any monoid by `dyadic`
* `distinct`: how many different values ranges have, without states
* `finished`, `arrow`: values with their statuses, in the type of their feature
* `turns`, `carried`: the same where not all rows are there at once
"""

from __future__ import annotations

from .carried import Carried
from .finished import FeatureValues, joined
from .rows import Asked, EventRows
from .turns import Turn, turn_of
from .values import values_at

__all__ = [
    "Asked",
    "Carried",
    "EventRows",
    "FeatureValues",
    "Turn",
    "joined",
    "turn_of",
    "values_at",
]
