"""The wall clock: the only module that reads it. Everyone else is handed `now_us`.

A number that depends on when it was computed cannot be replayed, so the time of day enters the
engine through one door, and tests put a clock of their own there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives the time in µs since the epoch, UTC."""


def now_us() -> int:
    """The wall clock, in µs since the epoch, UTC."""
    return time.time_ns() // 1_000


def monotonic_us() -> int:
    """µs since some moment, at the pace of time: for waiting, whatever the wall clock is set to."""
    return time.monotonic_ns() // 1_000


class ScriptedClock:
    """A clock that stands still until it is moved; for tests and replays.

    >>> clock = ScriptedClock(1_000)
    >>> clock.advance_to(2_500)
    >>> clock()
    2500
    """

    def __init__(self, at_us: int) -> None:
        self._at_us = at_us

    def __call__(self) -> int:
        return self._at_us

    def advance_to(self, at_us: int) -> None:
        """Move on to `at_us`; a clock never goes back."""
        self._at_us = max(self._at_us, at_us)
