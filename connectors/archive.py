"""The archive as a log: replaying history through the dataflow that reads the live log.

`ArchiveLog` has the shape of a `Log`, but its reader yields decoded batches: the archive holds
columns, and what was bad when it was first read stays bad, with the same code and reason. Rows come
in offset order within a partition, and with the positions that they had live, so that a replay up
to a fence joins the log without gap or overlap.

Partitions are not read in turn but by log time: next is always the one that has come least far.
Their watermarks so advance together, which keeps what the dataflow holds in memory small.

What lists and reads files is passed in (`ArchiveFiles`, implemented in `state/archive_files.py`).
Memory holds one row group a partition.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..schemas.errors import FormatUnknown, LogTruncated
from ..schemas.outcomes import BadRecord, RecordCode
from ..schemas.redriven import COPY, LATE, is_redriven
from .decode import DecodedBatch
from .source import Origins

_IDLE_S: Final = 0.005
_READ_ROWS: Final = 131_072


class FileSpan(Protocol):
    """A file with rows of one partition, offsets in [first_offset, last_offset], ascending."""

    @property
    def first_offset(self) -> int:
        """The least offset in it."""
        ...

    @property
    def last_offset(self) -> int:
        """The greatest offset in it."""
        ...

    @property
    def first_log_us(self) -> int:
        """The least log timestamp in it, µs since the epoch."""
        ...

    @property
    def bad_count(self) -> int:
        """How many of its rows are bad records."""
        ...

    @property
    def changed_count(self) -> int:
        """Of how many of its rows `_change` says something."""
        ...

    def read(self, from_offset: int, rows_max: int) -> Iterator[pl.DataFrame]:
        """Rows at or after `from_offset`, ascending, at most `rows_max` a frame, none empty.

        Columns `_offset`, `_log_us`, then `_code`, `_reason`, `_raw` if the file has bad records
        (null in good rows), `_change` if it says something of any, `_watermark_us` if they were
        driven again, then the stream's own.
        """
        ...


class ArchiveFiles(Protocol):
    """What a replay needs to know of an archive; not asked by several threads at a time."""

    @property
    def identity(self) -> str:
        """Names this archive; empty as long as it has no rows."""
        ...

    def refresh(self) -> None:
        """Take in what has been archived since; everything else answers as of then."""
        ...

    def partitions(self) -> tuple[str, ...]:
        """Partitions with rows."""
        ...

    def bounds(self, partition: str) -> tuple[int, int]:
        """The first offset that is kept and the one to be archived next; (0, 0) if it is empty."""
        ...

    def spans(self, partition: str, from_offset: int) -> Sequence[FileSpan]:
        """Files with rows at or after `from_offset`, in order of offsets, not overlapping."""
        ...


class ArchiveLog:
    """One stream's archive, read like a log. `event_time` names the stream's event time column."""

    def __init__(self, stream: str, files: ArchiveFiles, event_time: str) -> None:
        self.stream = stream
        self._files = files
        self._event_time = event_time

    @property
    def identity(self) -> str:
        """The archive's own identity; its positions are those of the log that it copies."""
        self._files.refresh()
        return self._files.identity

    def partitions(self) -> tuple[str, ...]:
        """Partitions with archived rows, now."""
        self._files.refresh()
        return self._files.partitions()

    def bounds(self, partition: str) -> tuple[int, int]:
        """The first archived offset, and the one to be archived next; (0, 0) if there is none."""
        self._files.refresh()
        return self._files.bounds(partition)

    def future(self, partition: str, from_offset: int) -> NDArray[np.int64]:
        """Offsets, from `from_offset` on, of archived records that were future; int64, ascending.

        O(rows of files with bad records from there on).
        """
        spans = [span for span in self._spans(partition, from_offset) if span.bad_count]
        return self._offsets(spans, from_offset, pl.col("_code") == RecordCode.FUTURE)

    def copies(self, partition: str, from_offset: int) -> NDArray[np.int64]:
        """Offsets, from `from_offset` on, of archived records that are copies; as `future`."""
        spans = [span for span in self._spans(partition, from_offset) if span.changed_count]
        return self._offsets(spans, from_offset, pl.col("_change") == COPY)

    def events(self, partition: str, from_offset: int) -> Iterator[pl.DataFrame]:
        """The rows of archived events, from `from_offset` on, that are no copies, in order.

        Columns `_offset` and the stream's own, at least.
        """
        for span in self._spans(partition, from_offset):
            for rows in span.read(from_offset, _READ_ROWS):
                if "_code" in rows.columns:
                    rows = rows.filter(pl.col("_code").is_null())
                if "_change" in rows.columns:
                    rows = rows.filter(pl.col("_change").ne_missing(COPY))
                if rows.height:
                    yield rows

    def _spans(self, partition: str, from_offset: int) -> Sequence[FileSpan]:
        self._files.refresh()
        return self._files.spans(partition, from_offset)

    @staticmethod
    def _offsets(spans: Sequence[FileSpan], first: int, wanted: pl.Expr) -> NDArray[np.int64]:
        found = [
            _int64(rows.filter(wanted)["_offset"])
            for span in spans
            for rows in span.read(first, _READ_ROWS)
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def open(self, positions: Mapping[str, int]) -> ArchiveReader:
        """A reader of the partitions in `positions`, each from its given offset on.

        Raises `LogTruncated` if the archive of one begins after its position. A position past the
        archive's end is fine: those rows are still to come.
        """
        reader = ArchiveReader(self.stream, self._files, self._event_time)
        for partition, offset in positions.items():
            reader.seek(partition, offset)
        return reader


class ArchiveReader:
    """Reads an archive on from given positions; not safe for use by several threads."""

    def __init__(self, stream: str, files: ArchiveFiles, event_time: str) -> None:
        self._stream = stream
        self._files = files
        self._event_time = event_time
        self._cursors: dict[str, _Cursor] = {}
        self._idle = threading.Event()
        files.refresh()

    def poll(self, rows_max: int) -> DecodedBatch | None:
        """At most `rows_max` rows of the partition whose log time has come least far.

        None means that all that is archived now has been read; a later call looks again.
        """
        while (cursor := self._least_far()) is not None:
            rows = cursor.take(rows_max)
            if rows is not None:
                return self._batch(cursor, rows)
            if not self._read_on(cursor):
                cursor.ended = True
        self._idle.wait(_IDLE_S)
        self._files.refresh()
        for cursor in self._cursors.values():
            cursor.ended = False
        return None

    def seek(self, partition: str, offset: int) -> None:
        """Read `partition` from `offset` on; adds it where it was not being read.

        Raises `LogTruncated` if the archive begins after `offset`.
        """
        first_offset, end_offset = self._files.bounds(partition)
        if end_offset > first_offset > offset:
            raise LogTruncated(
                stream=f"{self._stream} (archive)",
                partition=partition,
                first_offset=first_offset,
                wanted_offset=offset,
            )
        self._cursors[partition] = _Cursor(partition, offset)

    def close(self) -> None:
        """Give back open files."""
        self._cursors.clear()

    def _least_far(self) -> _Cursor | None:
        running = [cursor for cursor in self._cursors.values() if not cursor.ended]
        return min(running, key=lambda cursor: cursor.log_us, default=None)

    def _read_on(self, cursor: _Cursor) -> bool:
        """Open the next file of a partition; False if there is none yet."""
        spans = self._files.spans(cursor.partition, cursor.offset)
        if not spans:
            return False
        span = spans[0]
        cursor.frames = span.read(cursor.offset, _READ_ROWS)
        # Where this file ends for the reader: offsets up to the next one's first do not exist.
        end_offset = self._files.bounds(cursor.partition)[1]
        cursor.offset = spans[1].first_offset if len(spans) > 1 else end_offset
        cursor.log_us = max(cursor.log_us, span.first_log_us)
        return True

    def _batch(self, cursor: _Cursor, rows: pl.DataFrame) -> DecodedBatch:
        next_offset = int(rows["_offset"][-1]) + 1 if cursor.has_rows else cursor.offset
        bad: tuple[BadRecord, ...] = ()
        origins = None
        read_count = rows.height
        copies = None
        if "_change" in rows.columns:
            copies = _int64(rows.filter(pl.col("_change") == COPY)["_offset"])
        if is_redriven(cursor.partition):
            was_good = (rows["_change"] == LATE).to_numpy()
            origins = Origins(_int64(rows["_offset"]), _int64(rows["_watermark_us"]), was_good)
        rows = rows.drop("_watermark_us", "_change", strict=False)
        if "_code" in rows.columns:
            bad = _bad_records(rows.filter(pl.col("_code").is_not_null()))
            rows = rows.filter(pl.col("_code").is_null()).drop("_code", "_reason", "_raw")
        if rows.height:  # what is bad may lie at any time
            cursor.log_us = int(rows["_log_us"][-1])
        return DecodedBatch(
            partition=cursor.partition,
            next_offset=next_offset,
            offsets=_int64(rows["_offset"]),
            log_us=_int64(rows["_log_us"]),
            event_us=_int64(rows[self._event_time]),
            frame=rows.drop("_offset", "_log_us"),
            bad=bad,
            read_count=read_count,
            origins=origins,
            copies=copies,
        )


@dataclass(slots=True)
class _Cursor:
    """Where a reader is in one partition.

    `offset` is where the next file is to be looked for; `rows` is left over of what was read.
    """

    partition: str
    offset: int
    log_us: int = -(2**63)
    frames: Iterator[pl.DataFrame] = field(default_factory=lambda: iter(()))
    rows: pl.DataFrame | None = None
    ended: bool = False

    def take(self, rows_max: int) -> pl.DataFrame | None:
        """The next rows of the open file, at most `rows_max`; None at its end."""
        rows = self.rows if self.rows is not None else next(self.frames, None)
        if rows is None:
            return None
        # One frame ahead, so that a file's last rows are known to be its last.
        rest = rows[rows_max:] if rows.height > rows_max else next(self.frames, None)
        self.rows = rest
        return rows[:rows_max]

    @property
    def has_rows(self) -> bool:
        """Whether the open file has more rows."""
        return self.rows is not None


def _bad_records(rows: pl.DataFrame) -> tuple[BadRecord, ...]:
    known = rows.select("_offset", "_log_us", "_code", "_reason", "_raw")
    return tuple(
        BadRecord(offset, log_us, _code(code), reason, raw)
        for offset, log_us, code, reason, raw in known.iter_rows()
    )


def _code(code: str) -> RecordCode:
    try:
        return RecordCode(code)
    except ValueError as fault:
        known = ", ".join(RecordCode)
        raise FormatUnknown(where="the archive's _code", got=code, expected=known) from fault


def _int64(column: pl.Series) -> NDArray[np.int64]:
    values: NDArray[np.int64] = column.to_physical().to_numpy()
    return values
