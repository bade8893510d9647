"""Which event times a window counts at an instant.

Every window is pure integer geometry: `bounds(at)` gives the half-open interval `[start, end)` of
event times that count at the instant `at`. All of it works on one instant (an `int`) and on many
(an int64 array) alike. Instants are µs since the epoch, UTC; floor goes toward minus infinity.

Beside its bounds a window tells the two facts that the keeping of tiles rests on:

* its *grain*, the coarsest rung that its edges can never cut (other than at the instant itself);
* its *reach*, how far before the instant it may read, at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Protocol, TypeVar

import numpy as np

from ..schemas.civil import Periods
from ..schemas.time import DAY_US
from .ladder import DAY, EVER_START_US, INSTANT, finest_of, rung_dividing

Instants = TypeVar("Instants", int, np.ndarray)


class Window(Protocol):
    """The geometry of one kind of window."""

    @property
    def grain(self) -> int:
        """Number of the coarsest rung whose tiles this window's own edges never cut."""
        ...

    @property
    def reach_us(self) -> int | None:
        """Distance from the instant back to the oldest event counted; None if unbounded."""
        ...

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        """`(start_us, end_us)` of the event times that count at `at_us`."""
        ...


@dataclass(frozen=True, slots=True)
class Sliding:
    """`[floor(t - length, resolution), t)`: the last `length_us`, its older edge on a grid.

    With an offset `[floor(t - offset - length, resolution), floor(t - offset, resolution))`.

    >>> Sliding(length_us=3_600, resolution_us=60).bounds(7_230)
    (3600, 7230)
    >>> Sliding(length_us=3_600, resolution_us=60, offset_us=1_000).bounds(7_230)
    (2580, 6180)
    """

    length_us: int
    resolution_us: int
    offset_us: int = 0

    @property
    def grain(self) -> int:
        return INSTANT if self.resolution_us == 1 else rung_dividing(self.resolution_us)

    @property
    def reach_us(self) -> int | None:
        return self.offset_us + self.length_us + self.resolution_us - 1

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        newer = at_us - self.offset_us
        older = newer - self.length_us
        start_us = older - older % self.resolution_us
        return start_us, newer - newer % self.resolution_us if self.offset_us else at_us


@dataclass(frozen=True, slots=True)
class Tumbling:
    """The last complete aligned window `[e - size, e)`, or the one that is running at the instant.

    >>> Tumbling(size_us=100, current=False).bounds(250), Tumbling(100, current=True).bounds(250)
    ((100, 200), (200, 250))
    """

    size_us: int
    current: bool = False

    @property
    def grain(self) -> int:
        return rung_dividing(self.size_us)

    @property
    def reach_us(self) -> int | None:
        return self.size_us if self.current else 2 * self.size_us

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        edge = at_us - at_us % self.size_us
        return (edge, at_us) if self.current else (edge - self.size_us, edge)


@dataclass(frozen=True, slots=True)
class Hopping:
    """The window `[e - size, e)` that ended at the last hop e, or the one that ends at the next.

    `size_us` is at least `hop_us`; it need not be a multiple.

    >>> Hopping(size_us=250, hop_us=100).bounds(450), Hopping(250, 100, current=True).bounds(450)
    ((150, 400), (250, 450))
    """

    size_us: int
    hop_us: int
    current: bool = False

    @property
    def grain(self) -> int:
        return rung_dividing(gcd(self.size_us, self.hop_us))

    @property
    def reach_us(self) -> int | None:
        return self.size_us + (0 if self.current else self.hop_us) - 1

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        edge = at_us - at_us % self.hop_us
        if self.current:
            return edge + self.hop_us - self.size_us, at_us
        return edge - self.size_us, edge


@dataclass(frozen=True, slots=True)
class Calendar:
    """The civil period that is running at the instant, or the last complete one.

    Outside of the years that the table of periods spans, it is empty. `days` are the civil days of
    its zone, where tiles may be such days.
    """

    periods: Periods
    current: bool = True
    days: Periods | None = None

    @property
    def grain(self) -> int:
        return rung_dividing(self.periods.grid_us)

    @property
    def reach_us(self) -> int | None:
        return self.periods.longest_us(1 if self.current else 2) - 1

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        starts_us = self.periods.starts_us
        begun = np.searchsorted(starts_us, at_us, side="right")
        first = begun - (1 if self.current else 2)
        if isinstance(at_us, np.ndarray):
            known = (first >= 0) & (begun < len(starts_us))
            first, last = np.where(known, first, 0), np.where(known, begun - 1, 0)
            newer = at_us if self.current else starts_us[last]
            return (
                np.where(known, starts_us[first], EVER_START_US),
                np.where(known, newer, EVER_START_US),
            )
        if first < 0 or begun == len(starts_us):
            return EVER_START_US, EVER_START_US
        return int(starts_us[first]), at_us if self.current else int(starts_us[begun - 1])


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Everything before the instant."""

    @property
    def grain(self) -> int:
        return DAY

    @property
    def reach_us(self) -> int | None:
        return None

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        return at_us * 0 + EVER_START_US, at_us


@dataclass(frozen=True, slots=True)
class Newest:
    """The days of the last `within_us`, of which the newest events are picked (`windows.over`).

    Which events those are is decided by their own times, so the tiles may be coarse: the older edge
    lies on a day, and what is older than `within_us` never counts, so that it may be gone. That is
    why the reach does not go to the day's beginning.

    >>> day_us = 86_400_000_000
    >>> Newest(within_us=3 * day_us).bounds(7 * day_us + 1) == (4 * day_us, 7 * day_us + 1)
    True
    """

    within_us: int

    @property
    def grain(self) -> int:
        return DAY

    @property
    def reach_us(self) -> int | None:
        return self.within_us

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        older = at_us - self.within_us
        return older - older % DAY_US, at_us


@dataclass(frozen=True, slots=True)
class Series:
    """Several windows of which each gives a value of its own, newest first; `bounds` holds all.

    >>> Series((Sliding(100, 1), Sliding(100, 1, 100))).bounds(250)
    (50, 250)
    """

    windows: tuple[Window, ...]

    @property
    def grain(self) -> int:
        return finest_of(window.grain for window in self.windows)

    @property
    def reach_us(self) -> int | None:
        reaches = [window.reach_us for window in self.windows]
        return None if None in reaches else max(one for one in reaches if one is not None)

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        return self.windows[-1].bounds(at_us)[0], self.windows[0].bounds(at_us)[1]


@dataclass(frozen=True, slots=True)
class IncludingInstant:
    """A window that counts events exactly at the instant too: what `window` is one µs later.

    >>> IncludingInstant(Sliding(length_us=100, resolution_us=1)).bounds(250)
    (151, 251)
    """

    window: Window

    @property
    def grain(self) -> int:
        return self.window.grain

    @property
    def reach_us(self) -> int | None:
        return None if self.window.reach_us is None else self.window.reach_us - 1

    def bounds(self, at_us: Instants) -> tuple[Instants, Instants]:
        return self.window.bounds(at_us + 1)
