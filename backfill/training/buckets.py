"""Rows and events by hash of their key: what meets in one bucket is computed together.

Everything is read once, in whatever order it lies, and handed to the bucket of its key; so memory
has to hold one bucket at a time. Events of keys that the spine does not have are left out at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from ...engine.plan import Build
from ...engine.steps.admit import Admitted
from ...engine.steps.judge import Judge
from ...schemas.imported import is_imported
from ...state.keys import hashes_of
from ...windows.algebra import Bools, Int64s, UInt64s
from .spool import Spool, Workspace

_FILTER_BITS: Final = 26
_OLDEST: Final = pl.CompatLevel.oldest()
BUCKETS_MAX: Final = 256


class KeyFilter:
    """Which keys the spine has, nearly: one that it has is always in; 64 MiB at most."""

    def __init__(self) -> None:
        self._seen = np.zeros(1 << _FILTER_BITS, np.bool_)

    def add(self, hashes: UInt64s) -> None:
        """Keys that the spine has."""
        self._seen[self._place(hashes)] = True

    def has(self, hashes: UInt64s) -> Bools:
        """Which keys the spine may have."""
        return self._seen[self._place(hashes)]

    @staticmethod
    def _place(hashes: UInt64s) -> UInt64s:
        return hashes >> np.uint64(64 - _FILTER_BITS)


@dataclass
class SpineBuckets:
    """The rows of the spine for one entity."""

    workspace: Workspace
    count: int
    keys: KeyFilter = field(default_factory=KeyFilter)

    def __post_init__(self) -> None:
        self.spools = [self.workspace.spool() for _ in range(self.count)]
        self._no_rows = pl.DataFrame()

    def add(self, first_row: int, keys: pl.Series, beside: pl.DataFrame) -> None:
        """Rows from `first_row` on; `keys` are encoded, null where there is none.

        `beside` has what is asked for them: `_at_us`, and what else there may be.
        """
        coded = keys.to_arrow(compat_level=_OLDEST).cast(pa.large_binary()).dictionary_encode()
        hashes = hashes_of(coded.dictionary.to_pylist())
        self.keys.add(hashes)
        buckets = np.append((hashes % np.uint64(self.count)).astype(np.int64), 0)
        places = coded.indices.fill_null(len(hashes)).to_numpy()
        rows = np.arange(first_row, first_row + len(keys))
        frame = pl.DataFrame([pl.Series("_row", rows), keys.alias("_key"), *beside.iter_columns()])
        self._no_rows = frame.clear()
        spread(frame, buckets[places], self.spools)

    def rows(self, bucket: int) -> pl.DataFrame:
        """The rows in one bucket: `_row`, `_key`, and what was beside them."""
        return pl.concat([self._no_rows, *self.spools[bucket].read()])


@dataclass
class EventBuckets:
    """The events of one build; `landing_us` after its log timestamp an event is known."""

    workspace: Workspace
    count: int
    build: Build
    keys: KeyFilter
    landing_us: int
    folded: int = 0
    late: int = 0
    expired: int = 0
    filtered: int = 0
    duplicate: int = 0

    def __post_init__(self) -> None:
        self.spools = [self.workspace.spool() for _ in range(self.count)]
        self._judge = Judge(self.build)

    def add(self, ordinal: int, batch: Admitted) -> None:
        """The events of a batch that count, if their keys may be the spine's."""
        judged = self._judge.judge(batch)
        rows = np.flatnonzero(judged.counts)
        self.folded += len(rows)
        self.late += int((batch.event_us[rows] < batch.watermark_us[rows]).sum())
        self.expired += int(judged.expired.sum())
        self.filtered += int(judged.filtered.sum())
        self.duplicate += 0 if judged.duplicate is None else int(judged.duplicate.sum())
        if not len(rows):
            return
        keys, codes = self._judge.encode(batch.frame, rows)
        hashes = hashes_of(keys.to_pylist())
        wanted = self.keys.has(hashes)[codes]
        rows, codes = rows[wanted], codes[wanted]
        if not len(rows):
            return
        frame = self._frame(ordinal, batch, rows, keys.take(pa.array(codes)))
        buckets = (hashes % np.uint64(self.count)).astype(np.int64)
        spread(frame, buckets[codes], self.spools)

    def _frame(self, ordinal: int, batch: Admitted, rows: Int64s, keys: pa.Array) -> pl.DataFrame:
        # Of imported records the log timestamp has the delay already that the import declared.
        landing_us = 0 if is_imported(batch.partition) else self.landing_us
        chosen = pl.Series(rows, dtype=pl.UInt32)
        inputs = [one.gather(chosen) for one in self._judge.inputs(batch.frame)]
        return pl.DataFrame(
            [
                pl.Series("_key", keys, pl.Binary),
                pl.Series("_event_us", batch.event_us[rows]),
                pl.Series("_ordinal", np.full(len(rows), ordinal, np.int64)),
                pl.Series("_offset", batch.offsets[rows].astype(np.int64)),
                pl.Series("_known_us", batch.log_us[rows] + landing_us),
                *(one.alias(f"_{number}") for number, one in enumerate(inputs)),
            ]
        )


def spread(frame: pl.DataFrame, buckets: Int64s, spools: Sequence[Spool]) -> None:
    """Append each row to the spool of its bucket, in order."""
    if len(spools) == 1:
        spools[0].append(frame)
        return
    order = np.argsort(buckets, kind="stable")
    edges = np.searchsorted(buckets[order], np.arange(len(spools) + 1))
    sorted_ = frame[order]
    for number, spool in enumerate(spools):
        if edges[number] < edges[number + 1]:
            spool.append(sorted_[int(edges[number]) : int(edges[number + 1])])


def bucket_count(size_bytes: int, memory_bytes: int) -> int:
    """How many buckets, so that one of them can be computed in an eighth of the memory.

    >>> bucket_count(10 << 30, 1 << 30), bucket_count(1, 1 << 30)
    (80, 1)
    """
    return int(min(max(1, -(-size_bytes * 8 // memory_bytes)), BUCKETS_MAX))
