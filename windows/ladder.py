"""The rungs that a tile may have.

A *tile* covers `[start, start + width)` of event time; its width is one of a few *rungs*, each a
multiple of the finer one, so that a coarse tile is exactly a union of finer ones. A rung is kept
as its number (one byte in a stored tile); its width is looked up here and nowhere else.

The numbers are part of the stored format: they are never reused for another width. So they are no
measure of it (`FIFTEEN_MINUTES` came last): compare widths, or places in `LADDER`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from ..schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US

INSTANT: Final = 0
SECOND: Final = 1
MINUTE: Final = 2
FIVE_MINUTES: Final = 3
HOUR: Final = 4
DAY: Final = 5
EVER: Final = 6
"""The one tile of all that no bounded window needs any more; it starts at `EVER_START_US`."""

FIFTEEN_MINUTES: Final = 7
"""All clocks in use today are whole quarters of an hour from UTC."""

LADDER: Final = (INSTANT, SECOND, MINUTE, FIVE_MINUTES, FIFTEEN_MINUTES, HOUR, DAY)
"""The rungs from fine to coarse, without *ever*."""

CIVIL: Final = 32
"""Rung `CIVIL + q` is q quarters of an hour from any beginning on: a civil day, which may be longer
or shorter than others. (It is in no ladder: see `windows.civil_days`.)"""

CIVIL_QUARTERS_MAX: Final = 191

RUNG_US: Final[tuple[int, ...]] = (
    1,
    SECOND_US,
    MINUTE_US,
    5 * MINUTE_US,
    HOUR_US,
    DAY_US,
    0,
    15 * MINUTE_US,
)
"""Width in µs by rung number; 0 for `EVER`, whose end is not a multiple."""

EVER_START_US: Final = -(2**63)
"""Start of the *ever* tile: before every event."""

WIDTH_US: Final = np.zeros(CIVIL + CIVIL_QUARTERS_MAX + 1, dtype=np.int64)
"""The same, for arrays of rungs, and of civil days too."""

WIDTH_US[: len(RUNG_US)] = RUNG_US
WIDTH_US[CIVIL:] = np.arange(CIVIL_QUARTERS_MAX + 1) * RUNG_US[FIFTEEN_MINUTES]

_AUTOMATIC: Final = (INSTANT, SECOND, MINUTE, FIVE_MINUTES, HOUR, DAY)
"""The rungs that may be a resolution which nobody named; what it is must never change."""


def finest_of(rungs: Iterable[int]) -> int:
    """The finest of some rungs, at least one.

    >>> finest_of([HOUR, FIFTEEN_MINUTES, DAY]) == FIFTEEN_MINUTES
    True
    """
    return min(rungs, key=LADDER.index)


def rung_dividing(span_us: int) -> int:
    """The coarsest rung whose width divides `span_us`: edges on that grid never cut its tiles.

    >>> rung_dividing(90 * 60 * 1_000_000) == FIFTEEN_MINUTES
    True
    >>> rung_dividing(1_500_000) == INSTANT
    True
    """
    return next(rung for rung in reversed(LADDER) if span_us % RUNG_US[rung] == 0)


def automatic_resolution_us(length_us: int) -> int:
    """The resolution of a sliding window that names none: the coarsest of 1 s, 1 m, 5 m, 1 h, 1 d
    that is at most a 24th of its length.

    The older edge then overshoots by at most 4.2 % of the length.

    >>> [automatic_resolution_us(h * HOUR_US) // SECOND_US for h in (1, 24, 720)]
    [60, 3600, 86400]
    """
    widths_us = [RUNG_US[rung] for rung in _AUTOMATIC]
    return max(width_us for width_us in widths_us if width_us == 1 or width_us * 24 <= length_us)
