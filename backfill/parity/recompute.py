"""The values of a build's features at (key, instant) pairs, by how much of history is to count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from ...connectors.rfc3339 import format_instant
from ...engine.plan import Build
from ...schemas.outcomes import Status
from ...schemas.types import DataType
from ...windows.algebra import Bools, Int64s
from ...windows.instants import Asked, EventRows, values_at
from ...windows.shape import WindowedFeature
from .events import Events

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Values:
    """One feature at q pairs: plain values, names of statuses, and the bounds that counted.

    `start_us`, `end_us` int64 (q,).
    """

    values: list[Any]
    statuses: list[str]
    start_us: Int64s
    end_us: Int64s


def of_all(
    build: Build,
    features: Sequence[WindowedFeature],
    events: Events,
    asked: Asked,
    counted: Bools,
) -> list[Values]:
    """The features at each pair, over the events that are `counted` (bool, one each)."""
    chosen = np.flatnonzero(counted)
    rows = events.as_keys(chosen, events.rows.key[chosen])
    return _values(build, features, rows, asked)


def of_known(
    build: Build, features: Sequence[WindowedFeature], events: Events, asked: Asked, known: Bools
) -> list[Values]:
    """The features at each of q pairs, over folded events that it knew: bool (q, n)."""
    pair, row = np.nonzero(known & events.folded)
    rows = events.as_keys(row, pair)
    return _values(build, features, rows, Asked(np.arange(len(asked)), asked.at_us))


def knowledge(events: Events, asked: Asked, ends: Sequence[dict[int, int]]) -> Bools:
    """Which events of its key each of q pairs knew, bool (q, n).

    `ends` says for each pair, by ordinal, below which offsets events had been applied.
    """
    known = np.zeros((len(asked), len(events.rows)), np.bool_)
    ordinals, place = np.unique(events.rows.order.ordinal, return_inverse=True)
    offset = events.rows.order.offset
    for pair, applied in enumerate(ends):
        below = np.array([applied.get(int(one), 0) for one in ordinals], np.int64)
        mine = events.rows.key == asked.key[pair]
        known[pair] = mine & (offset < below[place]) if len(below) else mine
    return known


def _values(
    build: Build, features: Sequence[WindowedFeature], rows: EventRows, asked: Asked
) -> list[Values]:
    found = values_at(build.shape, rows, asked, features)
    return [
        Values(
            [plain(value, feature.output) for value in one.values.to_pylist()],
            [Status(number).name for number in one.statuses.tolist()],
            one.start_us,
            one.end_us,
        )
        for feature, one in zip(features, found, strict=True)
    ]


def plain(value: Any, dtype: DataType) -> Any:
    """A value as both sides have it: instants as text, maps as dicts.

    >>> from tegula.schemas.types import Timestamp, list_of
    >>> plain([datetime(2024, 5, 1, tzinfo=UTC)], list_of(Timestamp))
    ['2024-05-01T00:00:00Z']
    """
    if value is None:
        return None
    if dtype.item is not None:
        item = dtype.item
        if dtype.kind == "map":
            entries = value.items() if isinstance(value, dict) else value
            return {name: plain(one, item) for name, one in entries}
        return [plain(one, item) for one in value]
    if isinstance(value, datetime):
        return format_instant((value.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1))
    return value
