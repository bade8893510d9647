"""Instants and spans, all in µs.

An instant is an integer, µs since the Unix epoch, UTC. A span is an integer number of µs. Users
write spans as text (`"10m"`, `"1h30m"`, `"7d"`) or as `timedelta`; a bare number is refused, since
nothing says its unit.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypeAlias

from .errors import BadDuration, shown

MILLISECOND_US = 1_000
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US
CENTURY_US = 36_525 * DAY_US
"""100 years: the longest span that a definition may name."""

Duration: TypeAlias = str | timedelta
"""How a user writes a span."""

_UNIT_US = {
    "w": WEEK_US,
    "d": DAY_US,
    "h": HOUR_US,
    "m": MINUTE_US,
    "s": SECOND_US,
    "ms": MILLISECOND_US,
    "us": 1,
}
_TEXT = re.compile(r"(?:[0-9]{1,18}(?:us|ms|w|d|h|m|s))+")
_PART = re.compile(r"([0-9]+)(us|ms|w|d|h|m|s)")


def parse_duration(text: Duration) -> int:
    """The span in µs. Units are w, d, h, m, s, ms, us, and add up; `"0s"` is a span.

    Raises `BadDuration` for anything else: a bare number, a negative span, a unit that varies
    in length (months, years).

    >>> parse_duration("1h30m") // MINUTE_US
    90
    """
    if isinstance(text, timedelta):
        span_us = text // timedelta(microseconds=1)
        if span_us < 0:
            raise _bad("a span of time cannot be negative", text)
        return span_us
    if not isinstance(text, str):
        raise _bad("a span of time needs a unit", text)
    if not _TEXT.fullmatch(text):
        raise _bad("this is not a span of time", text)
    return sum(int(count) * _UNIT_US[unit] for count, unit in _PART.findall(text))


def _bad(message: str, got: object) -> BadDuration:
    return BadDuration(
        message,
        got=shown(got),
        expected="numbers with units, such as '30s', '10m', '1h30m' or '7d'",
        hint="units are w, d, h, m, s, ms and us; write months and years in days",
    )


def format_duration(span_us: int) -> str:
    """The shortest text that `parse_duration` reads as the same span (weeks are written in days).

    >>> format_duration(5_400_000_000), format_duration(0), format_duration(604_800_000_000)
    ('1h30m', '0s', '7d')
    """
    if span_us == 0:
        return "0s"
    if span_us < 0:
        return "-" + format_duration(-span_us)
    text = ""
    for unit, unit_us in _UNIT_US.items():
        if unit == "w":
            continue
        count, span_us = divmod(span_us, unit_us)
        text += f"{count}{unit}" if count else ""
    return text


def floor_us(at_us: int, step_us: int) -> int:
    """The last multiple of `step_us` at or before `at_us`, toward minus infinity.

    >>> floor_us(-1, 10)
    -10
    """
    return at_us - at_us % step_us
