"""The thread that writes the served log: notes become rows, rows go into the lake.

What a try could not write is kept as it is, and tried again: the table knows what arrived. One
batch a table is a commit, so a table that cannot be written holds back its own answers alone.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from ...schemas.errors import TegulaError
from ...schemas.time import DAY_US
from ...state.lake import Lake
from ...state.served import ServedTable
from ..metrics import Counters
from .columns import rows_of
from .notes import Notes

_LOG = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""How soon a failed append is tried again."""

STOP_S: Final = 3.0
"""How long a stop waits for the last answers: less than what a stop may take as a whole."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of one append; all sequence numbers below `next_sequence` are written with it."""

    frames: list[pl.DataFrame]
    next_sequence: int
    count: int
    size_bytes: int


@dataclass(slots=True)
class _Table:
    """One service's table, what waits for it, and where the count of its answers stands."""

    table: ServedTable
    next_sequence: int = 0
    waiting: deque[_Batch] = field(default_factory=deque)
    kept_day: int = -1


class ServedWriter:
    """Takes notes on one thread and writes them on its own. `name` counts this process's answers.

    `done_bytes` is the size of all notes that no longer wait, whatever became of them.
    """

    def __init__(
        self,
        lake: Lake,
        name: str,
        *,
        keep_days: int,
        counters: Counters,
        now_us: Callable[[], int],
    ) -> None:
        self._lake = lake
        self._name = name
        self._keep_days = keep_days
        self._counters = counters
        self._now_us = now_us
        self._queue: queue.SimpleQueue[list[Notes] | None] = queue.SimpleQueue()
        self._tables: dict[str, _Table] = {}
        self._thread = threading.Thread(target=self._run, name="tegula-served", daemon=True)
        self.done_bytes = 0
        self.fault: TegulaError | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, notes: list[Notes]) -> None:
        """Hand notes over; they are not to be changed any more."""
        self._queue.put(notes)

    def stop(self) -> None:
        """Write what waits, for at most `STOP_S`; what then is not written is counted as lost."""
        self._queue.put(None)
        self._thread.join(STOP_S + RETRY_S)
        if self._thread.is_alive():
            _LOG.error("the served log was not written in time: what waited for it is lost")

    @property
    def _is_waiting(self) -> bool:
        return any(table.waiting for table in self._tables.values())

    def _run(self) -> None:
        while True:
            try:
                taken = self._queue.get(timeout=RETRY_S if self._is_waiting else None)
            except queue.Empty:
                taken = []
            if taken is None:
                break
            self._take(taken)
            self._write()
        deadline_s = time.perf_counter() + STOP_S
        self._write()
        while self._is_waiting and time.perf_counter() < deadline_s:
            threading.Event().wait(0.1)
            self._write()
        lost = sum(batch.count for one in self._tables.values() for batch in one.waiting)
        if lost:
            self._counters.served("lost", lost)
            _LOG.error("%d answers are not in the served log: %s", lost, self.fault)

    def _take(self, taken: list[Notes]) -> None:
        """Make rows of notes, one batch a service."""
        by_service: dict[str, list[Notes]] = {}
        for notes in taken:
            assert notes.plan.service is not None, "only answers of services are noted"
            by_service.setdefault(notes.plan.service.name, []).append(notes)
        for service, of_service in by_service.items():
            table = self._tables.get(service)
            if table is None:
                opened = ServedTable(self._lake, service, writer=self._name)
                table = self._tables[service] = _Table(opened)
            frames, count = [], 0
            for notes in of_service:
                try:
                    frames.append(
                        rows_of(notes, writer=self._name, first_sequence=table.next_sequence)
                    )
                except Exception:  # noqa: BLE001 - answers that are no rows must not end the log
                    self._counters.served("unreadable", len(notes))
                    _LOG.exception("answers of %s cannot be made rows of the served log", service)
                    self.done_bytes += notes.size_bytes
                else:
                    count += len(notes)
                table.next_sequence += len(notes)
            size_bytes = sum(notes.size_bytes for notes in of_service) if frames else 0
            if frames:
                table.waiting.append(_Batch(frames, table.next_sequence, count, size_bytes))

    def _write(self) -> None:
        """Append what waits, table by table, oldest first; stop with a table that fails."""
        fault = None
        for service, one in self._tables.items():
            try:
                while one.waiting:
                    batch = one.waiting[0]
                    one.table.append(batch.frames, batch.next_sequence)
                    one.waiting.popleft()
                    self.done_bytes += batch.size_bytes
                    self._counters.served("written", batch.count)
                self._forget(one)
            except TegulaError as error:
                if self.fault is None:
                    _LOG.warning("the served log of %s cannot be written yet: %s", service, error)
                fault = error
        self.fault = fault

    def _forget(self, one: _Table) -> None:
        """Once a day, delete what was kept for long enough."""
        day = self._now_us() // DAY_US
        if day == one.kept_day:
            return
        one.kept_day = day
        today = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date()
        one.table.keep_from(today - timedelta(days=self._keep_days))
