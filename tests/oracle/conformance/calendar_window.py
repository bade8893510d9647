"""`calendar_window`: windows between civil midnights, Mondays, firsts of months, in a time zone.

Ours is `calendar`, the last complete one read at the next start; the starts asked at come from
`zoneinfo`, not from the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from . import spans, values
from .experiment import (
    MS,
    Experiment,
    Needs,
    Probe,
    Translation,
    as_ms,
    in_order,
    only,
    rows_of,
    type_of,
)

SEMANTICS = "times bucket rolling"
EVERYTHING = "everything"


def translate(case: Mapping[str, Any], file: Mapping[str, Any]) -> Translation:
    """One experiment: each expected window, read at the start of the next."""
    only(case, "id origin time_zone window agg events expected note", "a case")
    done = Translation()
    try:
        done.experiments.append(experiment(case))
    except Needs as need:
        done.need(str(need))
    return done


def experiment(case: Mapping[str, Any]) -> Experiment:
    """Buckets of one stream without a key."""
    window = case["window"]
    if window["type"] != "bucket":
        raise Needs(f"a {window['type']} window of calendar spans")
    only(window, "type every starts_on closed", "a calendar window")
    unit, starts_on = window["every"], window.get("starts_on", "monday")
    if unit not in NEXT:
        raise Needs(f"a calendar window of a {unit}")
    if unit == "week" and starts_on != "monday":
        raise Needs(f"weeks that start on {starts_on}")
    closed = window.get("closed", "left")
    if closed not in ("left", "right"):
        raise Needs(f"calendar windows closed {closed}")
    zone = case["time_zone"]
    rows = [{EVERYTHING: True, **row} for row in rows_of(case["events"])]
    key = "key" if "key" in rows[0] else EVERYTHING
    if closed == "right":
        # Including the instant moves both edges by 1 µs the other way.
        raise Needs("calendar windows that are open at the start and closed at the end")
    made = spans.window("calendar")(unit, tz=zone, current=False)
    column = None if case["agg"] == "count" else "value"
    probes = []
    for one in rows_of(case["expected"]):
        start = one["window_start"]
        end = NEXT[unit](start, ZoneInfo(zone))
        where = f"[{start}, {end})"
        probes.append(
            Probe(where, "value", (one.get("key", True),), end * MS, len(rows), one["value"])
        )
    return Experiment(
        columns={
            key: type_of([row[key] for row in rows], key),
            "value": type_of([row["value"] for row in rows], "value"),
        },
        keys=(key,),
        arrivals=in_order(rows, "ts"),
        readings={"value": values.reading(case["agg"], column, made)},
        probes=probes,
    )


def later(days: int) -> Any:
    """The civil midnight so many days after one."""

    def next_ms(start_ms: int, zone: ZoneInfo) -> int:
        local = datetime.fromtimestamp(as_ms(start_ms, "a start") / 1000, zone)
        return midnight_ms((local + timedelta(days=days)).replace(tzinfo=None), zone)

    return next_ms


def next_month(start_ms: int, zone: ZoneInfo) -> int:
    """The first of the month after."""
    local = datetime.fromtimestamp(start_ms / 1000, zone).replace(tzinfo=None)
    return midnight_ms((local.replace(day=1) + timedelta(days=32)).replace(day=1), zone)


def midnight_ms(day: datetime, zone: ZoneInfo) -> int:
    """When a civil day begins, in ms."""
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)


def next_year(start_ms: int, zone: ZoneInfo) -> int:
    """The first of January after."""
    local = datetime.fromtimestamp(start_ms / 1000, zone)
    return midnight_ms(datetime(local.year + 1, 1, 1), zone)


NEXT = {"day": later(1), "week": later(7), "month": next_month, "year": next_year}
