"""Windows as a user writes them: which event times a feature counts at an instant.

These are names and spans only; their geometry is the `windows` layer's. Nothing here raises: a
span that makes no sense is found by validation, together with all other faults.

Every window ends before the instant, so that a value says what was known *before* it. With
`include_instant` it is what the window is one µs later: an event exactly at the instant counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import polars as pl

from .ordered_windows import LastSpec, SessionSpec, SinceSpec
from .time import Duration

AUTO = "auto"
EXACT = "exact"
NO_OFFSET = "0s"
SERIES_MAX = 1_000
"""The most windows that a series may have."""


@dataclass(frozen=True, slots=True)
class SlidingSpec:
    """The last `length` before the instant, or before `offset` ago; see `sliding`."""

    length: Duration
    resolution: Duration = AUTO
    offset: Duration = NO_OFFSET
    include_instant: bool = False


@dataclass(frozen=True, slots=True)
class TumblingSpec:
    """One window of a fixed grid; see `tumbling`."""

    size: Duration
    current: bool = False
    include_instant: bool = False


@dataclass(frozen=True, slots=True)
class HoppingSpec:
    """A window of a fixed size that moves on by hops; see `hopping`."""

    size: Duration
    hop: Duration
    current: bool = False
    include_instant: bool = False


@dataclass(frozen=True, slots=True)
class SeriesSpec:
    """Several sliding windows, one step apart; see `series`."""

    length: Duration
    step: Duration
    count: int
    resolution: Duration = AUTO
    include_instant: bool = False


@dataclass(frozen=True, slots=True)
class CalendarSpec:
    """A day, week, month or year by the clocks of a time zone; see `calendar`."""

    unit: str
    tz: str
    current: bool = True
    include_instant: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ZonedCalendarSpec:
    """The same by the clocks of each key's own time zone, which its events name; see `calendar`."""

    unit: str
    tz: pl.Expr
    current: bool = True
    include_instant: bool = False


@dataclass(frozen=True, slots=True)
class LifetimeSpec:
    """Everything before the instant; see `lifetime`."""

    include_instant: bool = False


OrderedSpec: TypeAlias = LastSpec | SinceSpec | SessionSpec
"""Windows that are cut by the order of events."""

WindowSpec: TypeAlias = (
    SlidingSpec
    | TumblingSpec
    | HoppingSpec
    | SeriesSpec
    | CalendarSpec
    | ZonedCalendarSpec
    | LifetimeSpec
    | OrderedSpec
)


def sliding(
    length: Duration,
    *,
    resolution: Duration = AUTO,
    offset: Duration = NO_OFFSET,
    include_instant: bool = False,
) -> SlidingSpec:
    """The last `length` before the instant t: `[floor(t - length, resolution), t)`.

    The newer edge is exact. The older one lies on a grid, because what is older is kept in
    coarser tiles: `"auto"` picks the coarsest of 1 s, 1 m, 5 m, 1 h, 1 d that is at most a 24th of
    the length, so that the window is never more than 4.2 % too long; `"exact"` makes the older
    edge exact too, at the price of keeping every instant; a span such as `"1m"` sets the grid.

    With an `offset` it is the same window so long ago, and then both edges lie on the grid:
    `[floor(t - offset - length, resolution), floor(t - offset, resolution))`. So `sliding("7d",
    offset="7d")` is the seven days before the last seven; with `"exact"` both edges are exact.

    `include_instant` counts events exactly at t too: the window is that of t + 1 µs.

    >>> sliding("1h", offset="1d").offset
    '1d'
    """
    return SlidingSpec(length, resolution, offset, include_instant)


def tumbling(
    size: Duration, *, current: bool = False, include_instant: bool = False
) -> TumblingSpec:
    """One window of a grid that starts at the epoch: the last complete one before the instant t,
    `[floor(t, size) - size, floor(t, size))`, or with `current` the running one,
    `[floor(t, size), t)`.

    `include_instant` counts events exactly at t too: the window is that of t + 1 µs.

    >>> tumbling("1d", current=True).current
    True
    """
    return TumblingSpec(size, current, include_instant)


def hopping(
    size: Duration, hop: Duration, *, current: bool = False, include_instant: bool = False
) -> HoppingSpec:
    """The last complete window of `size` that ends on a multiple of `hop`, counted from the epoch:
    `[e - size, e)` with e = floor(t, hop). It moves on at every hop, and stands still in between.

    With `current` it is the window that ends at the *next* multiple of `hop`, as far as it has
    run: `[floor(t, hop) + hop - size, t)`. Of the windows that are running at t (there are
    several where `size` is more than one hop) it is the one that began first. It grows until it
    is complete; from then on it is what the window without `current` is.

    `size` need not be a multiple of `hop`, but is at least as long, so that no event falls between
    two windows. `hopping(size, size)` is `tumbling(size)`.

    `include_instant` counts events exactly at t too: the window is that of t + 1 µs.

    >>> hopping("1h", "5m").hop
    '5m'
    """
    return HoppingSpec(size, hop, current, include_instant)


def series(
    length: Duration,
    step: Duration,
    count: int,
    *,
    resolution: Duration = AUTO,
    include_instant: bool = False,
) -> SeriesSpec:
    """A list of `count` values (1 to 1 000), newest first: one for each of as many windows, each a
    `step` older than the one before.

    Value i is that of `sliding(length, resolution=…, offset=i * step)`. So the first one runs up to
    the instant, and the edges of the others lie on the grid; with a step as long as the windows
    they meet without gap or overlap. A step may be shorter (windows overlap) or longer.

    A feature's `default` stands for each value that is null. The status is that of the whole list:
    `PRESENT` if one of its windows holds something.

    >>> series("1d", "1d", 7).count
    7
    """
    return SeriesSpec(length, step, count, resolution, include_instant)


def calendar(
    unit: str, *, tz: str | pl.Expr, current: bool = True, include_instant: bool = False
) -> CalendarSpec | ZonedCalendarSpec:
    """A civil period in the time zone `tz`: since local midnight (`"day"`), Monday (`"week"`), the
    first of the month (`"month"`) or 1 January (`"year"`), up to the instant t.

    With `current=False` it is the last complete one: yesterday, last week, last month, last year.

    Days are those that clocks on the wall show: 23 or 25 hours long where summer time begins or
    ends. A day begins when the clock first shows its midnight or a later time: where midnight is
    skipped, at the jump; a day that a zone left out altogether is no day. `tz` is a name of the
    time zone database, such as `"Europe/Berlin"`. The calendar spans the years 1900 to 2199;
    outside of them the window is empty.

    With a column as `tz`, as in `calendar("day", tz=pl.col("home_zone"))`, each key has its own
    zone: the one that its newest event before t names. Events in which the column is null name
    none. Where the newest name is not in the database, or no event has named one, the value is
    null and its status `NO_ZONE`. Such a view keeps its keys for ever, and quarters of an hour
    for as long as the window reaches.

    `include_instant` counts events exactly at t too: the window is that of t + 1 µs.

    >>> calendar("day", tz="Europe/Berlin").current
    True
    """
    if isinstance(tz, pl.Expr):
        return ZonedCalendarSpec(unit, tz, current, include_instant)
    return CalendarSpec(unit, tz, current, include_instant)


def lifetime(*, include_instant: bool = False) -> LifetimeSpec:
    """Everything before the instant, however old.

    `include_instant` counts events exactly at the instant too.
    """
    return LifetimeSpec(include_instant)
