"""Imported records: history from elsewhere, as a partition of its own beside a stream's log.

What an import brings becomes records of partition `import-<identity>`, in order of event time
within one import, imports one after the other. A record's log timestamp is when it landed: its
event time and the delay that the import declared, and never after the import itself. They were
written once and are not changed. An import counts from the moment that its row is in the file:

    imports(number, name, first_offset, count, bad, imported_us, delay_us, first_us, last_us,
            digest, request)
    parts(first_offset, count, import, path)

`bad` of the `count` records are no events. `first_us` and `last_us` bound the events' times, null
without any. `digest` says what its rows were, in any order; `request` what was asked for, JSON.
Paths are relative to the file. A part is a Parquet file of columns `log_us` (int64) and `line`
(binary): the record as a push would send it, and a newline. Its pages have checksums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from ..schemas.imported import IMPORTED_PREFIX
from .beside_file import BesideFile, Layout
from .local_file import damaged, named_errors, writing
from .payloads import Payloads
from .source import RawBatch

GROUP_ROWS: Final = 65_536
"""Records that a reader takes at a time: those of one row group."""

SCHEMA: Final = pa.schema([("log_us", pa.int64()), ("line", pa.large_binary())])

_LAYOUT: Final = Layout(
    what="imported records",
    application_id=0x5447494D,  # "TGIM" in the file's header
    format_version=1,
    tables="""
CREATE TABLE imports (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first_offset INTEGER NOT NULL,
    count INTEGER NOT NULL, bad INTEGER NOT NULL, imported_us INTEGER NOT NULL,
    delay_us INTEGER NOT NULL, first_us INTEGER, last_us INTEGER,
    digest TEXT NOT NULL, request TEXT NOT NULL
);
CREATE TABLE parts (
    first_offset INTEGER PRIMARY KEY, count INTEGER NOT NULL, import INTEGER NOT NULL,
    path TEXT NOT NULL
);
""",
)
_ALL: Final = (
    "SELECT name, first_offset, count, bad, imported_us, delay_us, first_us, last_us, digest,"
    " request FROM imports ORDER BY number"
)
_ADD: Final = (
    "INSERT INTO imports (name, first_offset, count, bad, imported_us, delay_us, first_us,"
    " last_us, digest, request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Import:
    """One import, as the file says it: see the module."""

    name: str
    first_offset: int
    count: int
    bad: int
    imported_us: int
    delay_us: int
    first_us: int | None
    last_us: int | None
    digest: str
    request: str


@dataclass(frozen=True, slots=True)
class Part:
    """A file with `count` records, which is on the disk."""

    path: Path
    count: int


@dataclass(slots=True)
class _Group:
    """The row group that was read last: records [begin, end)."""

    begin: int
    end: int
    log_us: NDArray[np.int64]
    payloads: Payloads


class ImportFile:
    """The imports of one stream. Safe for several processes, not for several threads."""

    def __init__(self, path: Path, stream: str) -> None:
        """Open the file of `stream`, if there is one; `add` makes it.

        Raises `FormatUnknown` for a file that is none, `SourceError` for one that is damaged.
        """
        self._path = path
        self._file = BesideFile(path, stream, _LAYOUT)
        self._group: _Group | None = None

    @property
    def prefix(self) -> str:
        """What the partition's name begins with."""
        return IMPORTED_PREFIX

    @property
    def partition(self) -> str | None:
        """The partition that the records make; None as long as there are none."""
        identity = self._file.identity
        return None if identity is None else f"{IMPORTED_PREFIX}{identity}"

    def end(self) -> int:
        """The offset that the next imported record will get."""
        if self.partition is None:
            return 0
        with named_errors(self._path):
            query = "SELECT ifnull(max(first_offset + count), 0) FROM imports"
            return int(self._file.db.execute(query).fetchone()[0])

    def imports(self) -> tuple[Import, ...]:
        """All imports, the oldest first."""
        if self.partition is None:
            return ()
        with named_errors(self._path):
            return tuple(Import(*row) for row in self._file.db.execute(_ALL))

    def find(self, name: str) -> Import | None:
        """The import of that name."""
        return next((one for one in self.imports() if one.name == name), None)

    def add(self, what: Import, parts: Sequence[Part]) -> Import:
        """Make `parts` the next records of the partition, unless an import of that name is there.

        Returns what is there then. It is durable, or nothing has changed: one transaction.
        `first_offset` of what is given does not count.
        """
        self._file.create()
        with named_errors(self._path), writing(self._file.db):
            db = self._file.db
            known = next((one for one in self.imports() if one.name == what.name), None)
            if known is not None:
                return known
            query = "SELECT ifnull(max(first_offset + count), 0) FROM imports"
            (offset,) = db.execute(query).fetchone()
            added = replace(what, first_offset=offset)
            number = db.execute(_ADD, astuple(added)).lastrowid
            for part in parts:
                path = part.path.relative_to(self._path.parent).as_posix()
                row = (offset, part.count, number, path)
                db.execute("INSERT INTO parts VALUES (?, ?, ?, ?)", row)
                offset += part.count
        return added

    def read(self, offset: int, rows_max: int) -> RawBatch | None:
        """At most `rows_max` records from `offset` on; None if there are none.

        Raises `SourceError` for records whose bytes are not those that were written.
        """
        partition = self.partition
        group = self._group
        if partition is None:
            return None
        if group is None or not group.begin <= offset < group.end:
            group = self._group = self._read_group(offset)
            if group is None:
                return None
        first, last = offset - group.begin, min(offset + rows_max, group.end) - group.begin
        return RawBatch(
            partition,
            np.arange(offset, group.begin + last),
            group.log_us[first:last],
            group.payloads.slice(first, last),
            group.begin + last,
        )

    def _read_group(self, offset: int) -> _Group | None:
        """The row group that holds a record."""
        with named_errors(self._path):
            query = (
                "SELECT first_offset, count, path FROM parts WHERE first_offset <= ?"
                " ORDER BY first_offset DESC LIMIT 1"
            )
            row = self._file.db.execute(query, (offset,)).fetchone()
        if row is None or offset >= row[0] + row[1]:
            return None
        place = self._path.parent / row[2]
        number = (offset - row[0]) // GROUP_ROWS
        begin = row[0] + number * GROUP_ROWS
        with named_errors(place):
            try:
                file = parquet.ParquetFile(place, page_checksum_verification=True)
                if file.metadata.num_rows != row[1]:
                    raise damaged(place, f"{file.metadata.num_rows} records, not {row[1]}")
                rows = file.read_row_group(number, columns=SCHEMA.names)
            except (pa.ArrowException, OSError) as fault:
                if getattr(fault, "errno", None) is not None:
                    raise  # the disk says it, not the bytes
                raise damaged(place, str(fault)) from fault
        log_us = rows["log_us"].combine_chunks().to_numpy()
        return _Group(begin, begin + len(log_us), log_us, payloads_of(rows["line"]))

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def payloads_of(lines: pa.ChunkedArray) -> Payloads:
    """Records as payloads, of a column that holds each with a newline; copies no record."""
    column = lines.combine_chunks() if isinstance(lines, pa.ChunkedArray) else lines
    column = column.cast(pa.large_binary())
    if not len(column):
        return Payloads.from_list([])
    _, ends, data = column.buffers()
    bounds = np.frombuffer(ends, np.int64)[column.offset : column.offset + len(column) + 1]
    first = int(bounds[0])
    whole = memoryview(data)[first : int(bounds[-1]) - 1]
    return Payloads(bytes(whole), bounds[1:] - (first + 1))


def lines_of(payloads: Payloads) -> pa.LargeBinaryArray:
    """The column that holds each record with a newline; the inverse of `payloads_of`."""
    ends = np.zeros(len(payloads) + 1, np.int64)
    ends[1:] = payloads.ends + 1
    data = pa.py_buffer(payloads.data + b"\n")
    return pa.Array.from_buffers(pa.large_binary(), len(payloads), [None, pa.py_buffer(ends), data])
