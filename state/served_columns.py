"""Which column of a served log has what: names, types, and values in the type of their feature.

A key column or a feature whose type changed has one column a type: the first under its name, others
with the type behind it (`spend:top:List-String`).
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pyarrow as pa

from ..schemas.types import DataType


def status_column(feature: str) -> str:
    """The column that has the status of a feature.

    >>> status_column("spend:spent_1h")
    'spend:spent_1h:status'
    """
    return f"{feature}:status"


def typed_column(name: str, dtype: pl.DataType) -> str:
    """The column of a type, where the plain name has another.

    >>> typed_column("spend:top", pl.List(pl.String()))
    'spend:top:List-String'
    """
    return f"{name}:{_type_name(dtype)}"


def holder(schema: Mapping[str, pl.DataType], name: str, dtype: pl.DataType) -> str | None:
    """The column that has `name` in this type; None if there is none.

    >>> holder({"a:n": pl.Int64(), "a:n:String": pl.String()}, "a:n", pl.String())
    'a:n:String'
    """
    names = (name, typed_column(name, dtype))
    return next((one for one in names if schema.get(one) == dtype), None)


def holders(names: Mapping[str, object], feature: str) -> list[str]:
    """All columns that have values of a feature, in whatever type.

    >>> holders(dict.fromkeys(["a:n", "a:n:status", "a:n:String", "a:more"]), "a:n")
    ['a:n', 'a:n:String']
    """
    status = status_column(feature)
    return [
        one for one in names if one == feature or (one.startswith(f"{feature}:") and one != status)
    ]


def logged_type(dtype: DataType) -> pl.DataType:
    """The type in which the log has values of a feature: instants inside of maps are text.

    >>> from tegula.schemas.types import Timestamp, list_of, map_of
    >>> logged_type(list_of(Timestamp)), logged_type(map_of(Timestamp))
    (List(Datetime(time_unit='us', time_zone='UTC')), Map(String, String))
    """
    if dtype.kind == "map" and dtype.item is not None:
        return pl.Map(pl.String(), _as_text(dtype.item))
    return dtype.polars


def _as_text(dtype: DataType) -> pl.DataType:
    if dtype.item is not None:
        return pl.List(_as_text(dtype.item))
    return pl.String() if dtype.kind == "time" else dtype.polars


def from_logged(column: pl.Series, dtype: DataType) -> pl.Series:
    """Values of `logged_type(dtype)` as values of the feature.

    >>> from tegula.schemas.types import Timestamp, map_of
    >>> logged = pl.Series([{"a": "2024-05-01T12:00:00Z"}], dtype=logged_type(map_of(Timestamp)))
    >>> from_logged(logged, map_of(Timestamp)).dtype
    Map(String, Datetime(time_unit='us', time_zone='UTC'))
    """
    if column.dtype == dtype.polars:
        return column
    array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    return pl.Series(column.name, _parsed(array, dtype), dtype.polars)


def _parsed(array: pa.Array, dtype: DataType) -> pa.Array:
    """Text as instants, inside of whatever it is in."""
    if dtype.item is None:
        if dtype.kind != "time":
            return array
        texts = pl.Series(array.cast(pa.large_string()))
        instants = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
        return instants.to_arrow().cast(pa.timestamp("us")).cast(dtype.arrow)
    mask = array.is_null()
    if dtype.kind == "map":
        items = _parsed(array.items, dtype.item)
        return pa.MapArray.from_arrays(array.offsets, array.keys, items, mask=mask)
    items = _parsed(array.values, dtype.item)
    return pa.LargeListArray.from_arrays(array.offsets.cast(pa.int64()), items, mask=mask)


def _type_name(dtype: pl.DataType) -> str:
    """A type in letters that a Delta column may have.

    >>> _type_name(pl.List(pl.Int64())), _type_name(pl.Datetime("us", "UTC"))
    ('List-Int64', 'Datetime')
    """
    if isinstance(dtype, pl.List):
        return f"List-{_type_name(dtype.inner)}"  # type: ignore[arg-type]
    return type(dtype).__name__
