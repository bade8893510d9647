"""Rows for the archive, made from a few numbers."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl

from tegula.schemas.outcomes import BadRecord, RecordCode
from tegula.schemas.types import DataType, Float64, String, Timestamp
from tegula.state.archive import Archive, ArchiveRows
from tegula.state.dead_letter import DeadLetter

SCHEMA: dict[str, DataType] = {"card_id": String, "amount": Float64, "at": Timestamp}
DAY_US = 86_400_000_000
START_US = 20_000 * DAY_US
DISORDER_US = 5_000_000


def rows(
    partition: str,
    first: int,
    stop: int,
    *,
    bad: Collection[int] = (),
    next_offset: int | None = None,
    ingested_us: int = START_US,
) -> ArchiveRows:
    """Offsets [first, stop); event i is dated START_US + i ms, its watermark is that - disorder."""
    offsets = np.arange(first, stop, dtype=np.int64)
    is_bad = np.isin(offsets, sorted(bad))
    good = np.flatnonzero(~is_bad)
    event_us = START_US + offsets * 1_000
    frame = pl.DataFrame(
        {
            "card_id": [f"card-{offset}" for offset in offsets[good].tolist()],
            "amount": offsets[good] / 4,
            "at": pl.Series(event_us[good]).cast(pl.Datetime("us", "UTC")),
        },
        schema={name: dtype.polars for name, dtype in SCHEMA.items()},
    )
    return ArchiveRows(
        partition=partition,
        next_offset=stop if next_offset is None else next_offset,
        offsets=offsets,
        log_us=event_us + 7,
        watermark_us=event_us - DISORDER_US,
        ingested_us=ingested_us,
        frame=frame,
        good=good,
        bad=tuple(
            BadRecord(offset, START_US + offset * 1_000 + 7, RecordCode.MALFORMED, "torn", b"{\xff")
            for offset in offsets[is_bad].tolist()
        ),
    )


def open_archive(root: Path, *, dead_letter: bool = True) -> Archive:
    return Archive(
        root,
        "payments",
        SCHEMA,
        writer="test",
        disorder_us=DISORDER_US,
        dead_letter=DeadLetter(root, "payments") if dead_letter else None,
    )


def table(root: Path, name: str = "log/payments") -> pl.DataFrame:
    """All rows of a table, in the order of their positions."""
    frame = pl.read_delta(str(root / name))
    own = "_" if "_offset" in frame.columns else ""
    return frame.sort(f"{own}partition", f"{own}offset")
