"""The dead letter: records that could not become events, in a Delta table `dead_letter/<stream>`.

Each is kept with its position, its code and reason, and the raw bytes, so that it can be found,
understood and driven again. Guarantee: exactly once, by marks of its own. It has no buffer: the
archive appends to it before its own commit, so a record that the archive holds is here too, and
what a crash interrupts between the two is not written twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

from .delta import Mark, MarkedTable
from .delta_files import Part, path_of, read_rows
from .lake import Lake, as_lake

COLUMNS: Final = pa.schema(
    [
        ("partition", pa.string()),
        ("offset", pa.int64()),
        ("log_us", pa.int64()),
        ("ingested_us", pa.int64()),
        ("code", pa.string()),
        ("reason", pa.string()),
        ("raw", pa.binary()),
    ]
)

_TYPES: Final = pl.Schema(COLUMNS)


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """One record that could not become an event; times in µs, `raw` the payload byte for byte."""

    partition: str
    offset: int
    log_us: int
    ingested_us: int
    code: str
    reason: str
    raw: bytes


class DeadLetter:
    """One stream's dead letter; not safe for several threads. Opening it writes nothing."""

    def __init__(self, root: Path | Lake, stream: str, *, writer: str = "") -> None:
        self._table = MarkedTable(
            as_lake(root).below(f"dead_letter/{stream}"),
            COLUMNS,
            partition_by=(),
            app=stream,
            writer=writer,
        )

    def append(self, records: Iterable[DeadRecord], next_offsets: Mapping[str, int]) -> int:
        """Append what is not there yet, in one commit; returns the number of records written.

        `next_offsets` says for each partition how far the records are complete. Raises `SinkError`
        if it cannot be known to be written; appending again is safe.
        """
        records = list(records)
        if not records:
            return 0
        self._table.refresh()
        touched = {record.partition for record in records}
        known = {partition: self._table.mark(partition) for partition in touched}
        start = {partition: mark.next_offset for partition, mark in known.items() if mark}
        new = [r for r in records if r.partition not in start or r.offset >= start[r.partition]]
        if new:
            touched = {record.partition for record in new}
            self._table.append([Part({}, _frame(new))], {p: Mark(next_offsets[p]) for p in touched})
        return len(new)

    def list(
        self, *, limit: int = 100, code: str | None = None, partition: str | None = None
    ) -> tuple[DeadRecord, ...]:
        """At most `limit` records that match, the latest ingested first."""
        wanted = pl.lit(value=True)
        if code is not None:
            wanted &= pl.col("code") == code
        if partition is not None:
            wanted &= pl.col("partition") == partition
        found: list[pl.DataFrame] = []
        missing = limit
        for rows in self._newest_first():
            newest = rows.filter(wanted).sort("ingested_us", "partition", "offset", descending=True)
            found.append(newest.head(missing))
            missing -= found[-1].height
            if missing <= 0:
                break
        return tuple(record for rows in found for record in _records(rows))

    def show(self, partition: str, offset: int) -> DeadRecord | None:
        """The record at a position, or None if it is not here."""
        position = (pl.col("partition") == partition) & (pl.col("offset") == offset)
        for rows in self._newest_first(offset):
            for record in _records(rows.filter(position)):
                return record
        return None

    def counts(self) -> dict[str, int]:
        """How many records there are of each code."""
        counts: dict[str, int] = {}
        for rows in self._newest_first():
            for code, count in rows["code"].value_counts().iter_rows():
                counts[code] = counts.get(code, 0) + count
        return dict(sorted(counts.items()))

    def _newest_first(self, offset: int | None = None) -> Iterator[pl.DataFrame]:
        """The rows of each file, or of those that may hold `offset`; memory holds one file."""
        self._table.refresh()
        # By their rows: a bucket knows the time of its objects to the second.
        for file in sorted(self._table.files(), key=lambda one: -one["max.ingested_us"]):
            if offset is None or file["min.offset"] <= offset <= file["max.offset"]:
                yield from read_rows(self._table.lake, path_of(file))


def _frame(records: Iterable[DeadRecord]) -> pl.DataFrame:
    return pl.DataFrame(list(records), schema=_TYPES)


def _records(rows: pl.DataFrame) -> Iterator[DeadRecord]:
    names = [field.name for field in fields(DeadRecord)]
    for values in rows.select(names).iter_rows():
        yield DeadRecord(*values)
