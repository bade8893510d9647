"""Finished values as Arrow arrays of their feature's type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.types import DataType
from ..algebra import Bools, Values


def to_arrow(values: Values, dtype: DataType) -> pa.Array:
    """The same values in the type of Arrow that `dtype` has; those without meaning may be any.

    >>> from tegula.schemas.types import Bool
    >>> to_arrow(np.array([1, 0]), Bool).to_pylist()
    [True, False]
    """
    column: Any = pa.array(values) if isinstance(values, np.ndarray) else values
    if dtype.item is None:
        if dtype.kind == "time":
            return column.cast(pa.int64()).view(dtype.arrow)
        return column.cast(dtype.arrow)
    mask = pa.array(~np.asarray(column.is_valid())) if column.null_count else None
    if dtype.kind == "map":
        names, items = column.keys.cast(pa.large_string()), to_arrow(column.items, dtype.item)
        return pa.MapArray.from_arrays(column.offsets, names, items, dtype.arrow, mask=mask)
    items = to_arrow(column.values, dtype.item)
    ends = column.offsets.cast(pa.int64())
    return pa.LargeListArray.from_arrays(ends, items, dtype.arrow, mask=mask)


def with_nulls(column: pa.Array, absent: Bools, default: Any = None) -> pa.Array:
    """The column with the default wherever a value is `absent`, bool (k,); null without a default.

    >>> with_nulls(pa.array([1, 2]), np.array([True, False]), 9).to_pylist()
    [9, 2]
    """
    if not absent.any():
        return column
    place = np.arange(len(column))
    if default is None:
        return column.take(pa.array(place, mask=absent))
    if pa.types.is_timestamp(column.type):
        instead = pa.array([default], pa.int64()).view(column.type)
    else:
        given = list(default.items()) if isinstance(default, dict) else default
        instead = pa.array([given], column.type)
    place = np.where(absent, len(column), place)
    return pa.concat_arrays([column, instead]).take(pa.array(place))


def interleaved(columns: Sequence[pa.Array], dtype: DataType) -> pa.Array:
    """Lists of one value of each column: entry i of all of them is list i."""
    size, count = len(columns[0]), len(columns)
    together = pa.concat_arrays(list(columns))
    place = np.arange(size * count).reshape(count, size).T.ravel()
    ends = pa.array(np.arange(size + 1) * count)
    return pa.LargeListArray.from_arrays(
        ends, together.take(pa.array(place)), type=pa.large_list(dtype.arrow)
    )
