"""Records driven again: a partition of their own beside a stream's log.

A record that was dead-lettered, or that some view found too old, is given to the engine once more
as a record of partition `redrive-<identity>`, with the watermark of the row that it was. So it is
judged as if it had been right the first time, live and in every replay. A position is driven again
once, however often that is asked for: it is unique in the file, and the file is the partition.

One SQLite file a stream, made by the first redrive, `synchronous=FULL`:

    log(identity, stream)
    records(offset, partition, first_offset, watermark_us, was_good, log_us, hash, payload)

`partition` and `first_offset` say which record this was, `log_us` when it was driven again, `hash`
is the xxh3 of the payload with the offset as its seed. Offsets ascend from 0 without gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xxhash

from ..schemas.redriven import REDRIVEN_PREFIX
from .beside_file import BesideFile, Layout
from .local_file import damaged, named_errors, writing
from .payloads import Payloads
from .source import Origins, RawBatch

_LAYOUT: Final = Layout(
    what="records driven again",
    application_id=0x54475244,  # "TGRD" in the file's header
    format_version=1,
    tables="""
CREATE TABLE records (
    offset INTEGER PRIMARY KEY, partition TEXT NOT NULL, first_offset INTEGER NOT NULL,
    watermark_us INTEGER NOT NULL, was_good INTEGER NOT NULL, log_us INTEGER NOT NULL,
    hash INTEGER NOT NULL, payload BLOB NOT NULL,
    UNIQUE (partition, first_offset)
);
""",
)


@dataclass(frozen=True, slots=True)
class Redriven:
    """A record to be driven again: which it was, the watermark of its row, and its bytes now.

    `was_good` if it was an event already, and only too old for some view.
    """

    partition: str
    offset: int
    watermark_us: int
    was_good: bool
    payload: bytes


class RedriveFile:
    """The records of one stream that were driven again. Safe for several processes."""

    def __init__(self, path: Path, stream: str) -> None:
        """Open the file of `stream`, if there is one; `append` makes it.

        Raises `FormatUnknown` for a file that is none, `SourceError` for one that is damaged.
        """
        self._path = path
        self._file = BesideFile(path, stream, _LAYOUT)

    @property
    def prefix(self) -> str:
        """What the partition's name begins with."""
        return REDRIVEN_PREFIX

    @property
    def partition(self) -> str | None:
        """The partition that the records make; None as long as there are none."""
        identity = self._file.identity
        return None if identity is None else f"{REDRIVEN_PREFIX}{identity}"

    def append(self, records: Sequence[Redriven], log_us: int) -> int:
        """Append those records that were never driven again; returns their number.

        They are durable when this returns: all of them, or none if it raises.
        """
        if not records:
            return 0
        self._file.create()
        with named_errors(self._path), writing(self._file.db):
            db = self._file.db
            (end,) = db.execute("SELECT ifnull(max(offset) + 1, 0) FROM records").fetchone()
            first = end
            for one in records:
                done = db.execute(
                    "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        end,
                        one.partition,
                        one.offset,
                        one.watermark_us,
                        one.was_good,
                        log_us,
                        _hash(one.payload, end),
                        one.payload,
                    ),
                )
                end += done.rowcount
        return int(end - first)

    def end(self) -> int:
        """The offset that the next record will get."""
        if self.partition is None:
            return 0
        with named_errors(self._path):
            query = "SELECT ifnull(max(offset) + 1, 0) FROM records"
            return int(self._file.db.execute(query).fetchone()[0])

    def read(self, offset: int, rows_max: int) -> RawBatch | None:
        """At most `rows_max` records from `offset` on; None if there are none.

        Raises `SourceError` for records whose bytes are not those that were written.
        """
        partition = self.partition
        if partition is None:
            return None
        with named_errors(self._path):
            rows = self._file.db.execute(
                "SELECT offset, watermark_us, was_good, log_us, hash, payload FROM records"
                " WHERE offset >= ? ORDER BY offset LIMIT ?",
                (offset, rows_max),
            ).fetchall()
        if not rows:
            return None
        for row in rows:
            if _hash(row[5], row[0]) != row[4]:
                raise damaged(self._path, f"record {row[0]} does not have its hash")
        numbers = np.array([row[:4] for row in rows], np.int64)
        offsets = numbers[:, 0]
        return RawBatch(
            partition,
            offsets,
            numbers[:, 3],
            Payloads.from_list([row[5] for row in rows]),
            int(offsets[-1]) + 1,
            origins=Origins(offsets, numbers[:, 1], numbers[:, 2] != 0),
        )

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def _hash(payload: bytes, offset: int) -> int:
    unsigned = xxhash.xxh3_64_intdigest(payload, seed=offset)
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned
