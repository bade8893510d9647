"""The aggregates a user can name: `agg.sum("amount").over(sliding("1h"))`.

Each function takes a column's name or a Polars expression over one event's columns. Null inputs
are skipped; NaN and infinities count as null. Over an empty window `count`, `sum` and
`approx_distinct` are 0 and all others are null, unless the feature declares a `default`.

`SIGNATURES` says what each one takes and gives; validation reads it, and a test holds it against
the aggregates that the `windows` layer registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

import polars as pl

from .definitions import AggregateSpec
from .types import DataType, Float64, Int64, Kind

__all__ = [
    "SIGNATURES",
    "Signature",
    "approx_distinct",
    "count",
    "first",
    "last",
    "max",
    "mean",
    "min",
    "stddev",
    "sum",
    "variance",
]

Input: TypeAlias = pl.Expr | str


def count(column: Input | None = None) -> AggregateSpec:
    """How many events there are; with a column, in how many it is not null. An integer."""
    return AggregateSpec("count", column)


def sum(column: Input) -> AggregateSpec:
    """The sum of the input: an integer for integers, else a float.

    Integers are summed in 128 bits; a sum past 64 bits has the status OVERFLOW. Float sums are
    off by at most 1e-12 times the sum of the absolute values, in whatever order events came.
    """
    return AggregateSpec("sum", column)


def mean(column: Input) -> AggregateSpec:
    """The arithmetic mean, a float; null over no values. Its error is that of `sum`."""
    return AggregateSpec("mean", column)


def min(column: Input) -> AggregateSpec:
    """The least value, of the input's type; texts are compared by their UTF-8 bytes."""
    return AggregateSpec("min", column)


def max(column: Input) -> AggregateSpec:
    """The greatest value, of the input's type; order as in `min`."""
    return AggregateSpec("max", column)


def variance(column: Input, *, ddof: int = 1) -> AggregateSpec:
    """The variance, a float: of a sample with `ddof=1`, of the whole population with `ddof=0`.

    Null where there are not more values than `ddof`.
    """
    return AggregateSpec("variance", column, {"ddof": ddof})


def stddev(column: Input, *, ddof: int = 1) -> AggregateSpec:
    """The standard deviation: the square root of `variance`."""
    return AggregateSpec("stddev", column, {"ddof": ddof})


def first(column: Input) -> AggregateSpec:
    """The value of the earliest event that has one, of the input's type.

    Events at the same instant are ordered by stream, partition and offset, never by arrival.
    """
    return AggregateSpec("first", column)


def last(column: Input) -> AggregateSpec:
    """The value of the latest event that has one, of the input's type; order as in `first`."""
    return AggregateSpec("last", column)


def approx_distinct(column: Input) -> AggregateSpec:
    """About how many different values there are, an integer: exact while there are few, then a
    HyperLogLog estimate."""
    return AggregateSpec("approx_distinct", column)


@dataclass(frozen=True, slots=True)
class Signature:
    """What an aggregate takes and gives.

    `kinds` of input it has a meaning for, `optional` if it also works without input, `output` its
    type for an input's type (None without input), `params` the allowed values of each parameter.
    """

    kinds: frozenset[Kind]
    output: Callable[[DataType | None], DataType]
    optional: bool = False
    params: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def _same(input_type: DataType | None) -> DataType:
    # The unit is how the log writes an instant; a served instant has none.
    return DataType((input_type or Int64).name)


def _total(input_type: DataType | None) -> DataType:
    return Float64 if input_type == Float64 else Int64


def _always(output: DataType) -> Callable[[DataType | None], DataType]:
    return lambda _: output


_ANY: frozenset[Kind] = frozenset({"float", "int", "bool", "time", "string"})
_NUMERIC: frozenset[Kind] = frozenset({"float", "int", "bool"})
_DDOF = MappingProxyType({"ddof": (0, 1)})

SIGNATURES: Mapping[str, Signature] = MappingProxyType(
    {
        "count": Signature(_ANY, _always(Int64), optional=True),
        "sum": Signature(_NUMERIC, _total),
        "mean": Signature(_NUMERIC, _always(Float64)),
        "min": Signature(_ANY, _same),
        "max": Signature(_ANY, _same),
        "variance": Signature(_NUMERIC, _always(Float64), params=_DDOF),
        "stddev": Signature(_NUMERIC, _always(Float64), params=_DDOF),
        "first": Signature(_ANY, _same),
        "last": Signature(_ANY, _same),
        "approx_distinct": Signature(_ANY, _always(Int64)),
    }
)
