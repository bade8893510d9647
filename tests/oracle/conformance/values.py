"""Aggregates of cases in our own: each is a reading of one or two features of ours.

Two where the case tells apart what one value of ours does not: its sum of nothing is null, ours
is 0, so a count stands beside it; its newest value may be null, ours is the newest that is not, so
whether the newest is null stands beside it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

import tegula as tg
from tegula import agg

from .experiment import Needs, Reading
from .spans import aggregate

DIRECT = {
    "avg": "mean",
    "mean": "mean",
    "min": "min",
    "max": "max",
    "first": "first",
    "last": "last",
}
TOGETHER: Mapping[str, Callable[[Any, Any], Any]] = {
    "count": operator.add,
    "sum": operator.add,
    "min": min,
    "max": max,
}
CURRENT = tg.last(1, include_instant=True)
"""The current event, just after it came."""

DISTINCT = ("distinct_count", "count_distinct", "count_unique", "n_unique")
SPREAD = {
    "stddev_pop": ("stddev", 0),
    "stddev": ("stddev", 1),
    "stddev_samp": ("stddev", 1),
    "var_pop": ("variance", 0),
    "variance": ("variance", 1),
    "var_samp": ("variance", 1),
}


def reading(
    name: str,
    column: str | None,
    window: Any,
    *,
    default: Any = None,
    where: pl.Expr | None = None,
    convert: Callable[[Any], Any] = lambda value: value,
) -> Reading:
    """The value of the aggregate `name` of a column over a window, null over nothing but a count.

    `default` stands for null; `convert` takes a value of ours to one of the case.
    """

    def one(spec: Any) -> Reading:
        return Reading({"value": spec.over(window)}, lambda v: filled(v["value"]))

    def filled(value: Any) -> Any:
        return default if value is None else convert(value)

    if name == "count":
        return one(agg.count(column, where=where))
    if column is None:
        raise Needs(f"a column for the aggregate {name}")
    if name == "sum":
        parts = {
            "value": agg.sum(column, where=where).over(window),
            "count": agg.count(column, where=where).over(window),
        }
        return Reading(parts, lambda v: filled(v["value"] if v["count"] else None))
    if name in DISTINCT:
        return one(agg.approx_distinct(column, where=where))
    if name in DIRECT:
        return one(aggregate(DIRECT[name])(column, where=where))
    if name in SPREAD:
        ours, ddof = SPREAD[name]
        return one(aggregate(ours)(column, ddof=ddof, where=where))
    raise Needs(f"the aggregate {name}")


def newest(
    column: str, window: Any, convert: Callable[[Any], Any] = lambda value: value
) -> Reading:
    """The value of the newest event in the window, also where that value is null.

    Its value is `(found, value)`: a null that was found is not the same as no event.
    """
    parts = {
        "value": agg.last(column).over(window),
        "is_null": agg.last(pl.col(column).is_null()).over(window),
    }

    def of(values: Any) -> tuple[bool, Any]:
        if values["is_null"] is None:
            return False, None
        return True, None if values["is_null"] else convert(values["value"])

    return Reading(parts, of)


def newest_value(
    column: str,
    window: Any,
    is_current: bool,
    convert: Callable[[Any], Any] = lambda value: value,
) -> Reading:
    """The value of the newest event, null if that is null: of the window, or the current one."""
    of_newest = newest(column, CURRENT if is_current else window, convert)
    found = Reading(of_newest.features, lambda v: of_newest.of(v)[1])
    return apart(found) if is_current else found


def with_current(
    name: str,
    column: str | None,
    window: Any,
    *,
    where: pl.Expr | None = None,
    convert: Callable[[Any], Any] = lambda value: value,
) -> Reading:
    """The aggregate over a window (None: no events) and the current event, which is not in it.

    Both are read, and their values put together: counts and sums are added, a mean is their
    quotient, of extremes the farther one counts.
    """
    given = {"where": where, "convert": convert}
    current = apart(reading(name, column, CURRENT, **given))
    if window is None:
        return current
    if name in TOGETHER:
        both = {"window": reading(name, column, window, **given), "current": current}
        return joined(both, lambda v: together(TOGETHER[name], v["window"], v["current"]))
    if DIRECT.get(name) == "mean":
        parts = {one: with_current(one, column, window, where=where) for one in ("sum", "count")}
        return joined(parts, lambda v: v["sum"] / v["count"] if v["count"] else None)
    if name in DISTINCT and column is not None:
        each = {
            part: Reading({"value": agg.distinct(column, where=where).over(one)}, values_of)
            for part, one in (("window", window), ("current", CURRENT))
        }
        each["current"] = apart(each["current"])
        return joined(each, lambda v: len(v["window"] | v["current"]))
    raise Needs(f"the aggregate {name} of a window and of the current event alone")


def together(both: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    """Two values as one; null is none."""
    if one is None or other is None:
        return other if one is None else one
    return both(one, other)


def values_of(read: Any) -> set[Any]:
    """The different values of a list, which is null if there are none."""
    return set(read["value"] or ())


def apart(whole: Reading) -> Reading:
    """A reading of the view that stands beside the window's."""
    return Reading({}, whole.of, whole.features)


def joined(readings: Mapping[str, Reading], of: Callable[[Any], Any]) -> Reading:
    """One reading of several: `of` takes their values by name."""

    def each(values: Any) -> Any:
        return of(
            {
                name: one.of({part: values[f"{name}_{part}"] for part in one.parts})
                for name, one in readings.items()
            }
        )

    return Reading(
        {f"{n}_{part}": f for n, one in readings.items() for part, f in one.features.items()},
        each,
        {f"{n}_{part}": f for n, one in readings.items() for part, f in one.beside.items()},
    )


def collected(column: str, window: Any, count_max: int) -> Reading:
    """All values in the window that are not null, in order of event time."""
    listed = aggregate("last_n")
    return Reading({"value": listed(column, count_max).over(window)}, lambda v: v["value"] or [])
