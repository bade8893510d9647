"""Copies of an event: known by its id, once, and never otherwise again.

Of the events of a stream with one value of `unique_by`, no further apart in event time than
`unique_within`, the one that is read first counts; the others are *duplicates*, for every view. Ids
are dropped when the stream's watermark has passed them by that span: a copy that comes later than
that is not known for one.

Which copy is read first depends on how partitions take turns. So the answer is given once: it is
kept, synced, before the batch goes on, and the archive says it of its rows. Whatever is read again,
after a crash, by a replay or by another build, is what it was the first time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import xxhash

from ...state.uniqueness import Judged, Seen, SeenIds
from ...windows.algebra import Bools, Int64s
from ...windows.tiles import NEVER_US
from .admit import Admitted

_NONE: Final = np.empty(0, np.int64)


@dataclass
class _Place:
    """A partition: its copies so far, and the first offset that was not judged."""

    copies: Int64s
    judged: int


class Uniqueness:
    """One stream's ids and copies; `stream` is its ordinal, its `ids` lie in one shard."""

    def __init__(self, ids: SeenIds, stream: int, column: str | None, within_us: int) -> None:
        self._stream = stream
        self._column = column
        self._within_us = within_us
        self._ids = ids
        self._places: dict[int, _Place] = {}

    def begin(self, ordinal: int, *, copies: Int64s, kept_from: int) -> None:
        """Take up a partition; `copies` are those that the archive knows of what is read again.

        Copies before `kept_from`, where the log begins, are forgotten.
        """
        self._ids.forget(ordinal, kept_from)
        known = np.union1d(self._ids.copies(ordinal), copies)
        self._places[ordinal] = _Place(known, self._ids.judged(ordinal))

    def judged(self, ordinal: int) -> int | None:
        """The first offset of a partition that was not judged; None where nothing is to be."""
        return None if self._column is None else self._places[ordinal].judged

    def learn(self, ordinal: int, rows: pl.DataFrame, event_time: str, next_offset: int) -> None:
        """Take from the archive what a state that is older than it does not know.

        `rows` are archived events that count, the partition's up to `next_offset`.
        """
        rows = rows.filter(pl.col(self._column or "").is_not_null())
        digests = _digests(rows[self._column or ""])
        times_us = rows[event_time].to_physical().to_list()
        known = self._ids.times(self._stream, digests)
        counted: dict[bytes, list[int]] = {}
        seen: list[Seen] = []
        for digest, at_us, before in zip(digests, times_us, known, strict=True):
            mine = counted.setdefault(digest, list(before))
            mine.append(at_us)
            seen.append((digest, at_us // self._within_us, mine))
        self._ids.add(self._stream, seen, Judged(ordinal, _NONE, next_offset))
        self._places[ordinal].judged = next_offset

    def judge(self, ordinal: int, batch: Admitted, watermark_us: int) -> Bools | None:
        """Which rows of `batch` are copies; None if none are.

        Reads and writes state for rows that are read the first time: O(rows), some µs each.
        """
        place = self._places.setdefault(ordinal, _Place(_NONE, 0))
        if self._column is not None and batch.next_offset > place.judged:
            self._judge_new(ordinal, place, batch)
            if watermark_us > NEVER_US:
                before_us = watermark_us - self._within_us
                self._ids.drop(self._stream, before_us // self._within_us, before_us)
        copies = np.isin(batch.offsets, place.copies)
        if batch.copies is not None:
            copies |= np.isin(batch.offsets, batch.copies)
        return copies if copies.any() else None

    def _judge_new(self, ordinal: int, place: _Place, batch: Admitted) -> None:
        rows = self._with_id(place, batch)
        digests = _digests(batch.frame[self._column or ""].gather(pl.Series(rows, dtype=pl.UInt32)))
        is_copy = np.zeros(len(rows), np.bool_)
        often = Counter(digests)
        counted: dict[bytes, list[int]] = {}
        seen: list[Seen] = []
        times_us = batch.event_us[rows].tolist()
        known = self._ids.times(self._stream, digests)
        for row, (digest, at_us, before) in enumerate(zip(digests, times_us, known, strict=True)):
            mine = [at_us]
            if before or often[digest] > 1:  # hardly ever
                mine = counted.setdefault(digest, list(before))
                if any(abs(one - at_us) <= self._within_us for one in mine):
                    is_copy[row] = True
                    continue
                mine.append(at_us)
            seen.append((digest, at_us // self._within_us, mine))
        copies = batch.offsets[rows][is_copy]
        self._ids.add(self._stream, seen, Judged(ordinal, copies, batch.next_offset))
        place.copies = np.concatenate((place.copies, copies))
        place.judged = batch.next_offset

    def _with_id(self, place: _Place, batch: Admitted) -> Int64s:
        """The rows that are read for the first time and have an id."""
        chosen = batch.frame[self._column or ""].is_not_null().to_numpy()
        chosen &= batch.offsets >= place.judged
        if batch.origins is not None:
            # Too old for some view, and driven again: it is no copy of itself.
            chosen &= ~batch.origins.at(batch.offsets).was_good
        return np.flatnonzero(chosen)


def _digests(ids: pl.Series) -> list[bytes]:
    written = ids.cast(pl.String).cast(pl.Binary).to_list()
    return [xxhash.xxh3_128_digest(one) for one in written]
