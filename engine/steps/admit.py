"""Admission: what time it is at each row, and which rows are too far ahead of it.

The watermark of a row is the running maximum of `min(event time, log timestamp)` over the rows of
its partition up to and including it, less the stream's disorder. It is a pure function of the
partition's prefix: batch cuts and restarts cannot change it, so a replay decides as live did. A row
that is dated further ahead of its log timestamp than the stream allows is turned away as `FUTURE`
before it counts for anything, and so is one whose log timestamp was too far ahead of the wall clock
(`first_reading.py`).

Records that are driven again have the watermarks of the rows that they were, and push none. An
imported record is judged by itself alone: by the watermark that it would make as the first of its
partition. So it is never late, and never expires, in whatever order imports come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ...connectors.decode import DecodedBatch
from ...connectors.source import Origins
from ...schemas.imported import is_imported
from ...schemas.outcomes import BadRecord, RecordCode
from ...schemas.time import format_duration
from ...windows.algebra import Bools, Int64s
from ...windows.tiles import NEVER_US


@dataclass(frozen=True, slots=True)
class Admitted:
    """A batch with its times: the arrays have one entry a good row, in offset order.

    `running_max_us` is the partition's running maximum after the batch (of imported rows: the last
    one's own), to be carried on; `bad`
    holds everything that has no columns, in offset order; `read_count` = good + bad. `origins` says
    of records that are driven again, good and bad, what they were. `copies` int64 are offsets of
    rows that a replay knows for copies of others; `is_copy` bool, one a good row, says which are
    (None: none).
    """

    partition: str
    next_offset: int
    offsets: np.ndarray
    log_us: np.ndarray
    event_us: np.ndarray
    watermark_us: np.ndarray
    frame: pl.DataFrame
    bad: tuple[BadRecord, ...]
    running_max_us: int
    read_count: int
    origins: Origins | None = None
    copies: Int64s | None = None
    is_copy: Bools | None = None


def admit(
    batch: DecodedBatch,
    *,
    running_max_us: int,
    disorder_us: int,
    ahead_us: int,
    past_clock: Bools | None = None,
) -> Admitted:
    """Give each row of `batch` its watermark, after a prefix with `running_max_us`.

    `running_max_us` is `NEVER_US` before the first row of a partition; `past_clock` bool (rows,)
    are those that the wall clock has turned away, None if it has none.
    """
    future = batch.event_us > batch.log_us + ahead_us
    if past_clock is not None:
        future |= past_clock
    bad = batch.bad
    offsets, log_us, event_us, frame = batch.offsets, batch.log_us, batch.event_us, batch.frame
    if future.any():
        bad = _with_future(batch, future, past_clock, ahead_us)
        kept = ~future
        offsets, log_us, event_us = offsets[kept], log_us[kept], event_us[kept]
        frame = frame.filter(pl.Series(kept))
    if batch.origins is not None:
        watermark_us = batch.origins.at(offsets).watermark_us
    else:
        running = np.minimum(event_us, log_us)
        if len(running):
            if not is_imported(batch.partition):
                running = np.maximum.accumulate(running)
                np.maximum(running, running_max_us, out=running)
            running_max_us = int(running[-1])
        watermark_us = running - disorder_us
    return Admitted(
        batch.partition,
        batch.next_offset,
        offsets,
        log_us,
        event_us,
        watermark_us,
        frame,
        bad,
        running_max_us,
        batch.read_count,
        batch.origins,
        batch.copies,
    )


def _with_future(
    batch: DecodedBatch, future: Bools, past_clock: Bools | None, ahead_us: int
) -> tuple[BadRecord, ...]:
    offsets = batch.offsets[future].tolist()
    raw = [batch.payload(offset) for offset in offsets]
    if None in raw:
        rows = batch.frame.filter(pl.Series(future)).write_ndjson().encode().splitlines()
        raw = [row if known is None else known for known, row in zip(raw, rows, strict=True)]
    allowed = f"the stream allows {format_duration(ahead_us)}"
    columns = (
        batch.log_us,
        batch.event_us,
        np.zeros_like(future) if past_clock is None else past_clock,
    )
    turned_away = [
        BadRecord(
            offset,
            log_us,
            RecordCode.FUTURE,
            f"the log timestamp was too far ahead of the wall clock when first read, {allowed}"
            if past
            else f"event time is {format_duration(event_us - log_us)} ahead of the log timestamp,"
            f" {allowed}",
            payload or b"",
        )
        for offset, log_us, event_us, past, payload in zip(
            offsets, *(column[future].tolist() for column in columns), raw, strict=True
        )
    ]
    return tuple(sorted((*batch.bad, *turned_away), key=lambda record: record.offset))


def watermark_at(admitted: Admitted, offsets: np.ndarray, before_us: int) -> np.ndarray:
    """The watermark at any offsets of the batch, those of bad records among them.

    `before_us` is the watermark before the batch's first row (`NEVER_US` if there is none).
    """
    if admitted.origins is not None:
        return admitted.origins.at(offsets).watermark_us
    place = np.searchsorted(admitted.offsets, offsets, side="right") - 1
    if not len(admitted.offsets):
        return np.full(len(offsets), before_us)
    return np.where(place >= 0, admitted.watermark_us[np.maximum(place, 0)], before_us)


__all__ = ["NEVER_US", "Admitted", "admit", "watermark_at"]
