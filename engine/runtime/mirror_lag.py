"""How long events take from accepted, by their log timestamp, to readable: a histogram.

Counted are the good rows that a live lane brings, each once; a build that catches up reads old
events, and is not counted. (A live lane that catches up after a stop is: its events did become
readable that late.) A row is readable once the marks of *all* shards have come to the commit that
it is in, so a shard that cannot be written holds back the count of all.

Rows are never looked at one by one. The log timestamps of a batch become counts a millisecond, and
these wait until the mirror has published their commit. While it does not, for minutes or days, they
are kept more coarsely, so that no more than `INSTANTS_MAX` ever wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from ...windows.algebra import Int64s
from .clock import Clock

EDGES_S: Final = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0,
)  # fmt: skip
"""Upper edges of the buckets; one more holds what took longer."""

INSTANTS_MAX: Final = 100_000

_GRAIN_US: Final = 1_000
_COARSER: Final = 8
_EDGES_US: Final = np.array([round(edge * 1e6) for edge in EDGES_S], dtype=np.int64)


class _Rows(NamedTuple):
    """How many rows were accepted when; int64 (n,) each, ascending."""

    at_us: Int64s
    counts: Int64s


class MirrorLag:
    """The histogram, and what waits to be counted.

    `gathered` and `committed` are called by the thread that commits, `readable` by the one that
    mirrors, `report` by any. `newest_us` is for the mirror: how long the newest of the rows took
    that became readable at the last call; None if there were none.
    """

    def __init__(self, now_us: Clock) -> None:
        self._now_us = now_us
        self._lock = threading.Lock()
        self._gathered: list[_Rows] = []
        self._waiting: deque[tuple[tuple[int, ...], _Rows]] = deque()
        self._instants = 0
        self._buckets = np.zeros(len(EDGES_S) + 1, dtype=np.int64)
        self._sum_s = 0.0
        self.newest_us: int | None = None

    def gathered(self, log_us: Int64s) -> None:
        """Rows with these log timestamps wait for the next commit; int64 (n,), µs."""
        if len(log_us):
            self._gathered.append(_counted(log_us - log_us % _GRAIN_US, None))

    def committed(self, commits: Sequence[int]) -> None:
        """What was gathered is readable once each shard's mark has come to its number."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        with self._lock:
            self._wait(tuple(commits), _joined(gathered, _GRAIN_US))
            if self._instants > INSTANTS_MAX:
                self._coarsen()

    def readable(self, commits: Sequence[int]) -> None:
        """The shards' marks stand at these commits, now."""
        now_us, self.newest_us = self._now_us(), None
        with self._lock:
            while self._waiting and all(map(int.__le__, self._waiting[0][0], commits)):
                _, rows = self._waiting.popleft()
                self._instants -= len(rows.at_us)
                # A producer's own timestamp, or a clock that was set back, may lie in the future.
                lag_us = np.maximum(now_us - rows.at_us, 0)
                self.newest_us = int(lag_us[-1])
                places = np.searchsorted(_EDGES_US, lag_us)
                np.add.at(self._buckets, places, rows.counts)
                self._sum_s += float(np.dot(lag_us / 1e6, rows.counts))

    def report(self) -> dict[str, Any]:
        """Rows at most `le_s` late, one count an edge and one for all; and the sum of their lags.

        Since the engine's start.
        """
        with self._lock:
            rows, sum_s = np.cumsum(self._buckets).tolist(), self._sum_s
        return {"le_s": EDGES_S, "rows": rows, "sum_s": round(sum_s, 6)}

    def _wait(self, commits: tuple[int, ...], rows: _Rows) -> None:
        self._waiting.append((commits, rows))
        self._instants += len(rows.at_us)

    def _coarsen(self) -> None:
        """Make one of all that waits, so coarse that it is half as much as may wait."""
        commits, grain_us = self._waiting[-1][0], _GRAIN_US
        rows = _joined([one for _, one in self._waiting], grain_us)
        while len(rows.at_us) > INSTANTS_MAX // 2:
            grain_us *= _COARSER
            rows = _joined([rows], grain_us)
        self._waiting.clear()
        self._instants = 0
        self._wait(commits, rows)


def _joined(parts: Sequence[_Rows], grain_us: int) -> _Rows:
    at_us = np.concatenate([part.at_us for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    return _counted(at_us - at_us % grain_us, counts)


def _counted(at_us: Int64s, counts: Int64s | None) -> _Rows:
    """Equal instants as one, with their counts (of one each, if None) added up."""
    if (at_us[1:] < at_us[:-1]).any():
        order = np.argsort(at_us)
        at_us, counts = at_us[order], None if counts is None else counts[order]
    starts = np.flatnonzero(np.concatenate(([True], at_us[1:] != at_us[:-1])))
    if counts is None:
        return _Rows(at_us[starts], np.diff(starts, append=len(at_us)))
    return _Rows(at_us[starts], np.add.reduceat(counts, starts))
