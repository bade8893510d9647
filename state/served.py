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

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import Schema

from ..schemas.errors import TableLost
from .delta import Mark, MarkedTable
from .delta_files import Part, path_of, read_rows, usable
from .lake import Lake, as_lake
from .served_columns import holders, typed_column

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
_FOLDER: Final = "served"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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

    def refresh(self) -> None:
        """Take in what has been committed, by whomever. Raises `TableUnwritable`."""
        self._table.refresh()

    @property
    def columns(self) -> frozenset[str]:
        """The table's columns, as of the last refresh; none as long as there is no table."""
        return frozenset(self._table.types)

    @property
    def identity(self) -> str:
        """The table's id; empty as long as there is none."""
        return self._table.identity

    @property
    def version(self) -> int:
        """The table's version as of the last refresh; -1 as long as there is none."""
        return self._table.version

    def since(self, at_us: int) -> Iterator[pl.DataFrame]:
        """The rows that were served at or after an instant, file by file, the newest file first.

        A file has the columns that it was written with. Raises `TableUnwritable`.
        """
        self._table.refresh()
        first = _instant(at_us)
        for file in reversed(self._files(at_us, None)):
            for rows in read_rows(self._lake, path_of(file)):
                kept = rows.filter(pl.col("_served") >= first)
                if kept.height:
                    yield kept

    def count(self, first_us: int | None = None, last_us: int | None = None) -> int:
        """How many rows lie in the days of `[first_us, last_us]`, as of the last refresh."""
        return sum(int(file["num_records"]) for file in self._files(first_us, last_us))

    def between(
        self,
        first_us: int | None,
        last_us: int,
        columns: Sequence[str],
        progress: Callable[[int], None] = lambda count: None,
    ) -> Iterator[pl.DataFrame]:
        """The rows that were served in `[first_us, last_us]`, as of the last refresh.

        A frame has `_served`, and those of `columns`, and of their like with a type behind the
        name, that its file has. Files of other days are not read; `progress` is told of rows that
        were. Raises `TableUnwritable`, `TableFileLost`.
        """
        known = dict.fromkeys(sorted(self.columns))
        wanted = [name for one in ("_served", *columns) for name in holders(known, one)]
        mine = pl.col("_served") <= _instant(last_us)
        if first_us is not None:
            mine &= pl.col("_served") >= _instant(first_us)
        for file in self._files(first_us, last_us):
            for rows in read_rows(self._lake, path_of(file), list(dict.fromkeys(wanted))):
                progress(rows.height)
                kept = rows.filter(mine)
                if kept.height:
                    yield kept

    def _files(self, first_us: int | None, last_us: int | None) -> list[dict[str, Any]]:
        """The files of the days of `[first_us, last_us]`; None: all before, or after."""
        first = date.min if first_us is None else _instant(first_us).date()
        last = date.max if last_us is None else _instant(last_us).date()
        return [file for file in self._table.files() if first <= file["partition._date"] <= last]

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


def served_services(root: Path | Lake) -> tuple[str, ...]:
    """The services that have a served log, sorted. Raises `TableUnwritable`."""
    folder = as_lake(root).below(_FOLDER)
    with usable(folder.name):
        return tuple(
            name for name in folder.folders() if "_delta_log" in folder.below(name).folders()
        )


def served_path(service: str) -> str:
    """Where a service's served log lies in the lake."""
    return f"{_FOLDER}/{service}"


def _instant(at_us: int) -> datetime:
    """An instant that a calendar has: what lies outside of the years 1 to 9999 is at their edge."""
    edges = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    first_us, last_us = ((edge - _EPOCH) // timedelta(microseconds=1) for edge in edges)
    return _EPOCH + timedelta(microseconds=min(max(at_us, first_us), last_us))


def _named(frame: pl.DataFrame, types: Mapping[str, str]) -> pl.DataFrame:
    """The frame, its columns that the table has with another type under a name of their own."""
    renamed = {
        name: typed_column(name, frame.schema[name])
        for name, of_frame in _types(frame).items()
        if types.get(name, of_frame) != of_frame
    }
    return frame.rename(renamed)


def _types(frame: pl.DataFrame) -> dict[str, str]:
    """The types of a frame's columns in Delta's words."""
    empty = frame.clear().to_arrow().schema
    return {field.name: str(field.type) for field in Schema.from_arrow(empty).fields}


def _parts(frame: pl.DataFrame) -> Iterator[Part]:
    """The rows as files: one for each day on which they were served."""
    dated = frame.with_columns(pl.col("_served").dt.date().alias(_DATE))
    for (day,), rows in dated.partition_by(_DATE, as_dict=True, include_key=False).items():
        yield Part({_DATE: str(day)}, rows)
