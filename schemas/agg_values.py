"""The aggregates that look at single values: lists of them, and the frequent and middle ones.

They are part of `agg`, which says what holds for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import polars as pl

from .definitions import CATEGORIES_SHOWN, AggregateSpec

Input: TypeAlias = pl.Expr | str
Where: TypeAlias = pl.Expr | str | None
By: TypeAlias = pl.Expr | str | None
CAP: Final = CATEGORIES_SHOWN


def first_n(column: Input, n: int, *, where: Where = None, by: By = None) -> AggregateSpec:
    """The first `n` values, a list, oldest first; order as in `first`. Null over no values."""
    return AggregateSpec("first_n", column, {"n": n}, where, by=by)


def last_n(column: Input, n: int, *, where: Where = None, by: By = None) -> AggregateSpec:
    """The last `n` values, a list, oldest first; order as in `first`. Null over no values."""
    return AggregateSpec("last_n", column, {"n": n}, where, by=by)


def lag(column: Input, n: int = 1, *, where: Where = None, by: By = None) -> AggregateSpec:
    """The value that came `n` values before the last one; null where there are not so many."""
    return AggregateSpec("lag", column, {"n": n}, where, by=by)


def min_by(column: Input, by: Input, *, where: Where = None) -> AggregateSpec:
    """The value at the event where `by` is least, of several such events at the earliest."""
    return AggregateSpec("min_by", (column, by), where=where)


def max_by(column: Input, by: Input, *, where: Where = None) -> AggregateSpec:
    """The value at the event where `by` is greatest, of several such events at the earliest."""
    return AggregateSpec("max_by", (column, by), where=where)


def top_n(column: Input, n: int, *, where: Where = None, by: By = None) -> AggregateSpec:
    """The `n` greatest values, a list, greatest first, equal ones as often as they come.

    `top_n_by` chooses by another column.
    """
    return AggregateSpec("top_n", column, {"n": n}, where, by=by)


def top_n_by(column: Input, by: Input, n: int, *, where: Where = None) -> AggregateSpec:
    """The values at the `n` events where `by` is greatest, a list, the greatest first.

    Of events with the same `by` the earliest first, as in `max_by`. Null over no values.
    """
    return AggregateSpec("top_n_by", (column, by), {"n": n}, where)


def last_n_by(column: Input, by: Input, n: int, *, where: Where = None) -> AggregateSpec:
    """The last `n` values in the order of `by`, a list, oldest first.

    For events that carry an order of their own, such as a version or another instant. Events with
    the same `by` are ordered as in `first`. Null over no values.
    """
    return AggregateSpec("last_n_by", (column, by), {"n": n}, where)


def distinct(
    column: Input, *, cap: int = 1000, where: Where = None, by: By = None
) -> AggregateSpec:
    """The different values, a list, ascending; past `cap` of them the status is OVERFLOW."""
    return AggregateSpec("distinct", column, {"cap": cap}, where, by=by)


def union(column: Input, *, cap: int = 1000, where: Where = None, by: By = None) -> AggregateSpec:
    """The different elements of all lists of a column, a list, ascending: their set union.

    Past `cap` of them the status is OVERFLOW.
    """
    return AggregateSpec("union", column, {"cap": cap}, where, by=by)


def mode(column: Input, *, cap: int = 1000, where: Where = None, by: By = None) -> AggregateSpec:
    """The most frequent value, of equally frequent ones the least.

    Past `cap` different values the status is OVERFLOW.
    """
    return AggregateSpec("mode", column, {"cap": cap}, where, by=by)


def entropy(column: Input, *, cap: int = 1000, where: Where = None, by: By = None) -> AggregateSpec:
    """How evenly the values are spread over the different ones, in bits, a float.

    Past `cap` different values the status is OVERFLOW.
    """
    return AggregateSpec("entropy", column, {"cap": cap}, where, by=by)


def approx_top_k(
    column: Input, k: int = 10, *, where: Where = None, by: By = None
) -> AggregateSpec:
    """The `k` most frequent values, a list, the most frequent first, of equals the least first.

    Exact of up to 512 different values, then by a sample and a sketch; in whatever order events
    came it is the same. Null over no values. Their counts are `approx_top_k_counts`. Where there
    are at most 1024 different values, `count(by=column, cap=k)` is exact.
    """
    return AggregateSpec("approx_top_k", column, {"k": k}, where, by=by)


def approx_top_k_counts(
    column: Input, k: int = 10, *, where: Where = None, by: By = None
) -> AggregateSpec:
    """The `k` most frequent values with their counts, a map such as `{"m1": 12, "m2": 3}`.

    The values of `approx_top_k`, as text and in its order, from the same state. Null over no
    values. Of Strings and Int64s.
    """
    return AggregateSpec("approx_top_k_counts", column, {"k": k}, where, by=by)


def histogram(
    column: Input, edges: Sequence[float], *, where: Where = None, by: By = None, cap: int = CAP
) -> AggregateSpec:
    """How many values lie below the first edge, from each edge to the next, and from the last on.

    A list of integers, one more than there are edges.
    """
    return AggregateSpec("histogram", column, {"edges": edges}, where, by=by, cap=cap)


def approx_distinct(column: Input, *, where: Where = None, by: By = None) -> AggregateSpec:
    """About how many different values there are, an integer: exact while there are few, then a
    HyperLogLog estimate."""
    return AggregateSpec("approx_distinct", column, where=where, by=by)


def approx_quantile(
    column: Input, q: float, *, where: Where = None, by: By = None
) -> AggregateSpec:
    """The least value that at least the share `q` of all values does not exceed, a float.

    Exact of up to 512 different values, then within a few parts in a hundred of the value. Null
    over no values.
    """
    return AggregateSpec("approx_quantile", column, {"q": q}, where, by=by)


def approx_quantiles(
    column: Input, q: Sequence[float], *, where: Where = None, by: By = None
) -> AggregateSpec:
    """Several of `approx_quantile`, a list of floats in the order of `q`; null over no values.

    `agg.approx_quantiles("amount", q=[0.5, 0.9, 0.99])`. It keeps one state, whatever their number.
    """
    return AggregateSpec("approx_quantiles", column, {"q": q}, where, by=by)


def median(column: Input, *, where: Where = None, by: By = None) -> AggregateSpec:
    """`approx_quantile` with q = 0.5: of an even number of values the lower of the middle two."""
    return AggregateSpec("median", column, where=where, by=by)
