"""Windows as a user writes them: which event times a feature counts at an instant.

These are names and spans only; their geometry is the `windows` layer's. Nothing here raises: a
span that makes no sense is found by validation, together with all other faults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .time import Duration

AUTO = "auto"
EXACT = "exact"


@dataclass(frozen=True, slots=True)
class SlidingSpec:
    """The last `length` before the instant; see `sliding`."""

    length: Duration
    resolution: Duration = AUTO


@dataclass(frozen=True, slots=True)
class TumblingSpec:
    """One window of a fixed grid; see `tumbling`."""

    size: Duration
    current: bool = False


@dataclass(frozen=True, slots=True)
class LifetimeSpec:
    """Everything before the instant; see `lifetime`."""


WindowSpec: TypeAlias = SlidingSpec | TumblingSpec | LifetimeSpec


def sliding(length: Duration, *, resolution: Duration = AUTO) -> SlidingSpec:
    """The last `length` before the instant t: `[floor(t - length, resolution), t)`.

    The newer edge is always exact. The older one lies on a grid, because what is older is kept in
    coarser tiles: `"auto"` picks the coarsest of 1 s, 1 m, 5 m, 1 h, 1 d that is at most a 24th of
    the length, so that the window is never more than 4.2 % too long; `"exact"` makes the older
    edge exact too, at the price of keeping every instant; a span such as `"1m"` sets the grid.

    >>> sliding("1h")
    SlidingSpec(length='1h', resolution='auto')
    """
    return SlidingSpec(length, resolution)


def tumbling(size: Duration, *, current: bool = False) -> TumblingSpec:
    """One window of a grid that starts at the epoch: the last complete one before the instant t,
    `[floor(t, size) - size, floor(t, size))`, or with `current` the running one,
    `[floor(t, size), t)`.

    >>> tumbling("1d", current=True)
    TumblingSpec(size='1d', current=True)
    """
    return TumblingSpec(size, current)


def lifetime() -> LifetimeSpec:
    """Everything before the instant, however old."""
    return LifetimeSpec()
