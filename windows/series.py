"""Features whose value is a list: one hidden feature for each window of a series.

Finishing knows single values only. A feature over a series is *expanded* before it: into as many
features as the series has windows, which share its states. What they come to is put together
again, newest window first. Both ways of reading, by columns and key by key, do it alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ..schemas.outcomes import Status
from .geometry import Series
from .shape import WindowedFeature

_WEIGHT: Final = (
    Status.NOT_FOUND,
    Status.EMPTY,
    Status.STALE,
    Status.PRESENT,
    Status.COARSE,
    Status.OVERFLOW,
    Status.NO_ZONE,
    Status.BEFORE_HISTORY,
    Status.ERROR,
)
"""Statuses by what they say of a list: one value is enough to be present, or to be coarse."""
_RANK: Final = np.array([_WEIGHT.index(status) for status in Status])
_OF_RANK: Final = np.array(_WEIGHT, dtype=np.uint8)


def expand(
    features: Sequence[WindowedFeature],
) -> tuple[tuple[WindowedFeature, ...], tuple[int | slice, ...]]:
    """The features that are finished, and where among them the values of each given one are.

    A place is an index for a plain value and a slice for a list.
    """
    flat: list[WindowedFeature] = []
    places: list[int | slice] = []
    for feature in features:
        window, begin = feature.window, len(flat)
        if isinstance(window, Series):
            flat += [replace(feature, window=one) for one in window.windows]
            places.append(slice(begin, len(flat)))
        else:
            flat.append(feature)
            places.append(begin)
    return tuple(flat), tuple(places)


def status_of(statuses: np.ndarray) -> np.ndarray:
    """The status of each list, of shape (k,), from those of its n values, of shape (n, k).

    >>> several = np.array([[Status.EMPTY], [Status.PRESENT], [Status.EMPTY]])
    >>> Status(status_of(several)[0]).name
    'PRESENT'
    """
    found: np.ndarray = _OF_RANK[_RANK[statuses].max(axis=0)]
    return found
