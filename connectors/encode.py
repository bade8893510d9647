"""From columns back to payloads: what a stream's decoder would make these columns of."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ..schemas.types import TIMESTAMP_UNITS, DataType

_RFC3339 = "%Y-%m-%dT%H:%M:%S%.6fZ"


def encode(frame: pl.DataFrame, schema: Mapping[str, DataType]) -> list[bytes]:
    """One JSON object a row; decoding them by `schema` gives `frame` again.

    >>> from ..schemas.types import Int64, Timestamp
    >>> at = pl.Series("at", [1_500_000]).cast(pl.Datetime("us", "UTC"))
    >>> encode(pl.DataFrame({"n": [7]}).with_columns(at), {"n": Int64, "at": Timestamp})
    [b'{"n":7,"at":"1970-01-01T00:00:01.500000Z"}']
    """
    if not frame.height:
        return []
    columns = [_written(name, dtype) for name, dtype in schema.items()]
    return frame.select(columns).write_ndjson().encode().splitlines()


def _written(name: str, dtype: DataType) -> pl.Expr:
    """A column as the log writes it: instants are text or integers there."""
    column = pl.col(name)
    if dtype.kind != "time":
        return column
    if dtype.unit is None:
        return column.dt.strftime(_RFC3339)
    return column.to_physical() // TIMESTAMP_UNITS[dtype.unit]
