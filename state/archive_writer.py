"""A thread that archives: what is offered is buffered, and flushed when there is enough of it.

Ingest never waits for Delta. Only when the buffer passes its bound in bytes does `offer` make the
source wait: nothing is ever dropped. A flush that fails is kept as `error`, visible, and tried
again after a pause; when the storage is mended, writing goes on where it stopped. What a crash
loses of the buffer is read again from the log, from `places()`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType
from typing import Final

from ..schemas.errors import SinkError, TegulaError
from .archive import Archive, ArchivePlace, ArchiveRows

_RETRY_MIN_S: Final = 0.25
_RETRY_MAX_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When to flush, and how much to hold.

    A flush comes `interval_s` after the first buffered row, or with the row that makes `row_count`,
    or with half of `buffer_bytes`; past `buffer_bytes` the source waits.
    """

    row_count: int = 1_000_000
    interval_s: float = 10.0
    buffer_bytes: int = 512 << 20


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """How an archive is doing: what waits, what was written since the start, what is wrong."""

    buffered_rows: int
    buffered_bytes: int
    written_rows: int
    flush_count: int
    error: TegulaError | None


class ArchiveWriter:
    """Owns `archive` and writes it from a thread of its own, started at once.

    Every method may be called by any thread. Use as a context manager, or `close`.
    """

    def __init__(self, archive: Archive, policy: FlushPolicy = FlushPolicy()) -> None:
        self._archive = archive
        self._policy = policy
        self._changed = threading.Condition()  # guards all that follows, and the archive's buffer
        self._offered: deque[ArchiveRows] = deque()
        self._offered_rows = 0
        self._offered_bytes = 0
        self._held_rows = 0  # … in the archive's own buffer
        self._held_bytes = 0
        self._written_rows = 0
        self._flush_count = 0
        self._wanted = 0  # flushes that were asked for …
        self._tried = 0  # … and how many of these were tried
        self._due_s: float | None = None  # when to flush, by perf_counter; None: nothing to flush
        self._pause_s = 0.0  # after a failure
        self._ending = False
        self._dropping = False
        self._ended = False
        self._error: TegulaError | None = None
        self._places: Mapping[str, ArchivePlace] = MappingProxyType(archive.places())
        self._thread = threading.Thread(target=self._run, name="tegula-archive", daemon=True)
        self._thread.start()

    def offer(self, rows: ArchiveRows, timeout_s: float | None = None) -> bool:
        """Take `rows` in; waits only while the buffer is past its bound.

        False if there was no room within `timeout_s` (None: wait until there is): nothing was
        taken, offer it again. Partitions' rows must come in offset order.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room or self._ended, timeout_s):
                return False
            if self._ended:
                raise self._error or SinkError("this archive is closed", where="archive")
            self._offered.append(rows)
            self._offered_rows += len(rows.offsets)
            self._offered_bytes += rows.size_bytes
            self._changed.notify_all()
        return True

    @property
    def has_room(self) -> bool:
        """Whether `offer` would take rows without waiting."""
        with self._changed:
            return self._has_room

    def flush(self) -> None:
        """Wait until everything offered so far is in the table.

        Raises what stands in the way (`SinkError`); the rows are kept all the same.
        """
        with self._changed:
            self._wanted += 1
            mine = self._wanted
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._tried >= mine or self._ended)
            if self._error is not None:
                raise self._error

    def places(self) -> Mapping[str, ArchivePlace]:
        """Where the flushed rows of each partition end."""
        with self._changed:
            return self._places

    def report(self) -> ArchiveReport:
        """How the archive is doing."""
        with self._changed:
            return ArchiveReport(
                buffered_rows=self._offered_rows + self._held_rows,
                buffered_bytes=self._offered_bytes + self._held_bytes,
                written_rows=self._written_rows,
                flush_count=self._flush_count,
                error=self._error,
            )

    def end(self, *, flush: bool = True) -> threading.Thread:
        """Have the thread flush once more and end; it is given back to be waited for."""
        with self._changed:
            self._ending = True
            self._dropping = not flush
            self._changed.notify_all()
        return self._thread

    def close(self, *, flush: bool = True) -> None:
        """Flush once more and end the thread; closing again is harmless.

        Raises what kept rows from being written: they are still in the log, and read again from
        `places()`. With `flush=False` the buffer is let go, as a crash would.
        """
        first = not self._ending
        self.end(flush=flush).join()
        if first and flush and self._error is not None:
            raise self._error

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The thread.

    @property
    def _has_room(self) -> bool:
        return self._offered_bytes + self._held_bytes < self._policy.buffer_bytes

    @property
    def _is_asked(self) -> bool:
        return self._wanted > self._tried or self._ending

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            with self._changed:
                if not self._ending:  # a fault of ours: nobody may wait for this thread any more
                    self._error = SinkError("the archive's thread has died", where="archive")
                self._ended = True
                self._changed.notify_all()

    def _turn(self) -> bool:
        """Wait for something to do, and do it; False when there will be nothing any more."""
        with self._changed:
            wait_s = None if self._due_s is None else self._due_s - perf_counter()
            self._changed.wait_for(lambda: bool(self._offered) or self._is_asked, wait_s)
            if self._dropping:
                return False
            self._take_offered()
            wanted, ending = self._wanted, self._ending
            due = self._due_s is not None and perf_counter() >= self._due_s
            if not (due or self._is_asked):
                return True
        self._flush(wanted)
        return not ending

    def _take_offered(self) -> None:
        """Move what was offered into the archive's buffer, and say when to flush."""
        while self._offered:
            self._archive.append(self._offered.popleft())
        self._offered_rows = self._offered_bytes = 0
        self._held_rows, self._held_bytes = self._archive.row_count, self._archive.size_bytes
        full = self._held_rows >= self._policy.row_count
        full = full or self._held_bytes >= self._policy.buffer_bytes // 2
        if self._held_rows and self._due_s is None:
            self._due_s = perf_counter() + self._policy.interval_s
        if full and self._error is None:
            self._due_s = perf_counter()
        self._changed.notify_all()

    def _flush(self, wanted: int) -> None:
        """Write the buffer, beside offers; only this thread touches the archive."""
        error: TegulaError | None = None
        written = 0
        try:
            written = self._archive.flush()
        except TegulaError as fault:
            error = fault
        except Exception as fault:  # noqa: BLE001 (a thread that dies would stop the source unseen)
            error = SinkError("archiving failed", where="archive", got=repr(fault))
        with self._changed:
            self._error = error
            self._pause_s = min(max(2 * self._pause_s, _RETRY_MIN_S), _RETRY_MAX_S) if error else 0
            self._due_s = perf_counter() + self._pause_s if error else None
            if error is None:
                self._places = MappingProxyType(self._archive.places())
                self._written_rows += written
                self._flush_count += bool(written)
                self._held_rows = self._held_bytes = 0
            self._tried = wanted
            self._changed.notify_all()
