"""The served log: what serving answered, in a Delta table `served/<service>`.

A row is one key of one request: the instant, the key, the value and status of every feature, and
what they rest on (catalogue, builds, applied positions). So a model's inputs can be looked at
afterwards, and compared with what history says (`backfill.parity`).

Any number of processes append to one table. Each has a name of its own, under which the table's
mark counts its answers: an append that is tried again adds nothing twice. A service may change: a
new feature is a new column, one that is gone stays null, and one of another type gets a column of
its own, with the type in its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
from deltalake import Schema

from ..schemas.errors import TableLost
from .delta import Mark, MarkedTable
from .delta_files import Part, path_of, read_rows
from .lake import Lake, as_lake

_INSTANT: Final = pa.timestamp("us", "UTC")

APPLIED: Final = pa.large_list(
    pa.struct(
        [
            ("view", pa.large_string()),
            ("build", pa.int64()),
            ("fingerprint", pa.large_string()),
            ("shard", pa.int64()),
            ("incarnation", pa.int64()),
            ("commit", pa.int64()),
            (
                "positions",
                pa.large_list(pa.struct([("partition", pa.int64()), ("offset", pa.int64())])),
            ),
        ]
    )
)
"""By view: the build that answered, and how far its shard had applied each partition."""

OWN_COLUMNS: Final = pa.schema(
    [
        ("_date", pa.date32()),
        ("_served", _INSTANT),
        ("_as_of", _INSTANT),
        ("_version", pa.int64()),
        ("_catalogue", pa.int64()),
        ("_trace_id", pa.large_string()),
        ("_writer", pa.large_string()),
        ("_sequence", pa.int64()),
        ("_row", pa.int64()),
        ("_latency_us", pa.int64()),
        ("_request", pa.large_string()),
        ("_applied", APPLIED),
    ]
)
"""The log's own columns; key columns, values and statuses follow them."""

_DATE: Final = "_date"


def status_column(feature: str) -> str:
    """The column that has the status of a feature.

    >>> status_column("spend:spent_1h")
    'spend:spent_1h:status'
    """
    return f"{feature}:status"


class ServedTable:
    """Appends to one service's table, as `writer`; not safe for several threads.

    Opening it writes nothing.
    """

    def __init__(self, root: Path | Lake, service: str, *, writer: str = "") -> None:
        self._lake = as_lake(root).below(served_path(service))
        self._service = service
        self._writer = writer
        self._columns = OWN_COLUMNS
        self._table = self._opened()

    def append(self, frames: Sequence[pl.DataFrame], next_sequence: int) -> None:
        """Append rows in one commit, unless they are there: all below `next_sequence` then are.

        Frames hold `OWN_COLUMNS` but `_date`, then the service's. An append that failed is to be
        tried again with the same rows. Raises `SinkError` if they may not have arrived.
        """
        try:
            self._table.refresh()
        except TableLost:  # whoever removed it did not want its rows: it begins anew
            self._table = self._opened()
            self._table.refresh()
        mark = self._table.mark(self._writer)
        if mark is not None and mark.next_offset >= next_sequence:
            return
        types, named = self._table.types, []
        for frame in frames:
            named.append(_named(frame, types))
            types = {**_types(named[-1]), **types}
        self._extend([frame.to_arrow().schema for frame in named])
        parts = [part for frame in named for part in _parts(frame)]
        self._table.append(parts, {self._writer: Mark(next_sequence)})

    def keep_from(self, day: date) -> int:
        """Delete what was served before a day; returns how many files went.

        Raises `TableUnwritable`.
        """
        return self._table.drop(f"{_DATE} < '{day.isoformat()}'")

    def since(self, at_us: int) -> Iterator[pl.DataFrame]:
        """The rows that were served at or after an instant, file by file, the newest file first.

        A file has the columns that it was written with. Raises `TableUnwritable`.
        """
        self._table.refresh()
        first = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
        for file in reversed(self._table.files()):
            if file["partition._date"] < first.date():
                continue
            for rows in read_rows(self._lake, path_of(file)):
                kept = rows.filter(pl.col("_served") >= first)
                if kept.height:
                    yield kept

    def _opened(self) -> MarkedTable:
        return MarkedTable(
            self._lake,
            self._columns,
            partition_by=(_DATE,),
            app=self._service,
            writer=self._writer,
        )

    def _extend(self, schemas: Sequence[pa.Schema]) -> None:
        """Let the table have the columns of these schemas too."""
        known = {*self._columns.names}
        more = {field.name: field for one in schemas for field in one if field.name not in known}
        if more:
            self._columns = pa.schema([*self._columns, *more.values()])
            self._table = self._opened()
            self._table.refresh()


def served_path(service: str) -> str:
    """Where a service's served log lies in the lake."""
    return f"served/{service}"


def _named(frame: pl.DataFrame, types: Mapping[str, str]) -> pl.DataFrame:
    """The frame, its columns that the table has with another type under a name of their own."""
    renamed = {
        name: f"{name}:{_type_name(frame.schema[name])}"
        for name, of_frame in _types(frame).items()
        if types.get(name, of_frame) != of_frame
    }
    return frame.rename(renamed)


def _types(frame: pl.DataFrame) -> dict[str, str]:
    """The types of a frame's columns in Delta's words."""
    empty = frame.clear().to_arrow().schema
    return {field.name: str(field.type) for field in Schema.from_arrow(empty).fields}


def _type_name(dtype: pl.DataType) -> str:
    """A type in letters that a Delta column may have.

    >>> _type_name(pl.List(pl.Int64())), _type_name(pl.Datetime("us", "UTC"))
    ('List-Int64', 'Datetime')
    """
    if isinstance(dtype, pl.List):
        return f"List-{_type_name(dtype.inner)}"  # type: ignore[arg-type]
    return type(dtype).__name__


def _parts(frame: pl.DataFrame) -> Iterator[Part]:
    """The rows as files: one for each day on which they were served."""
    dated = frame.with_columns(pl.col("_served").dt.date().alias(_DATE))
    for (day,), rows in dated.partition_by(_DATE, as_dict=True, include_key=False).items():
        yield Part({_DATE: str(day)}, rows)
