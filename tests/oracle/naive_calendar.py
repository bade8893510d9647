"""Civil time for the naive recomputation: one instant at a time, by what a clock shows.

No table and no search: an instant belongs to the period whose first midnight the local clock has
shown last, as `datetime` tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def zone_names() -> frozenset[str]:
    """All names in the pinned database."""
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())


@cache
def zone_of(name: str) -> ZoneInfo:
    """The zone as the pinned database has it."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file)


def shown(at_us: int, zone: str) -> datetime:
    """What the local clock shows at an instant."""
    return (EPOCH + timedelta(microseconds=at_us)).astimezone(zone_of(zone))


def latest_date(at_us: int, zone: str) -> date:
    """The latest date that the clock has shown by an instant: it may have been set back since."""
    local = shown(at_us, zone)
    if not local.fold:
        return local.date()
    before, after = local.replace(fold=0).utcoffset(), local.utcoffset()
    assert before is not None
    assert after is not None
    minutes = range(int((before - after).total_seconds()) // 60 + 1)
    return max(shown(at_us - 60_000_000 * n, zone).date() for n in minutes)


@cache
def period_of(at_us: int, unit: str, zone: str) -> date:
    """The first date of the period that an instant belongs to."""
    return first_date(latest_date(at_us, zone), unit)


def first_date(day: date, unit: str) -> date:
    """The first date of a date's period."""
    if unit == "week":
        return day - timedelta(days=day.weekday())
    return {"day": day, "month": day.replace(day=1), "year": day.replace(month=1, day=1)}[unit]


@cache
def period_before(first: date, unit: str, zone: str) -> date:
    """The first date of the period before, passing over days that the zone left out."""
    before = first_date(first - timedelta(days=1), unit)
    noon = datetime(before.year, before.month, before.day, 12, tzinfo=zone_of(zone))
    is_there = noon.astimezone(UTC).astimezone(zone_of(zone)).date() == before
    return before if is_there or unit != "day" else period_before(before, unit, zone)


def holds(window: Mapping[str, Any], event_us: int, until_us: int) -> bool:
    """Whether a calendar window that ends at an instant, or ended before, holds an event."""
    if event_us >= until_us:
        return False
    return period_of(event_us, window["unit"], window["zone"]) == wanted(window, until_us)


def wanted(window: Mapping[str, Any], until_us: int) -> date:
    """The first date of the period that a window asks for."""
    unit, zone = window["unit"], window["zone"]
    period = period_of(until_us, unit, zone)
    return period if window["current"] else period_before(period, unit, zone)


def bounds(window: Mapping[str, Any], until_us: int) -> tuple[int, int]:
    """`[start, end)` of a calendar window that ends at an instant, or ended before."""
    unit, zone = window["unit"], window["zone"]
    start_us = start_of(wanted(window, until_us), zone)
    return start_us, until_us if window["current"] else start_of(
        period_of(until_us, unit, zone), zone
    )


@cache
def start_of(day: date, zone: str) -> int:
    """The first instant of a date: its midnight; a minute earlier while that shows it, too."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone_of(zone))
    start_us = (midnight - EPOCH) // timedelta(microseconds=1)
    while latest_date(start_us - 60_000_000, zone) >= day:
        start_us -= 60_000_000
    return start_us


def reach_us(window: Mapping[str, Any]) -> int:
    """The greatest distance from an instant back to the start of a window."""
    return longest_us(window["unit"], window["zone"], 1 if window["current"] else 2) - 1


def next_midnight_us(at_us: int, zone: str) -> int:
    """The first instant of the date after the one that the clock shows."""
    return start_of(shown(at_us, zone).date() + timedelta(days=1), zone)


@cache
def longest_us(unit: str, zone: str, count: int) -> int:
    """The greatest length of so many periods in a row, from 1936 to 2100.

    By 1936 the zones of `cases.PLACES` have left the odd offsets that no table of ours keeps.
    """
    first = [date(1936, 1, 1) + timedelta(days=n) for n in range(60_000)]
    local = [
        datetime(d.year, d.month, d.day, tzinfo=zone_of(zone))
        for d in first
        if d == first_date(d, unit)
    ]
    starts = sorted({(one - EPOCH) // timedelta(microseconds=1) for one in local})
    return max(b - a for a, b in zip(starts, starts[count:], strict=False))
