"""The rungs that a tile may have.

A *tile* covers `[start, start + width)` of event time; its width is one of a few *rungs*, each a
multiple of the finer one, so that a coarse tile is exactly a union of finer ones. A rung is kept
as its number (one byte in a stored tile); its width is looked up here and nowhere else.

The numbers are part of the stored format: they are never reused for another width.
"""

from __future__ import annotations

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

RUNG_US: Final[tuple[int, ...]] = (1, SECOND_US, MINUTE_US, 5 * MINUTE_US, HOUR_US, DAY_US)
"""Width in µs of the rungs `INSTANT` to `DAY`."""

EVER_START_US: Final = -(2**63)
"""Start of the *ever* tile: before every event."""

WIDTH_US: Final = np.array([*RUNG_US, 0], dtype=np.int64)
"""Width in µs by rung number, for arrays of rungs; 0 for `EVER`, whose end is not a multiple."""


def rung_dividing(span_us: int) -> int:
    """The coarsest rung whose width divides `span_us`: edges on that grid never cut its tiles.

    >>> rung_dividing(90 * 60 * 1_000_000) == FIVE_MINUTES
    True
    >>> rung_dividing(1_500_000) == INSTANT
    True
    """
    return max(rung for rung, width_us in enumerate(RUNG_US) if span_us % width_us == 0)


def automatic_resolution_us(length_us: int) -> int:
    """The resolution of a sliding window that names none: the coarsest rung ≤ a 24th of its length.

    The older edge then overshoots by at most 4.2 % of the length.

    >>> [automatic_resolution_us(h * HOUR_US) // SECOND_US for h in (1, 24, 720)]
    [60, 3600, 86400]
    """
    return max(width_us for width_us in RUNG_US if width_us == 1 or width_us * 24 <= length_us)
