"""Calendar windows of which each key has a time zone of its own: the one that its events name.

Where such a window begins is known only when a key is read. First the zone is finished like any
aggregate: the last value, in the total order, before the instant. Then the edges are those of that
zone's calendar, and the tiles between them count. Both come from the same tiles, so what serving
answers, a replay and a training set find again.

A name that is no zone leaves the key without one; an edge is never guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from ..schemas.civil import Periods
from ..schemas.quarters import QUARTER_US, longest_us
from .geometry import Calendar, Instants
from .ladder import EVER_START_US, rung_dividing

PeriodsAbout: TypeAlias = Callable[[str, str, int], Periods | None]
"""Of unit, zone and instant: the periods about it, the same within a block; None of no zone."""


@dataclass(frozen=True, slots=True)
class ZonedCalendar:
    """`Calendar` by the clocks of each key's own zone, whose name is the state of `zone_slot`.

    `later_us` is 1 where events at the instant count, else 0.
    """

    unit: str
    current: bool
    later_us: int
    zone_slot: int
    periods_about: PeriodsAbout = field(compare=False, repr=False)

    @property
    def grain(self) -> int:
        return rung_dividing(QUARTER_US)

    @property
    def reach_us(self) -> int | None:
        return longest_us(self.unit, 1 if self.current else 2) - 1 - self.later_us

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        """The interval that holds those of every zone; `calendar` has those of one."""
        return at_us - (self.reach_us or 0), self.until(at_us)

    def until(self, at_us: Instants) -> Instants:
        """Events before it count, and the newest of them names the zone."""
        return at_us + self.later_us

    def calendar(self, zone: str, until_us: int) -> Calendar | None:
        """The window in that zone, for instants of the same block; None if there is no such zone.

        Its bounds are those at `until`.
        """
        table = self.periods_about(self.unit, zone, until_us)
        return None if table is None else Calendar(table, self.current)

    def bounds_in(self, zone: str, at_us: int) -> tuple[int, int] | None:
        """`(start_us, end_us)` by the clocks of a zone; None if it is none that can be read."""
        until_us = self.until(at_us)
        calendar = self.calendar(zone, until_us)
        if calendar is None:
            return None
        start_us, end_us = calendar.bounds(until_us)
        if EVER_START_US < start_us < at_us - (self.reach_us or 0):
            return None  # tiles are not kept fine for so long
        return start_us, end_us
