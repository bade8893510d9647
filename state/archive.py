"""The archive: every event of a stream with its position, in a Delta table `log/<stream>`.

What Kafka forgets the archive keeps. A row holds the event's columns, its position, log timestamp,
ingestion time and the partition's watermark at that row: whether it was folded, late or expired
can be decided from the row alone. Records that could not be decoded are rows too, with their code,
reason and raw bytes. The table is partitioned by ingestion date and log partition; inside a file
rows ascend by offset, and no offset is in two files.

Guarantee: exactly once. A row is there at most once whatever is repeated, and what is appended but
not yet flushed is lost by a crash only here: `places` says where to read the log on. The dead
letter is written first, so whatever the archive holds of bad records the dead letter holds too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ..schemas.outcomes import BadRecord
from ..schemas.time import DAY_US
from ..schemas.types import DataType
from ..windows.tiles import NEVER_US
from .dead_letter import DeadLetter, DeadRecord
from .delta import Mark, MarkedTable
from .delta_files import Part
from .lake import Lake, as_lake

_EPOCH: Final = date(1970, 1, 1)

OWN_COLUMNS: Final = pa.schema(
    [
        ("_partition", pa.string()),
        ("_offset", pa.int64()),
        ("_log_us", pa.int64()),
        ("_ingested_us", pa.int64()),
        ("_watermark_us", pa.int64()),
        ("_change", pa.string()),
        ("_code", pa.string()),
        ("_reason", pa.string()),
        ("_raw", pa.binary()),
        ("_date", pa.date32()),
    ]
)
"""The archive's own columns; the stream's follow them."""


@dataclass(frozen=True, slots=True)
class ArchiveRows:
    """All records of one batch of one partition, good and bad, in offset order.

    `offsets`, `log_us`, `watermark_us`: int64, one entry a record (`NEVER_US` where the partition
    has no watermark yet). `frame` holds the good rows' columns, `good` their indices among all
    records, ascending; `bad` are the others. `next_offset` is where to read on. `change` is what
    `_change` says of each record; None where it says nothing of any.
    """

    partition: str
    next_offset: int
    offsets: NDArray[np.int64]
    log_us: NDArray[np.int64]
    watermark_us: NDArray[np.int64]
    ingested_us: int
    frame: pl.DataFrame
    good: NDArray[np.int64]
    bad: tuple[BadRecord, ...]
    change: NDArray[np.object_] | None = None

    @property
    def size_bytes(self) -> int:
        """What keeping these rows costs, nearly: the frame, the positions, the raw bytes."""
        raw_bytes = sum(len(record.raw) + len(record.reason) for record in self.bad)
        return int(self.frame.estimated_size()) + 32 * len(self.offsets) + raw_bytes

    def since(self, offset: int) -> ArchiveRows:
        """The rows at or after `offset`."""
        first = int(np.searchsorted(self.offsets, offset))
        if first == 0:
            return self
        kept = int(np.searchsorted(self.good, first))
        return replace(
            self,
            offsets=self.offsets[first:],
            log_us=self.log_us[first:],
            watermark_us=self.watermark_us[first:],
            frame=self.frame[kept:],
            good=self.good[kept:] - first,
            bad=tuple(record for record in self.bad if record.offset >= offset),
            change=None if self.change is None else self.change[first:],
        )


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """Where a partition's archive ends, and the running maximum that belongs to this position.

    A source that resumes at `next_offset` continues the watermark from `running_max_us`
    (`NEVER_US` if no event has come yet).
    """

    next_offset: int
    running_max_us: int


class Archive:
    """Writes one stream's archive; the one writer of its table. Not safe for several threads.

    `schema` are the stream's columns, `disorder_us` is what its watermarks lag behind the running
    maximum, `writer` names this process in the table's history. Opening it writes nothing.

    Raises `TableUnwritable` if a table is there and cannot be read.
    """

    def __init__(
        self,
        root: Path | Lake,
        stream: str,
        schema: Mapping[str, DataType],
        *,
        writer: str,
        disorder_us: int = 0,
        dead_letter: DeadLetter | None = None,
    ) -> None:
        self._disorder_us = disorder_us
        self._dead_letter = dead_letter
        self._table = MarkedTable(
            as_lake(root).below(archive_path(stream)),
            archive_columns(schema),
            partition_by=("_date", "_partition"),
            app=stream,
            writer=writer,
        )
        self._buffered: dict[str, list[ArchiveRows]] = {}
        self._flushed: dict[str, ArchivePlace] = {}
        self.row_count = 0
        self.size_bytes = 0
        self._table.refresh()
        self._look(self._table.partitions("_partition"))

    def place(self, partition: str) -> ArchivePlace | None:
        """Where the flushed rows of a partition end; None if there are none."""
        return self._flushed.get(partition)

    def places(self) -> dict[str, ArchivePlace]:
        """Where the flushed rows of each partition end: the positions to read the log on from."""
        return dict(self._flushed)

    def positions(self) -> dict[str, int]:
        """The offset to be read next, for each partition; of flushed rows alone."""
        return {name: place.next_offset for name, place in self._flushed.items()}

    def append(self, rows: ArchiveRows) -> None:
        """Buffer rows for the next flush, leaving out those that are buffered or flushed."""
        waiting = self._buffered.get(rows.partition)
        if waiting:
            rows = rows.since(waiting[-1].next_offset)
        elif (place := self.place(rows.partition)) is not None:
            rows = rows.since(place.next_offset)
        if not len(rows.offsets):
            return
        self._buffered.setdefault(rows.partition, []).append(rows)
        self.row_count += len(rows.offsets)
        self.size_bytes += rows.size_bytes

    def flush(self) -> int:
        """Write what is buffered, in one commit; returns the number of rows written.

        Raises `SinkError`, and keeps the buffer, if it cannot be known to be written. Flushing
        again then finds out: rows that did arrive are not written twice.
        """
        if not self.row_count:
            return 0
        self._table.refresh()
        self._look(self._buffered)
        parts = self._unwritten()
        places = {partition: self._end(rows[-1]) for partition, rows in parts.items()}
        if self._dead_letter is not None:
            ends = {partition: place.next_offset for partition, place in places.items()}
            self._dead_letter.append(_dead(parts), ends)
        files = [part for rows in parts.values() for part in _parts(rows)]
        if files:
            marks = {p: Mark(end.next_offset, end.running_max_us) for p, end in places.items()}
            self._table.append(files, marks)
        self._flushed.update(places)
        self._buffered.clear()
        self.row_count = self.size_bytes = 0
        return sum(part.rows.height for part in files)

    def _look(self, partitions: Iterable[str]) -> None:
        for partition in partitions:
            mark = self._table.mark(partition)
            if mark is not None:
                self._flushed[partition] = ArchivePlace(mark.next_offset, mark.value)

    def _unwritten(self) -> dict[str, list[ArchiveRows]]:
        """The buffer, without what an earlier flush that seemed to fail did write."""
        parts = {}
        for partition, buffered in sorted(self._buffered.items()):
            place = self._flushed.get(partition)
            start = place.next_offset if place is not None else 0
            kept = [part for rows in buffered if len((part := rows.since(start)).offsets)]
            if kept:
                parts[partition] = kept
        return parts

    def _end(self, rows: ArchiveRows) -> ArchivePlace:
        watermark_us = int(rows.watermark_us[-1])
        if watermark_us != NEVER_US:
            watermark_us += self._disorder_us
        return ArchivePlace(rows.next_offset, watermark_us)


def archive_path(stream: str) -> str:
    """Where a stream's archive lies in the lake."""
    return f"log/{stream}"


def archive_columns(schema: Mapping[str, DataType]) -> pa.Schema:
    """The columns of the archive of a stream with this schema."""
    fields = [pa.field(name, dtype.arrow) for name, dtype in schema.items()]
    return pa.schema([*OWN_COLUMNS, *fields])


def _dead(parts: Mapping[str, Sequence[ArchiveRows]]) -> list[DeadRecord]:
    return [
        DeadRecord(
            partition=partition,
            offset=bad.offset,
            log_us=bad.log_us,
            ingested_us=rows.ingested_us,
            code=str(bad.code),
            reason=bad.reason,
            raw=bad.raw,
        )
        for partition, batches in parts.items()
        for rows in batches
        for bad in rows.bad
    ]


def _parts(batches: Sequence[ArchiveRows]) -> Iterator[Part]:
    """Rows of one partition as files: one for each day on which they were taken in."""
    for day, of_day in groupby(batches, key=lambda rows: rows.ingested_us // DAY_US):
        taken_in = _EPOCH + timedelta(days=day)
        rows = list(of_day)
        yield Part({"_date": taken_in.isoformat(), "_partition": rows[0].partition}, _frame(rows))


def _frame(batches: Sequence[ArchiveRows]) -> pl.DataFrame:
    """Rows ascending by offset, good and bad."""
    # Some batches may say nothing in `_change`, and so have no such column.
    good = pl.concat([_good(rows) for rows in batches], how="diagonal")
    bad = [_bad(rows) for rows in batches if rows.bad]
    if not bad:
        return good
    # Records are bad one in many: appended and sorted in, they cost no gather for each batch.
    return pl.concat([good, *bad], how="diagonal").sort("_offset")


def _good(rows: ArchiveRows) -> pl.DataFrame:
    return rows.frame.with_columns(_positions(rows, rows.good))


def _bad(rows: ArchiveRows) -> pl.DataFrame:
    offsets = np.array([record.offset for record in rows.bad], dtype=np.int64)
    return pl.DataFrame(
        [
            *_positions(rows, np.searchsorted(rows.offsets, offsets)),
            pl.Series("_code", [str(record.code) for record in rows.bad], pl.String),
            pl.Series("_reason", [record.reason for record in rows.bad], pl.String),
            pl.Series("_raw", [record.raw for record in rows.bad], pl.Binary),
        ]
    )


def _positions(rows: ArchiveRows, indices: NDArray[np.int64]) -> list[pl.Series]:
    more = []
    if rows.change is not None:
        more.append(pl.Series("_change", rows.change[indices].tolist(), pl.String))
    return [
        *more,
        pl.Series("_offset", rows.offsets[indices]),
        pl.Series("_log_us", rows.log_us[indices]),
        pl.Series("_watermark_us", rows.watermark_us[indices]),
        pl.Series("_ingested_us", np.full(len(indices), rows.ingested_us, dtype=np.int64)),
    ]
