"""Civil days as tiles, for calendar windows that reach far back.

A civil day is the union of the tiles between two midnights of a zone, and weeks, months and years
of that zone are unions of civil days. So what no other window's edge can reach any more is kept as
one tile a day. Such tiles are cut by the days of UTC, and cut them: a view has civil days of one
zone, that of the calendar for which it saves most, and they are formed only past the reach of all
other windows.

A tile carries its own length (`ladder.CIVIL`). Under another release of the time zone database its
ends may be no midnights any more; then an edge cuts it, which is seen, and the answer is coarse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..schemas.civil import Periods
from ..schemas.time import DAY_US, MINUTE_US
from .algebra import Bools, Int64s
from .geometry import Calendar, IncludingInstant, Newest, Window
from .ladder import CIVIL, CIVIL_QUARTERS_MAX

_QUARTER_US = 15 * MINUTE_US
_GAIN_US = 2 * DAY_US
"""Calendars that reach no further than this past all other windows stay with hours."""


@dataclass(frozen=True, slots=True)
class CivilDays:
    """The days of a zone that may be tiles, once they end `distance_us` before the horizon.

    `starts_us` int64 (n,), ascending: where each day begins and the one before ends. `rungs` uint8
    (n - 1,): that of each day's tile, 0 where it cannot be one.
    """

    zone: str
    distance_us: int
    starts_us: Int64s = field(compare=False, repr=False)
    rungs: np.ndarray = field(compare=False, repr=False)

    def coarsened(
        self, start_us: Int64s, end_us: Int64s, horizon_us: Int64s
    ) -> tuple[Bools, Int64s, np.ndarray]:
        """Which tiles become part of a day, and start and rung of that day; all of shape (n,).

        Where none, start and rung mean nothing.
        """
        day = np.searchsorted(self.starts_us, start_us, side="right") - 1
        is_known = (day >= 0) & (day < len(self.rungs))
        day = np.where(is_known, day, 0)
        until_us, rung = self.starts_us[day + 1], self.rungs[day]
        fits = is_known & (rung > 0) & (end_us <= until_us)
        return fits & (until_us + self.distance_us <= horizon_us), self.starts_us[day], rung


def calendar_of(window: Window) -> Calendar | None:
    """The window as a calendar by a zone's name, with or without the instant; else None."""
    plain = window.window if isinstance(window, IncludingInstant) else window
    return plain if isinstance(plain, Calendar) else None


def civil_days(windows: Iterable[Window]) -> CivilDays | None:
    """The days that tiles of some windows may be; None if that would save nothing.

    It is the days of the zone whose calendars reach furthest beyond all other windows.
    """
    found = {window: calendar_of(window) for window in windows}
    tables = {one.days.zone: one.days for one in found.values() if one is not None and one.days}
    gains = []
    for zone, days in sorted(tables.items()):
        mine = [window for window, one in found.items() if one is not None and one.days == days]
        others = [window for window in found if window not in mine]
        reach_us = max(_reach_us(window) for window in mine)
        distance_us = max(map(_reach_us, others), default=0)
        if reach_us - distance_us > _GAIN_US and days.grid_us < DAY_US:
            gains.append((reach_us - distance_us, zone, distance_us, mine))
    if not gains:
        return None
    _, zone, distance_us, mine = max(gains, key=lambda gain: gain[:2])
    days = tables[zone]
    edges = [one.periods for window in mine if (one := found[window]) is not None]
    return CivilDays(zone, distance_us, days.starts_us, _rungs(days, edges))


def _reach_us(window: Window) -> int:
    """How far before the horizon an edge of the window may lie; 0 where there is none."""
    edge_us = DAY_US if isinstance(window, Newest) else 0  # it goes back to a beginning of a day
    return 0 if window.reach_us is None else window.reach_us + edge_us


def _rungs(days: Periods, edges: Iterable[Periods]) -> np.ndarray:
    """The rung of each day's tile; 0 where its length is odd, or a longer period begins inside."""
    length_us = np.diff(days.starts_us)
    quarters = length_us // _QUARTER_US
    whole = (length_us % _QUARTER_US == 0) & (quarters <= CIVIL_QUARTERS_MAX)
    for table in edges:
        inside = table.starts_us[~np.isin(table.starts_us, days.starts_us)]
        place = np.searchsorted(days.starts_us, inside, side="right") - 1
        whole[place[(place >= 0) & (place < len(whole))]] = False
    return np.where(whole, CIVIL + quarters, 0).astype(np.uint8)
