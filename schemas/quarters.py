"""Civil periods in zones that are known only when a key is read: to the quarter of an hour.

Tables of `zones.periods` hold three centuries and rest on the grid of their zone. Neither can be
had for a zone that some event may name: there are six hundred of them, and tiles are kept before
it is known which. So here edges lie on *quarters of an hour*, whatever the zone: one between them
is moved back to the quarter before. Since 1980 all edges of all zones lie on quarters as they are.
And a table holds a year and what its windows may reach back to, so that it is made in a millisecond
when somebody asks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from .civil import FIRST_YEAR, LAST_YEAR, Periods, local_starts
from .time import DAY_US, HOUR_US, MINUTE_US
from .zones import clock_between, is_zone

QUARTER_US: Final = 15 * MINUTE_US

BLOCK_US: Final = 366 * DAY_US
"""Instants of one block (counted from 1970) share a table."""

_DAYS: Final = {"day": 1, "week": 7, "month": 31, "year": 366}
_TWO_DAYS: Final = {"day": 2, "week": 14, "month": 62, "year": 731}
_SHIFT_US: Final = 12 * HOUR_US
"""By how much clocks may be set back within a window."""

_TABLES_MAX: Final = 4_096
"""Tables that are remembered; one of days takes 3 kB, of years next to nothing."""


def longest_us(unit: str, count: int) -> int:
    """How long one period, or two in a row, may be: their greatest number of days and 12 hours.

    No zone has had longer ones since 1970 (tested). One day of 1969 was longer in Kwajalein, which
    went to the other side of the date line: there a window without an end near enough has no zone.
    """
    return (_DAYS if count == 1 else _TWO_DAYS)[unit] * DAY_US + _SHIFT_US


def periods_about(unit: str, zone: str, at_us: int) -> Periods | None:
    """The civil periods about an instant, by the clocks of the zone; None if there is no such zone.

    They reach at least two periods back from the instant and one on, within 1900 to 2199.
    """
    return _periods(unit, zone, at_us // BLOCK_US) if is_zone(zone) else None


@lru_cache(_TABLES_MAX)
def _periods(unit: str, zone: str, block: int) -> Periods:
    span_days = _DAYS[unit]
    first_day = block * BLOCK_US // DAY_US - 2 * span_days - 3
    last_day = (block + 1) * BLOCK_US // DAY_US + span_days + 3
    first = max(np.datetime64(first_day, "D"), np.datetime64(f"{FIRST_YEAR}-01-01"))
    last = min(np.datetime64(last_day, "D"), np.datetime64(f"{LAST_YEAR}-01-01"))
    starts_us = np.zeros(1, np.int64)  # one edge ends no period: outside of the years, nothing
    if first <= last:
        clock = clock_between(zone, int(first.astype(int)) - 2, int(last.astype(int)) + 2)
        starts_us = clock.first_shows(local_starts(unit, first, last))
    starts_us = np.unique(starts_us - starts_us % QUARTER_US)
    return Periods(unit, zone, QUARTER_US, f"{block}", starts_us)
