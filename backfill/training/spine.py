"""The spine: the rows of a training set, each with keys and an instant, and whatever else it has.

It may be a frame of Polars or pandas, Arrow's tables and readers, a file (Parquet, Arrow, CSV,
newline-delimited JSON), a Delta table, or what a query of a database gives. All become frames of at
most `PIECE_ROWS` rows, in their order; duplicates stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from ...schemas.errors import BadSpine
from ...schemas.types import DataType
from ...state.dataset_files import delta_version, scan_delta
from ...state.keys import encode_keys
from ...state.queries import query_rows
from .instants import instants_of

PIECE_ROWS: Final = 131_072
_OLDEST: Final = pl.CompatLevel.oldest()

_FORMS: Final = (
    "a frame of Polars or pandas, an Arrow table or reader, the path of a Parquet, Arrow, CSV or "
    "JSON-lines file or of a Delta table, or an SQL query with `connection`"
)


@dataclass(frozen=True, slots=True)
class Spine:
    """Rows in pieces. `origin` says for the manifest where they are, so that they can be found.

    `kept` is False where nobody but the caller can give the same rows again.
    """

    pieces: Callable[[], Iterator[pl.DataFrame]]
    origin: Mapping[str, Any] = field(default_factory=dict)
    kept: bool = False


def open_spine(given: Any, connection: Any = None) -> Spine:
    """The spine that is meant. `connection` is a URL or an engine of SQLAlchemy, for a query.

    Raises `BadSpine` for what can be no spine, and where reading fails.
    """
    if connection is not None:
        return _of_query(given, connection)
    if isinstance(given, Spine):
        return given
    if isinstance(given, pl.LazyFrame):
        lazy = given
        return Spine(lambda: _read("lazy frame", lambda: of_lazy(lazy)), {"kind": "memory"})
    if isinstance(given, pl.DataFrame):
        return _in_memory(given)
    if isinstance(given, pa.RecordBatchReader):
        reader = given
        return Spine(lambda: _of_batches(reader), {"kind": "memory"})
    if isinstance(given, pa.Table | pa.RecordBatch):
        return _in_memory(pl.DataFrame(given))
    if type(given).__module__.partition(".")[0] == "pandas":
        return _in_memory(_of_pandas(given))
    if isinstance(given, str | Path):
        return _of_path(Path(given))
    if hasattr(given, "__arrow_c_stream__"):
        return _in_memory(pl.DataFrame(pa.table(given)))
    raise BadSpine("this is no spine", got=type(given).__name__, expected=_FORMS)


def _in_memory(frame: pl.DataFrame) -> Spine:
    return Spine(lambda: _sliced(frame), {"kind": "memory"})


def _sliced(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """At least one piece, so that the columns of an empty frame are known too."""
    yield from frame.iter_slices(PIECE_ROWS) if frame.height else [frame]


def of_lazy(lazy: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The rows of a lazy frame in their order; first a piece without rows, for its columns."""
    yield lazy.head(0).collect()
    yield from lazy.collect_batches(chunk_size=PIECE_ROWS, maintain_order=True)


def _of_batches(reader: pa.RecordBatchReader) -> Iterator[pl.DataFrame]:
    yield pl.DataFrame(reader.schema.empty_table())
    for batch in reader:
        yield from pl.DataFrame(batch).iter_slices(PIECE_ROWS)


def _of_pandas(given: Any) -> pl.DataFrame:
    """A frame of pandas, without its index. Columns of instants in several zones become UTC."""
    columns: dict[str, pl.Series] = {}
    for name in given.columns:
        column = given[name]
        if column.dtype == object:
            columns[str(name)] = _of_objects(str(name), list(column))
        else:
            columns[str(name)] = pl.Series(str(name), pa.Array.from_pandas(column))
    return pl.DataFrame(columns)


def _of_objects(name: str, values: list[Any]) -> pl.Series:
    """Python's objects as a column: texts mostly, or instants whose zones differ."""
    present = [None if _is_missing(one) else one for one in values]
    zones: list[Any] = [one for one in present if hasattr(one, "tzinfo")]
    if any(one.tzinfo is None for one in zones):
        row = next(i for i, one in enumerate(present) if one is not None and not one.tzinfo)
        raise BadSpine(
            "some instants of this column name a time zone and others do not",
            where=f"column {name!r}, row {row}",
            got=str(present[row]),
            expected="a time zone in every one",
        )
    try:
        if zones:
            utc = [None if one is None else one.astimezone(UTC) for one in present]
            return pl.Series(name, utc, pl.Datetime("us", "UTC"))
        return pl.Series(name, present, strict=True)
    except (TypeError, pl.exceptions.PolarsError) as fault:
        raise BadSpine(
            "this column mixes types", where=f"column {name!r}", got=" ".join(str(fault).split())
        ) from fault


def _is_missing(one: Any) -> bool:
    return one is None or one != one


def _of_path(path: Path) -> Spine:
    if not path.exists():
        raise BadSpine("there is no such file", where=str(path), expected=_FORMS)
    if path.is_dir() and (path / "_delta_log").is_dir():
        version = delta_version(path)
        return Spine(
            lambda: _read(str(path), lambda: of_lazy(scan_delta(path, version))),
            {"kind": "delta", "path": str(path.resolve()), "version": version},
            True,
        )
    scan = _SCANS.get(path.suffix.lower() if path.is_file() else ".parquet")
    if scan is None:
        raise BadSpine(
            "this kind of file is not known", where=str(path), expected=", ".join(_SCANS)
        )
    target = path if path.is_file() else path / "**" / "*.parquet"
    return Spine(
        lambda: _read(str(path), lambda: of_lazy(scan(target))),
        {"kind": "file", "path": str(path.resolve())},
        True,
    )


_SCANS: Final[Mapping[str, Callable[[Path], pl.LazyFrame]]] = {
    ".parquet": pl.scan_parquet,
    ".arrow": pl.scan_ipc,
    ".feather": pl.scan_ipc,
    ".csv": lambda path: pl.scan_csv(path, infer_schema_length=None),
    ".jsonl": lambda path: pl.scan_ndjson(path, infer_schema_length=None),
    ".ndjson": lambda path: pl.scan_ndjson(path, infer_schema_length=None),
}


def _of_query(query: Any, connection: Any) -> Spine:
    """The rows of a query, in the order in which the database gives them."""
    if not isinstance(query, str):
        raise BadSpine("a query is a text of SQL", got=type(query).__name__, expected="SELECT …")

    origin = {"kind": "query", "query": query}
    return Spine(lambda: _read("query", lambda: query_rows(query, connection, PIECE_ROWS)), origin)


def _read(where: str, pieces: Callable[[], Iterator[pl.DataFrame]]) -> Iterator[pl.DataFrame]:
    try:
        for piece in pieces():
            yield from _sliced(piece)
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as fault:
        said = " ".join(str(fault).split())
        raise BadSpine("the spine cannot be read", where=where, got=said) from fault


def encoded_keys(
    frame: pl.DataFrame,
    keys: tuple[tuple[str, DataType], ...],
    named: Mapping[str, str],
    zone: str | None,
    first_row: int,
) -> pl.Series:
    """The encoded key of each row, Binary; null where a key column is null.

    `named` says which column of the spine stands for a key column, where the names differ. Raises
    `BadSpine` for a column that has not the key's type.
    """
    columns = [
        _key_column(frame[named.get(name, name)], type_, zone, first_row) for name, type_ in keys
    ]
    valid = np.logical_and.reduce([column.is_not_null().to_numpy() for column in columns])
    chosen = [column.filter(pl.Series(valid)) for column in columns]
    kinds = [type_.kind for _, type_ in keys]
    encoded = encode_keys([one.to_arrow(compat_level=_OLDEST) for one in chosen], kinds)
    place = pa.array(np.cumsum(valid) - 1, mask=~valid)
    return pl.Series("_key", encoded.take(place), pl.Binary)


def _key_column(column: pl.Series, type_: DataType, zone: str | None, first_row: int) -> pl.Series:
    dtype, kind = column.dtype, type_.kind
    if dtype == pl.Null:
        return column.cast(pl.String if kind == "string" else pl.Int64)
    if kind == "time":
        there = column.is_not_null()
        given = column.filter(there)
        at_us = instants_of(given, zone, first_row, f"column {column.name!r}")
        place = pl.Series(np.cumsum(there.to_numpy()) - 1).set(~there, None)
        return pl.Series(column.name, at_us).gather(place.cast(pl.UInt32))
    if kind == "string" and dtype in (pl.String, pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if kind == "bool" and dtype == pl.Boolean:
        return column
    if kind == "int":
        # pandas keeps integers as floats where some are missing.
        whole = dtype.is_float() and bool(((column % 1 == 0) | column.is_null()).all())
        if dtype.is_integer() or whole:
            found = column.cast(pl.Int64, strict=False)
            if found.null_count() == column.null_count():
                return found
    raise BadSpine(
        f"the key column {column.name!r} has another type in the spine",
        where=f"column {column.name!r}",
        got=str(dtype),
        expected=str(type_),
        hint="cast it, as the entity declares its key",
    )
