"""The values of features at many (key, instant) pairs, from the events themselves.

Serving reads tiles; a training set has no use for them: it asks once, at many instants of the past.
So here events are sorted by key and total order, a window at an instant is a range of rows, and the
aggregates' own states of ranges are finished as they are when they are served.

* `rows`: what goes in, and in which order it is kept
* `timeline`: where in it an instant of a key is
* `windows`: which rows a window counts at each pair
* `values`: the way in, `values_at`
* `arrow`: finished values in the type of their feature
"""

from __future__ import annotations

from .rows import Asked, EventRows
from .values import FeatureValues, values_at

__all__ = ["Asked", "EventRows", "FeatureValues", "values_at"]
