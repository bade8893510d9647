"""Rows as bytes to be hashed: they depend on values alone, not on how a library keeps them."""

from __future__ import annotations

from typing import Final

import numpy as np
import orjson
import polars as pl

from ...state.dataset_files import NO_DELTA, delta_column

_OLDEST: Final = pl.CompatLevel.oldest()


def canonical(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame as a Delta table would give it back, so that a set has one hash wherever it is."""
    return frame.select(
        column if column.dtype in NO_DELTA else delta_column(column)
        for column in frame.iter_columns()
    )


def bytes_of(frame: pl.DataFrame) -> bytes:
    """Names, types and values of a frame; equal for equal frames, with any version of a library.

    >>> one, other = pl.DataFrame({"a": [1, None]}), pl.DataFrame({"a": [1, 2]})
    >>> (
    ...     bytes_of(one) == bytes_of(other.with_columns(a=pl.Series([1, None]))),
    ...     bytes_of(one) == (bytes_of(other)),
    ... )
    (True, False)
    """
    parts = [f"{frame.height}".encode()]
    for column in frame.iter_columns():
        parts.append(f"\n{column.name}:{column.dtype}\n".encode())
        parts.append(np.packbits(column.is_null().to_numpy()).tobytes())
        parts.append(_values(column))
    return b"".join(parts)


def _values(column: pl.Series) -> bytes:
    if column.dtype == pl.String:
        column = column.cast(pl.Binary)
    if column.dtype == pl.Binary:
        array = column.fill_null(b"").rechunk().to_arrow(compat_level=_OLDEST)
        count = len(array) + 1
        ends = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + count]
        data = array.buffers()[2]
        text = b"" if data is None else memoryview(data)[int(ends[0]) : int(ends[-1])]
        return np.diff(ends).tobytes() + bytes(text)
    if column.dtype == pl.Boolean:
        return np.packbits(column.fill_null(False).to_numpy()).tobytes()
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        physical = column.to_physical()
        return physical.fill_null(0).to_numpy().tobytes()
    return orjson.dumps(column.to_list(), default=str, option=orjson.OPT_NON_STR_KEYS)
