"""Civil periods: when days, weeks, months and years begin by the clocks of a time zone.

A period begins at the first instant at which the local clock shows its first midnight *or later*:

* where midnight does not exist (clocks jump from 23:59 to 01:00), at the jump;
* where clocks are set back over midnight, when they show it first; the day before is not resumed;
* where a whole day is left out (Samoa had no 30 December 2011), that day does not exist.

So days last 23 to 25 hours nearly always, and rarely anything from one minute to two days.

Pure arithmetic on what `zones` reads. The table spans 1900 to 2200. From 1970 on it is what the
time zone database says. Before, it is that as far back as it keeps to the grid that the zone has
had since (whole hours mostly); earlier the oldest such offset is held. Else the local mean times
of 1910, which are off by odd seconds, would have us keep every tile at a second today; and of
times before 1970 the database itself promises nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .time import DAY_US

Int64s: TypeAlias = npt.NDArray[np.int64]

UNITS: Final = ("day", "week", "month", "year")
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2200
"""The table's last edge is the beginning of this year (for weeks, of the last week before)."""


@dataclass(frozen=True, slots=True)
class Periods:
    """All civil periods of one unit in one zone.

    `starts_us` int64 (n,), ascending: where each begins and the one before ends; the last edge only
    ends one. `grid_us` divides all of them (and a day). `digest` tells one table from another.
    """

    unit: str
    zone: str
    grid_us: int
    digest: str
    starts_us: Int64s = field(compare=False, repr=False)

    def longest_us(self, count: int) -> int:
        """The greatest length of `count` periods in a row."""
        return int((self.starts_us[count:] - self.starts_us[:-count]).max())


@dataclass(frozen=True, slots=True)
class Clock:
    """What the clocks of a zone show: `offset_us[i]` ahead of UTC from `since_us[i]` on.

    Both int64 (n,); `since_us` is ascending, and its first is before every instant asked for.
    """

    since_us: Int64s
    offset_us: Int64s

    def first_shows(self, local_us: Int64s) -> Int64s:
        """The first instant at which the clock shows each local time (ascending) or a later one.

        >>> hour = 3_600_000_000
        >>> clock = Clock(np.array([-9 * hour, 2 * hour]), np.array([0, hour]))  # at 02:00 it is 03
        >>> (clock.first_shows(np.array([1, 2, 3, 4]) * hour) // hour).tolist()
        [1, 2, 2, 3]
        """
        shown_before_us = np.append(self.since_us[1:] + self.offset_us[:-1], np.iinfo(np.int64).max)
        # Clocks go back, too: what has been shown by the end of each stretch, whenever that was.
        shown_us = np.maximum.accumulate(shown_before_us)
        stretch = np.searchsorted(shown_us, local_us, side="right")
        first_us: Int64s = np.maximum(self.since_us[stretch], local_us - self.offset_us[stretch])
        return first_us


def civil_periods(unit: str, zone: str, clock: Clock) -> Periods:
    """The table of one of `UNITS` by the clock of a zone."""
    first, last = (np.datetime64(f"{year}-01-01") for year in (FIRST_YEAR, LAST_YEAR))
    local_us = local_starts(unit, first, last)
    starts_us = clock.first_shows(local_us)
    grid_us = int(np.gcd.reduce(starts_us[local_us >= 0], initial=DAY_US))
    odd = np.flatnonzero(starts_us % grid_us)
    if len(odd):
        kept = int(odd[-1]) + 1
        starts_us[:kept] = local_us[:kept] + (starts_us[kept] - local_us[kept])
    starts_us = np.unique(starts_us)
    digest = blake2b(starts_us.astype("<i8").tobytes(), digest_size=8).hexdigest()
    return Periods(unit, zone, grid_us, digest, starts_us)


def local_starts(unit: str, first: np.datetime64, last: np.datetime64) -> Int64s:
    """The first midnight of every period that begins on one of two dates (`D`) or between them.

    As µs since 1970 by the local clock.

    >>> week = np.datetime64("2024-05-01"), np.datetime64("2024-05-07")
    >>> (local_starts("week", *week) // DAY_US).tolist()  # Monday, 6 May
    [19849]
    """
    if unit in ("month", "year"):
        grid = f"datetime64[{'M' if unit == 'month' else 'Y'}]"
        dates = np.arange(first.astype(grid), last.astype(grid) + 1).astype("datetime64[D]")
    else:
        dates = np.arange(first, last + 1)
        if unit == "week":
            # 5 January 1970 was a Monday.
            dates = dates[dates.astype(np.int64) % 7 == 4]
    dates = dates[(dates >= first) & (dates <= last)]
    return dates.astype("datetime64[us]").astype(np.int64)
