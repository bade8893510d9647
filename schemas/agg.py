"""The aggregates a user can name: `agg.sum("amount").over(sliding("1h"))`.

Each function takes a column's name or a Polars expression over one event's columns. Null inputs
are skipped; NaN and infinities count as null. Over an empty window `count`, `sum` and
`approx_distinct` are 0 and all others are null, unless the feature declares a `default`.

Every aggregate takes `where=`, an expression that is true or false for an event: only events for
which it is true are looked at, as if the view had no others. (A view's own `where` goes before, and
decides too which events belong to the view at all.)

With `by=`, a second column or expression (a String, Int64 or Bool), the value is a map: for each
category the aggregate over its events, `{"m1": 12.5, "m2": 3.0}`. Categories are given as text.
Events without a value or without a category are skipped, so each category has at least one. The
`cap` categories with the most events are given (of equally frequent ones the lesser), all others
together as `"__other__"`. The state keeps every category up to 1024 of a window; past these the
status is OVERFLOW, in whatever order they came. Each takes, in each tile, 16 bytes, the aggregate's
own state and its text. Over no events it is null, unless there is a `default`. Aggregates of two
columns, those whose state has no fixed size, and windows that are a series or cut by order, are
refused with `by=`.

`SIGNATURES` says what each one takes and gives (see `signatures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .agg_values import (
    CAP,
    By,
    Input,
    Where,
    approx_distinct,
    approx_quantile,
    approx_quantiles,
    approx_top_k,
    approx_top_k_counts,
    distinct,
    entropy,
    first_n,
    histogram,
    lag,
    last_n,
    last_n_by,
    max_by,
    median,
    min_by,
    mode,
    top_n,
    top_n_by,
    union,
)
from .definitions import AggregateSpec
from .signatures import SIGNATURES, Signature
from .time import Duration

__all__ = [
    "SIGNATURES",
    "Signature",
    "all",
    "any",
    "approx_distinct",
    "approx_quantile",
    "approx_quantiles",
    "approx_top_k",
    "approx_top_k_counts",
    "correlation",
    "count",
    "count_if",
    "covariance",
    "decayed_count",
    "decayed_sum",
    "distinct",
    "drawdown",
    "entropy",
    "first",
    "first_n",
    "histogram",
    "kurtosis",
    "lag",
    "last",
    "last_n",
    "last_n_by",
    "max",
    "max_by",
    "mean",
    "mean_interval",
    "median",
    "min",
    "min_by",
    "mode",
    "range",
    "rate",
    "ratio",
    "skew",
    "slope",
    "stddev",
    "sum",
    "time_since_first",
    "time_since_last",
    "top_n",
    "top_n_by",
    "union",
    "variance",
    "vector_mean",
    "vector_sum",
    "weighted_mean",
]


def count(
    column: Input | None = None, *, where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """How many events there are; with a column, in how many it is not null. An integer."""
    return AggregateSpec("count", column, where=where, by=by, cap=cap)


def count_if(
    predicate: Input, *, where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """For how many events the predicate is true; null counts as not true. An integer.

    `count(where=predicate)` says the same.
    """
    return AggregateSpec("count_if", predicate, where=where, by=by, cap=cap)


def any(predicate: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """Whether the predicate is true for at least one event; null where it never had a value."""
    return AggregateSpec("any", predicate, where=where, by=by, cap=cap)


def all(predicate: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """Whether the predicate is true for every event at which it has a value; null over none."""
    return AggregateSpec("all", predicate, where=where, by=by, cap=cap)


def rate(
    column: Input | None = None,
    *,
    per: Duration = "1s",
    where: Where = None,
    by: By = None,
    cap: int = CAP,
) -> AggregateSpec:
    """Events in each `per` of the window's true length; with a column, those where it is not null.

    A float; 0 over nothing. Not over `lifetime()`, which has no length.
    """
    return AggregateSpec("rate", column, {"per": per}, where, by=by, cap=cap)


def sum(column: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """The sum of the input: an integer for integers, else a float.

    Integers are summed in 128 bits; a sum past 64 bits has the status OVERFLOW. Float sums are
    off by at most 1e-12 times the sum of the absolute values, in whatever order events came.
    """
    return AggregateSpec("sum", column, where=where, by=by, cap=cap)


def mean(column: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """The arithmetic mean, a float; null over no values. Its error is that of `sum`."""
    return AggregateSpec("mean", column, where=where, by=by, cap=cap)


def min(column: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """The least value, of the input's type; texts are compared by their UTF-8 bytes."""
    return AggregateSpec("min", column, where=where, by=by, cap=cap)


def max(column: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """The greatest value, of the input's type; order as in `min`."""
    return AggregateSpec("max", column, where=where, by=by, cap=cap)


def range(column: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """The greatest value less the least one, of the input's type; null over no values."""
    return AggregateSpec("range", column, where=where, by=by, cap=cap)


def drawdown(column: Input, *, where: Where = None, by: By = None) -> AggregateSpec:
    """The greatest fall from a value to a later one, of the input's type; 0 if it never falls.

    "Later" is by the order of `first`. Exact of up to 1024 values, then at most a 256th of the
    values' range less. Null over no values. The greatest rise is that of the negated column.
    """
    return AggregateSpec("drawdown", column, where=where, by=by)


def variance(
    column: Input, *, ddof: int = 1, where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """The variance, a float: of a sample with `ddof=1`, of the whole population with `ddof=0`.

    Null where there are not more values than `ddof`.
    """
    return AggregateSpec("variance", column, {"ddof": ddof}, where, by=by, cap=cap)


def stddev(
    column: Input, *, ddof: int = 1, where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """The standard deviation: the square root of `variance`."""
    return AggregateSpec("stddev", column, {"ddof": ddof}, where, by=by, cap=cap)


def skew(column: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """How lopsided the values lie: the third standardised moment, a float; 0 if symmetric.

    Null where there is no spread.
    """
    return AggregateSpec("skew", column, where=where, by=by, cap=cap)


def kurtosis(column: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """How heavy the tails are: the fourth standardised moment less 3, a float; 0 if normal.

    Null where there is no spread.
    """
    return AggregateSpec("kurtosis", column, where=where, by=by, cap=cap)


def covariance(
    column: Input, other: Input, *, ddof: int = 1, where: Where = None, by: By = None
) -> AggregateSpec:
    """How two columns vary together, a float; over events at which both have a value.

    `ddof` as for `variance`.
    """
    return AggregateSpec("covariance", (column, other), {"ddof": ddof}, where, by=by)


def correlation(
    column: Input, other: Input, *, where: Where = None, by: By = None
) -> AggregateSpec:
    """Pearson's correlation of two columns, from -1 to 1; null where either has no spread."""
    return AggregateSpec("correlation", (column, other), where=where, by=by)


def weighted_mean(
    column: Input, weight: Input, *, where: Where = None, by: By = None
) -> AggregateSpec:
    """The mean of a column in which each value counts by its weight, a float.

    Null over no values, and where the weights add up to 0.
    """
    return AggregateSpec("weighted_mean", (column, weight), where=where, by=by)


def ratio(column: Input, other: Input, *, where: Where = None, by: By = None) -> AggregateSpec:
    """The sum of one column over the sum of another, a float; over events at which both have a
    value.

    Null over no values, and where the sum below is 0. The share of events for which something is
    true is `mean` of the predicate: `agg.mean(pl.col("amount") > 100)`.
    """
    return AggregateSpec("ratio", (column, other), where=where, by=by)


def vector_sum(columns: Sequence[Input], *, where: Where = None, by: By = None) -> AggregateSpec:
    """The sums of several columns, a list of floats: vectors, added element by element.

    `agg.vector_sum(["x", "y", "z"])`, over events at which all of them have a value; zeros over
    none.
    """
    return AggregateSpec("vector_sum", _vector(columns), where=where, by=by)


def vector_mean(columns: Sequence[Input], *, where: Where = None, by: By = None) -> AggregateSpec:
    """The means of several columns, a list of floats; as `vector_sum`, but null over no values."""
    return AggregateSpec("vector_mean", _vector(columns), where=where, by=by)


def _vector(columns: Sequence[Input]) -> Any:
    # One text is no list of columns, and stays for validation to say so.
    return tuple(columns) if isinstance(columns, list | tuple) else columns


def slope(
    column: Input, *, per: Duration = "1s", where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """By how much the column grows in each `per` of event time: the least-squares line, a float.

    Null where there are not two values at different instants.
    """
    return AggregateSpec("slope", column, {"per": per}, where, by=by, cap=cap)


def time_since_first(
    column: Input | None = None, *, where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """Seconds from the earliest event of the window to the instant of reading, a float.

    With a column, from the earliest event at which it is not null. Null over no events.
    """
    return AggregateSpec("time_since_first", column, where=where, by=by, cap=cap)


def time_since_last(
    column: Input | None = None, *, where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """Seconds from the latest event of the window to the instant of reading, a float.

    With a column, from the latest event at which it is not null. Null over no events.
    """
    return AggregateSpec("time_since_last", column, where=where, by=by, cap=cap)


def mean_interval(
    column: Input | None = None, *, where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """Seconds between events on average, a float; null over fewer than two.

    With a column, between events at which it is not null.
    """
    return AggregateSpec("mean_interval", column, where=where, by=by, cap=cap)


def decayed_sum(
    column: Input, *, half_life: Duration, where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """The sum in which each value weighs half as much every `half_life` later, a float.

    Ages are those at the instant of reading, so the value falls while nothing comes.
    """
    return AggregateSpec("decayed_sum", column, {"half_life": half_life}, where, by=by, cap=cap)


def decayed_count(
    column: Input | None = None,
    *,
    half_life: Duration,
    where: Where = None,
    by: By = None,
    cap: int = CAP,
) -> AggregateSpec:
    """How many events there are, each weighing half as much every `half_life` later, a float.

    With a column, events at which it is not null.
    """
    return AggregateSpec("decayed_count", column, {"half_life": half_life}, where, by=by, cap=cap)


def first(column: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """The value of the earliest event that has one, of the input's type.

    Events at the same instant are ordered by stream, partition and offset, never by arrival.
    """
    return AggregateSpec("first", column, where=where, by=by, cap=cap)


def last(column: Input, *, where: Where = None, by: By = None, cap: int = CAP) -> AggregateSpec:
    """The value of the latest event that has one, of the input's type; order as in `first`."""
    return AggregateSpec("last", column, where=where, by=by, cap=cap)
