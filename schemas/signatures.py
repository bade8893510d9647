"""What each aggregate takes and gives: its inputs, its parameters, the type of its values.

Validation reads it, and a test holds it against the aggregates that the `windows` layer registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from .params import Choice, Edges, Param, Share, Shares, Span, Whole
from .types import Bool, DataType, Float64, Int64, Kind, list_of, map_of

COLUMNS_MAX: Final = 64
"""How many columns a vector may have."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What an aggregate takes and gives.

    `kinds` of input it has a meaning for, `second` those of its second input if it reads pairs
    (of all its further ones, up to `COLUMNS_MAX` columns, if it reads `vectors`),
    `optional` if it also works without input, `output` its type for the (first) input's type (None
    without input), `params` what each parameter may be, `bounded` if the window must have a length,
    `varying` the kinds of (first) input for which a state has no fixed size.
    """

    kinds: frozenset[Kind]
    output: Callable[[DataType | None], DataType]
    optional: bool = False
    params: Mapping[str, Param] = field(default_factory=dict)
    second: frozenset[Kind] | None = None
    vectors: bool = False
    bounded: bool = False
    varying: frozenset[Kind] = frozenset()


def _same(input_type: DataType | None) -> DataType:
    # The unit is how the log writes an instant; a served instant has none.
    return DataType((input_type or Int64).name)


def _list(input_type: DataType | None) -> DataType:
    return list_of(_same(input_type))


def _itself(input_type: DataType | None) -> DataType:
    return input_type if input_type is not None and input_type.item is not None else list_of(Int64)


def _total(input_type: DataType | None) -> DataType:
    return Float64 if input_type == Float64 else Int64


def _always(output: DataType) -> Callable[[DataType | None], DataType]:
    return lambda _: output


_ANY: frozenset[Kind] = frozenset({"float", "int", "bool", "time", "string"})
_NUMERIC: frozenset[Kind] = frozenset({"float", "int", "bool"})
_NUMBER: frozenset[Kind] = frozenset({"float", "int"})
_TEXT: frozenset[Kind] = frozenset({"string"})
_NAMED: frozenset[Kind] = frozenset({"int", "string"})
_ORDERED: frozenset[Kind] = frozenset({"float", "int", "bool", "time"})
_BOOL: frozenset[Kind] = frozenset({"bool"})
_LISTS: frozenset[Kind] = frozenset({"list"})
_DDOF: Mapping[str, Param] = MappingProxyType({"ddof": Choice((1, 0))})
_PER: Mapping[str, Param] = MappingProxyType({"per": Span("1s")})
_HALF_LIFE: Mapping[str, Param] = MappingProxyType({"half_life": Span("1h")})
_QUANTILE: Mapping[str, Param] = MappingProxyType({"q": Share(0.5)})
_QUANTILES: Mapping[str, Param] = MappingProxyType({"q": Shares(64)})
_N: Mapping[str, Param] = MappingProxyType({"n": Whole(1000, 5)})
_K: Mapping[str, Param] = MappingProxyType({"k": Whole(100, 10)})
_LAG: Mapping[str, Param] = MappingProxyType({"n": Whole(999, 1)})
_CAP: Mapping[str, Param] = MappingProxyType({"cap": Whole(10_000, 1000)})
_EDGES: Mapping[str, Param] = MappingProxyType({"edges": Edges(64)})

SIGNATURES: Mapping[str, Signature] = MappingProxyType(
    {
        "count": Signature(_ANY, _always(Int64), optional=True),
        "count_if": Signature(_BOOL, _always(Int64)),
        "any": Signature(_BOOL, _always(Bool)),
        "all": Signature(_BOOL, _always(Bool)),
        "rate": Signature(_ANY, _always(Float64), optional=True, params=_PER, bounded=True),
        "sum": Signature(_NUMERIC, _total),
        "mean": Signature(_NUMERIC, _always(Float64)),
        "min": Signature(_ANY, _same, varying=_TEXT),
        "max": Signature(_ANY, _same, varying=_TEXT),
        "range": Signature(_NUMBER, _same),
        "drawdown": Signature(_NUMBER, _same, varying=_NUMBER),
        "variance": Signature(_NUMERIC, _always(Float64), params=_DDOF),
        "stddev": Signature(_NUMERIC, _always(Float64), params=_DDOF),
        "skew": Signature(_NUMERIC, _always(Float64)),
        "kurtosis": Signature(_NUMERIC, _always(Float64)),
        "covariance": Signature(_NUMERIC, _always(Float64), params=_DDOF, second=_NUMERIC),
        "correlation": Signature(_NUMERIC, _always(Float64), second=_NUMERIC),
        "weighted_mean": Signature(_NUMERIC, _always(Float64), second=_NUMERIC),
        "ratio": Signature(_NUMERIC, _always(Float64), second=_NUMERIC),
        "vector_sum": Signature(_NUMERIC, _always(list_of(Float64)), second=_NUMERIC, vectors=True),
        "vector_mean": Signature(
            _NUMERIC, _always(list_of(Float64)), second=_NUMERIC, vectors=True
        ),
        "slope": Signature(_NUMERIC, _always(Float64), params=_PER),
        "time_since_first": Signature(_ANY, _always(Float64), optional=True),
        "time_since_last": Signature(_ANY, _always(Float64), optional=True),
        "mean_interval": Signature(_ANY, _always(Float64), optional=True),
        "decayed_sum": Signature(_NUMERIC, _always(Float64), params=_HALF_LIFE),
        "decayed_count": Signature(_ANY, _always(Float64), optional=True, params=_HALF_LIFE),
        "first": Signature(_ANY, _same, varying=_TEXT),
        "last": Signature(_ANY, _same, varying=_TEXT),
        "first_n": Signature(_ANY, _list, params=_N, varying=_ANY),
        "last_n": Signature(_ANY, _list, params=_N, varying=_ANY),
        "lag": Signature(_ANY, _same, params=_LAG, varying=_ANY),
        "min_by": Signature(_ANY, _same, second=_ORDERED, varying=_TEXT),
        "max_by": Signature(_ANY, _same, second=_ORDERED, varying=_TEXT),
        "top_n": Signature(_ANY, _list, params=_N, varying=_ANY),
        "top_n_by": Signature(_ANY, _list, params=_N, second=_ORDERED, varying=_ANY),
        "last_n_by": Signature(_ANY, _list, params=_N, second=_ORDERED, varying=_ANY),
        "distinct": Signature(_ANY, _list, params=_CAP, varying=_ANY),
        "union": Signature(_LISTS, _itself, params=_CAP, varying=_LISTS),
        "mode": Signature(_ANY, _same, params=_CAP, varying=_ANY),
        "entropy": Signature(_ANY, _always(Float64), params=_CAP, varying=_ANY),
        "approx_top_k": Signature(_ANY, _list, params=_K, varying=_ANY),
        "approx_top_k_counts": Signature(_NAMED, _always(map_of(Int64)), params=_K, varying=_NAMED),
        "histogram": Signature(_NUMBER, _always(list_of(Int64)), params=_EDGES),
        "approx_distinct": Signature(_ANY, _always(Int64), varying=_ANY),
        "approx_quantile": Signature(
            _NUMERIC, _always(Float64), params=_QUANTILE, varying=_NUMERIC
        ),
        "approx_quantiles": Signature(
            _NUMERIC, _always(list_of(Float64)), params=_QUANTILES, varying=_NUMERIC
        ),
        "median": Signature(_NUMERIC, _always(Float64), varying=_NUMERIC),
    }
)
"""Every aggregate by its name, in the order in which they are explained."""
