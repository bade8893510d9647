"""The time zone database, as the package `tzdata` carries it.

Never the machine's own copy: which edges a calendar window has must not depend on where it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from .civil import FIRST_YEAR, LAST_YEAR, Clock, Periods, civil_periods
from .time import DAY_US, SECOND_US

_DAY: Final = DAY_US // SECOND_US


@cache
def zone_names() -> tuple[str, ...]:
    """Every zone that a calendar may name, sorted."""
    return tuple(sorted(files("tzdata").joinpath("zones").read_text("utf-8").split()))


@cache
def _names() -> frozenset[str]:
    return frozenset(zone_names())


def is_zone(name: str) -> bool:
    """Whether a calendar may name it. Upper and lower case differ."""
    return name in _names()


@cache
def periods(unit: str, zone: str) -> Periods:
    """The civil periods of a known unit in a known zone; made once a process.

    A tenth of a second for the first unit of a zone. 877 kB for days, 1 to 125 kB for the others.
    """
    return civil_periods(unit, zone, _clock(zone))


@cache
def _clock(name: str) -> Clock:
    """All changes of a zone's offset."""
    first, last = (datetime(year, 1, 1, tzinfo=UTC) for year in (FIRST_YEAR, LAST_YEAR))
    days = (int(one.timestamp()) // _DAY for one in (first, last))
    return clock_between(name, next(days) - 2, next(days) + 2)


@cache
def _zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def clock_between(name: str, first_day: int, last_day: int) -> Clock:
    """The changes of a zone's offset between two days, counted from 1970, UTC.

    They are looked for once a day, then found to the second: 1 µs a day, and 20 a change.
    """
    zone, first, last = _zone(name), first_day * _DAY, last_day * _DAY
    changes = [(first, _offset(zone, first)), *_changes(zone, first, last)]
    since, offset = np.array(changes, dtype=np.int64).T * SECOND_US
    return Clock(since, offset)


def _changes(zone: ZoneInfo, first: int, last: int) -> Iterator[tuple[int, int]]:
    """`(instant, offset from then on)` in s, in order; at most one a day is found, and expected."""
    offset = _offset(zone, first)
    for day in range(first + _DAY, last + 1, _DAY):
        now = _offset(zone, day)
        if now == offset:
            continue
        before, after = day - _DAY, day
        while after - before > 1:
            middle = (before + after) // 2
            if _offset(zone, middle) == offset:
                before = middle
            else:
                after = middle
        yield after, now
        offset = now


def _offset(zone: ZoneInfo, instant: int) -> int:
    """How far the zone's clocks are ahead of UTC at an instant, both in s."""
    ahead = datetime.fromtimestamp(instant, zone).utcoffset()
    return 0 if ahead is None else ahead.days * _DAY + ahead.seconds
