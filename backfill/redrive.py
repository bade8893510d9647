"""Records that did not count, found in the archive, and driven again.

Two kinds: those that could not become events (dead letters), and events that a view found too old
for its `allowed_lateness`. Both lie in the archive with the watermark of their rows, so which they
are is computed, not remembered. Driven again, they get positions in a partition of their own
(`connectors/redrive.py`), and are judged as the rows that they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from ..connectors.encode import encode
from ..connectors.redrive import RedriveFile, Redriven
from ..engine.lake import lake_of
from ..engine.plan import Build, StreamPlan
from ..engine.settings import Settings
from ..schemas.errors import BadRequest
from ..schemas.outcomes import RecordCode
from ..schemas.redriven import COPY, LATE
from ..schemas.time import format_duration
from ..state.archive_files import ArchiveFiles, FileSpan

EXPIRED: Final = "expired"
"""The code of an event that a view found too old."""

_OWN: Final = ("_offset", "_log_us", "_watermark_us", "_code", "_reason", "_raw")
_READ_ROWS: Final = 65_536
_BATCH: Final = 10_000

Mend = Callable[[bytes], bytes | None]
"""Gives the bytes that a record is to have now; None leaves it out."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which records: of one partition, of one code, with offsets in [first_offset, end_offset)."""

    partition: str | None = None
    code: str | None = None
    first_offset: int = 0
    end_offset: int = 2**63 - 1

    def spans(self, files: ArchiveFiles) -> Iterator[FileSpan]:
        """The archive's files that may hold such records, by partition and offset."""
        files.refresh()
        for partition in files.partitions():
            if self.partition in (None, partition):
                for span in files.spans(partition, self.first_offset):
                    if span.first_offset < self.end_offset:
                        yield span

    @property
    def condition(self) -> pl.Expr:
        """What holds for rows of these offsets."""
        return pl.col("_offset").is_between(self.first_offset, self.end_offset, closed="left")


@dataclass(frozen=True, slots=True)
class Found:
    """A record that did not count: position, log timestamp, why, and the watermark of its row."""

    partition: str
    offset: int
    log_us: int
    watermark_us: int
    code: str
    reason: str
    raw: bytes


def dead(settings: Settings, stream: StreamPlan, choice: Choice) -> Iterator[Found]:
    """Records of a stream that could not become events, by partition and offset.

    Tombstones are not among them: they say that there is nothing. O(rows of files with bad ones).
    """
    bad = pl.col("_code").is_not_null() & (pl.col("_code") != RecordCode.TOMBSTONE)
    if choice.code is not None:
        bad &= pl.col("_code") == choice.code
    for span in choice.spans(_files(settings, stream)):
        if not span.bad_count:
            continue
        for rows in span.rows(_OWN, choice.first_offset, _READ_ROWS):
            for row in rows.filter(bad & choice.condition).select(_OWN).iter_rows():
                yield Found(span.partition, *row)


def expired(
    settings: Settings, stream: StreamPlan, build: Build, choice: Choice
) -> Iterator[Found]:
    """Events that a build found too old, as the stream's decoder would be given them.

    By partition and offset, without copies and those that were driven again for being so; none
    if it finds nothing too old. O(rows of the archive).
    """
    bound_us = build.expiry_us
    if bound_us is None:
        return
    own = ["_offset", "_log_us", "_watermark_us", "_code", "_change"]
    counts_until_us = pl.col(stream.event_time).to_physical() + bound_us
    late = pl.col("_code").is_null() & ~pl.col("_change").is_in([LATE, COPY]).fill_null(value=False)
    late &= (counts_until_us < pl.col("_watermark_us")) & choice.condition
    schema = {name: dtype.polars for name, dtype in stream.schema.items()}
    for span in choice.spans(_files(settings, stream)):
        for rows in span.rows([*own, *schema], choice.first_offset, _READ_ROWS):
            missing = [pl.lit(None).alias(name) for name in schema if name not in rows.columns]
            found = rows.with_columns(missing)
            found = found.with_columns(pl.col(name).cast(t) for name, t in schema.items())
            found = found.filter(late)
            yield from _too_old(span.partition, found, stream, bound_us)


def _too_old(
    partition: str, rows: pl.DataFrame, stream: StreamPlan, bound_us: int
) -> Iterator[Found]:
    allowed = f"the view allows {format_duration(bound_us)}"
    positions = rows.select(
        "_offset", "_log_us", "_watermark_us", pl.col(stream.event_time).to_physical().alias("_at")
    )
    payloads = encode(rows, stream.schema)
    for (offset, log_us, watermark_us, at_us), raw in zip(
        positions.iter_rows(), payloads, strict=True
    ):
        reason = f"{format_duration(watermark_us - at_us)} behind its watermark, {allowed}"
        yield Found(partition, offset, log_us, watermark_us, EXPIRED, reason, raw)


@dataclass(frozen=True, slots=True)
class Done:
    """What a redrive did: records driven again, those that were before, those left out."""

    driven: int
    before: int
    left_out: int
    end_offset: int
    """The offset in the partition of what was driven again that the next record will get."""


def may_count(build: Build) -> None:
    """Raise `BadRequest` if nothing that a build finds too old could count in it again."""
    if build.foldable_us == build.expiry_us:
        raise BadRequest(
            "nothing that this view finds too old can count in it",
            where=f"view {build.view!r}",
            expected="a view whose `allowed_lateness` is less than its windows could use",
            hint="what its windows (sessions: by their own lateness) can no longer use is all that "
            "it expires",
        )


def redrive(
    settings: Settings,
    stream: str,
    found: Iterable[Found],
    now_us: int,
    mend: Mend | None = None,
) -> Done:
    """Drive records again, each as `mend` makes it; a position that was driven again is not twice.

    They are durable when this returns, and the engine takes them up by itself. Interrupted, it may
    be called again.
    """
    file = RedriveFile(settings.redriven_path(stream), stream)
    driven = given = left_out = 0
    batch: list[Redriven] = []
    try:
        for one in found:
            raw = one.raw if mend is None else mend(one.raw)
            if raw is None:
                left_out += 1
                continue
            was_good = one.code == EXPIRED
            batch.append(Redriven(one.partition, one.offset, one.watermark_us, was_good, raw))
            given += 1
            if len(batch) == _BATCH:
                driven += file.append(batch, now_us)
                batch.clear()
        driven += file.append(batch, now_us)
        return Done(driven, given - driven, left_out, file.end())
    finally:
        file.close()


def _files(settings: Settings, stream: StreamPlan) -> ArchiveFiles:
    return ArchiveFiles(lake_of(settings), stream.name, stream.schema)
