"""Copies among events that the archive does not have yet, found as the engine would find them.

The archive says of its own rows which are copies. Of what lies in the log alone, the engine may
have judged some already, in its state, which nobody else reads. But how it judges depends only on
what was read before: so the ids that still count when the archive ends are learnt from it, and the
rest is judged by the engine's own step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import polars as pl

from ...engine.plan import StreamPlan
from ...engine.steps.admit import Admitted
from ...engine.steps.uniqueness import Uniqueness
from ...state.uniqueness import Judged, Seen
from ...windows.algebra import Int64s
from ...windows.tiles import NEVER_US


class TailCopies:
    """Judges the events of a stream with `unique_by`; memory holds ids of one `unique_within`."""

    def __init__(self, stream: StreamPlan, column: str) -> None:
        self._column = column
        self._event_time = stream.event_time
        self._within_us = stream.unique_within_us
        self._recent: deque[tuple[int, pl.DataFrame, int]] = deque()
        self._unique = Uniqueness(cast("Any", _Ids()), 0, column, stream.unique_within_us)
        self._maxima: dict[int, int] = {}
        self._disorder_us = stream.disorder_us

    @staticmethod
    def of(stream: StreamPlan) -> TailCopies | None:
        """None for a stream whose events have no ids."""
        return None if stream.unique_by is None else TailCopies(stream, stream.unique_by)

    def judged(self, ordinal: int, batch: Admitted, archived: int) -> Admitted:
        """The batch with its copies; the partition is archived up to the offset `archived`.

        All that is archived comes first. O(rows); some µs each for those that are not archived.
        """
        self._maxima[ordinal] = batch.running_max_us
        if not len(batch.offsets):
            return batch
        watermark_us = min(self._maxima.values())
        watermark_us -= self._disorder_us if watermark_us > NEVER_US else 0
        if int(batch.offsets[-1]) < archived:
            self._remember(ordinal, batch, watermark_us)
            return batch
        self._learn()
        is_copy = self._unique.judge(ordinal, batch, watermark_us)
        return replace(batch, is_copy=is_copy)

    def _remember(self, ordinal: int, batch: Admitted, watermark_us: int) -> None:
        counts = batch.event_us >= watermark_us - self._within_us
        if batch.is_copy is not None:
            counts &= ~batch.is_copy
        rows = batch.frame.select(self._column, self._event_time).filter(pl.Series(counts))
        newest_us = int(batch.event_us.max())
        if rows.height:
            self._recent.append((ordinal, rows, newest_us))
        while self._recent and self._recent[0][2] < watermark_us - self._within_us:
            self._recent.popleft()

    def _learn(self) -> None:
        while self._recent:
            ordinal, rows, _ = self._recent.popleft()
            self._unique.begin(ordinal, copies=np.empty(0, np.int64), kept_from=0)
            self._unique.learn(ordinal, rows, self._event_time, 0)


class _Ids:
    """Ids in memory, with the face of `state.uniqueness.SeenIds`."""

    def __init__(self) -> None:
        self._times: dict[bytes, list[int]] = {}

    def times(self, stream: int, digests: Sequence[bytes]) -> list[tuple[int, ...]]:
        return [tuple(self._times.get(digest, ())) for digest in digests]

    def judged(self, ordinal: int) -> int:
        return 0

    def copies(self, ordinal: int) -> Int64s:
        return np.empty(0, np.int64)

    def add(self, stream: int, seen: Sequence[Seen], judged: Judged) -> None:
        for digest, _, times_us in seen:
            self._times[digest] = list(times_us)

    def drop(self, stream: int, before: int, before_us: int) -> None:
        old = [digest for digest, times in self._times.items() if max(times) < before_us]
        for digest in old:
            del self._times[digest]

    def forget(self, ordinal: int, before: int) -> None:
        pass
