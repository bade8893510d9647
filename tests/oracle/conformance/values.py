"""Aggregates of cases in our own: each is a reading of one or two features of ours.

Two where the case tells apart what one value of ours does not: its sum of nothing is null, ours
is 0, so a count stands beside it; its newest value may be null, ours is the newest that is not, so
whether the newest is null stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

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


def collected(column: str, window: Any, count_max: int) -> Reading:
    """All values in the window that are not null, in order of event time."""
    listed = aggregate("last_n")
    return Reading({"value": listed(column, count_max).over(window)}, lambda v: v["value"] or [])
