"""Reading an archive back: which files hold a partition's rows, and the rows of one file.

This is the port through which the archive becomes a log again (`connectors/archive.py` says what
it asks for). Files are found by Delta's own statistics of `_offset`, so a replay that begins at a
position opens no file before it; a file is read a piece of a row group at a time. Reading needs no
writer, and sees what was committed when it last looked. A file that was merged with its neighbours
since, and then deleted, is read where its rows are now.

Promise: all rows or a named error. A file that is gone, torn or shorter than it was is
`TableFileLost`, with the offsets that it held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from ..schemas.errors import TableDamaged, TableFileLost
from ..schemas.redriven import is_redriven
from ..schemas.types import DataType
from .archive import archive_columns, archive_path
from .delta import MarkedTable
from .delta_files import path_of, read_rows, readable
from .lake import Lake, as_lake

_READ_BACK = ("_offset", "_log_us")
_READ_BACK_BAD = ("_code", "_reason", "_raw")
_READ_BACK_REDRIVEN = ("_watermark_us",)
_READ_BACK_CHANGED = ("_change",)


@dataclass(frozen=True, slots=True)
class FileSpan:
    """One file: rows of one partition with offsets in [first_offset, last_offset], ascending."""

    lake: Lake
    path: str
    partition: str
    first_offset: int
    last_offset: int
    row_count: int
    bad_count: int
    changed_count: int
    first_log_us: int
    size_bytes: int
    schema: Mapping[str, pl.DataType]
    relist: Callable[[], Sequence[FileSpan]]
    """The partition's files as they are now."""

    def read(self, from_offset: int, rows_max: int) -> Iterator[pl.DataFrame]:
        """Rows at or after `from_offset`, ascending by offset, at most `rows_max` a time.

        Columns: `_offset`, `_log_us`, then `_code`, `_reason`, `_raw` if the file holds bad
        records, `_change` if it says something of any, `_watermark_us` if they were driven again,
        then the stream's own; null where the file is older than the column. Raises
        `TableDamaged` if the rows are not in order, `TableUnwritable` if the file cannot be read.
        """
        own = (
            *_READ_BACK,
            *(_READ_BACK_BAD if self.bad_count else ()),
            *(_READ_BACK_CHANGED if self.changed_count else ()),
            *(_READ_BACK_REDRIVEN if is_redriven(self.partition) else ()),
        )
        for rows in self.rows([*own, *self.schema], from_offset, rows_max):
            yield rows.select(*own, *(self._column(name, rows) for name in self.schema))

    def rows(
        self, columns: Sequence[str], from_offset: int, rows_max: int
    ) -> Iterator[pl.DataFrame]:
        """As `read`, with `columns`, those of them that the file has, and `_offset`."""
        wanted = columns if "_offset" in columns else ["_offset", *columns]
        last, count = from_offset - 1, 0
        try:
            for rows in read_rows(self.lake, self.path, wanted, rows_max, from_offset):
                offsets = rows["_offset"]
                if not offsets.is_sorted() or int(offsets[0]) <= last:
                    detail = f"the file does not ascend after offset {last}"
                    raise TableDamaged(where=self._where, detail=detail)
                last, count = int(offsets[-1]), count + rows.height
                yield rows
        except TableFileLost as fault:
            if fault.is_gone and (now := self._merged_into()):
                yield from self._rows_of(now, wanted, max(last + 1, self.first_offset), rows_max)
                return
            raise self._lost(fault.got, last + 1) from fault.__cause__
        whole = from_offset > self.first_offset or count == self.row_count
        if from_offset <= self.last_offset and not (whole and last == self.last_offset):
            raise self._lost(f"it ends early: {count} of {self.row_count} rows", last + 1)

    def fault(self) -> TableFileLost | None:
        """What is wrong with the file, as far as its size tells; None if it has the right one.

        Raises `TableUnwritable` if the storage does not answer.
        """
        try:
            with readable(self._where):
                found = self.lake.stored(self.path).size_bytes
        except TableFileLost as fault:
            moved = fault.is_gone and self._merged_into()
            return None if moved else self._lost(fault.got, 0)
        if found == self.size_bytes:
            return None
        return self._lost(f"it has {found} of {self.size_bytes} bytes", 0)

    @property
    def _where(self) -> str:
        return f"{self.lake.name}/{self.path}"

    def _lost(self, detail: str, first: int) -> TableFileLost:
        first = max(first, self.first_offset)
        lost = f"offsets {first} to {self.last_offset} of partition {self.partition}"
        return TableFileLost(where=self._where, detail=detail, lost=lost)

    def _merged_into(self) -> Sequence[FileSpan]:
        """The files that hold this one's rows now; none if the table still names this one."""
        now = self.relist()
        if any(span.path == self.path for span in now):
            return ()
        return [
            span
            for span in now
            if span.first_offset <= self.last_offset and span.last_offset >= self.first_offset
        ]

    def _rows_of(
        self, spans: Sequence[FileSpan], columns: Sequence[str], from_offset: int, rows_max: int
    ) -> Iterator[pl.DataFrame]:
        for span in spans:
            for rows in span.rows(columns, from_offset, rows_max):
                kept = rows.filter(pl.col("_offset") <= self.last_offset)
                if kept.height:
                    yield kept

    def _column(self, name: str, rows: pl.DataFrame) -> pl.Expr:
        present = pl.col(name) if name in rows.columns else pl.lit(None).alias(name)
        return present.cast(self.schema[name])


class ArchiveFiles:
    """The files of one stream's archive; not safe for several threads."""

    def __init__(self, root: Path | Lake, stream: str, schema: Mapping[str, DataType]) -> None:
        self._anew = partial(ArchiveFiles, root, stream, schema)
        self._schema = {name: dtype.polars for name, dtype in schema.items()}
        self._table = MarkedTable(
            as_lake(root).below(archive_path(stream)),
            archive_columns(schema),
            partition_by=("_date", "_partition"),
            app=stream,
            writer="",
        )
        self._version = -1
        self._spans: dict[str, tuple[FileSpan, ...]] = {}

    @property
    def identity(self) -> str:
        """The table's id; empty as long as there is no table."""
        return self._table.identity

    def refresh(self) -> None:
        """Take in what has been committed since.

        Raises `TableUnwritable` if the table cannot be read, `TableDamaged` if two of its files
        hold the same offsets: replaying them would count rows twice.
        """
        self._table.refresh()
        if self._table.version != self._version:
            self._spans = self._list()
            for partition in self._spans:
                self._table.mark(partition)  # now: Delta's log of this version may go later
            self._version = self._table.version

    def partitions(self) -> tuple[str, ...]:
        """Partitions with rows, sorted, as of the last refresh."""
        return tuple(sorted(self._spans))

    def bounds(self, partition: str) -> tuple[int, int]:
        """The first offset that is kept, and the offset that the archive will get next.

        (0, 0) for a partition without rows.
        """
        spans, mark = self._spans.get(partition, ()), self._table.mark(partition)
        if not spans:
            return (0, 0)
        end = spans[-1].last_offset + 1
        return (spans[0].first_offset, max(end, mark.next_offset) if mark else end)

    def spans(self, partition: str, from_offset: int) -> tuple[FileSpan, ...]:
        """Files that hold rows of `partition` at or after `from_offset`, in order of offsets."""
        spans = self._spans.get(partition, ())
        return tuple(span for span in spans if span.last_offset >= from_offset)

    def _relist(self, partition: str) -> Sequence[FileSpan]:
        """The partition's files as they are now, for a span that may outlive this listing."""
        files = self._anew()
        files.refresh()
        return files.spans(partition, 0)

    def _list(self) -> dict[str, tuple[FileSpan, ...]]:
        spans: dict[str, list[FileSpan]] = {}
        for file in self._table.files():
            span = FileSpan(
                lake=self._table.lake,
                path=path_of(file),
                partition=file["partition._partition"],
                first_offset=file["min._offset"],
                last_offset=file["max._offset"],
                row_count=file["num_records"],
                bad_count=file["num_records"] - file["null_count._code"],
                changed_count=_changed_count(file),
                first_log_us=file["min._log_us"],
                size_bytes=file["size_bytes"],
                schema=self._schema,
                relist=partial(self._relist, file["partition._partition"]),
            )
            spans.setdefault(span.partition, []).append(span)
        for partition, found in spans.items():
            found.sort(key=lambda span: span.first_offset)
            for before, after in pairwise(found):
                if after.first_offset <= before.last_offset:
                    detail = f"offset {after.first_offset} of partition {partition} is in two files"
                    raise TableDamaged(where=self._table.lake.name, detail=detail)
        return {partition: tuple(found) for partition, found in spans.items()}


def _changed_count(file: Mapping[str, Any]) -> int:
    """Rows of a file of which `_change` says something."""
    nulls = file.get("null_count._change")
    return 0 if nulls is None else int(file["num_records"] - nulls)
