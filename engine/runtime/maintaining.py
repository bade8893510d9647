"""Maintenance of the lake beside a running engine: by itself, at an interval.

A thread of its own does the work, of several workers that of the first. What fails is reported, and
tried again after the interval; it never stops ingest.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, Final, Protocol

from ...schemas.errors import MaintenanceRunning, SinkError, TegulaError
from ...state.upkeep import UpkeepReport
from ..maintenance import maintain, maintained_us
from ..settings import Settings
from ..steps.worker import Worker
from .clock import Clock

_LOG: Final = logging.getLogger(__name__)
_STOP_S: Final = 0.5


class Working(Protocol):
    """The engine, as far as maintenance sees it."""

    settings: Settings
    worker: Worker

    @property
    def now_us(self) -> Clock:
        """The wall clock."""
        ...


class Maintaining:
    """An engine's maintenance of its lake. `turn` belongs to housekeeping; before, nothing runs."""

    def __init__(self, engine: Working) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._began_us = engine.now_us()
        self._tried_us: int | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._table, self._done_bytes, self._total_bytes = "", 0, 0
        self._last: Sequence[UpkeepReport] = ()
        self.fault: TegulaError | None = None

    def turn(self) -> None:
        """Begin to maintain, if that is due and not being done."""
        if self._engine.worker.index or self._is_running or not self._is_due():
            return
        self._tried_us = self._engine.now_us()
        self._thread = threading.Thread(target=self._run, name="tegula-maintain", daemon=True)
        self._thread.start()

    @property
    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _is_due(self) -> bool:
        interval_us = int(self._settings.maintain_interval_s * 1e6)
        if not interval_us:
            return False
        done_us = maintained_us(self._settings)
        since_us = max(done_us or self._began_us, self._tried_us or 0)
        # A clock that was set back must not put it off for long.
        return not 0 <= self._engine.now_us() - since_us < interval_us

    def _run(self) -> None:
        fault: TegulaError | None = None
        try:
            self._last = maintain(
                self._settings, self._engine.now_us, told=self._told, stopping=self._stopped.is_set
            )
            fault = next((fault for one in self._last for fault in one.faults), None)
        except MaintenanceRunning:
            return
        except TegulaError as named:
            fault = named
        except Exception as unnamed:  # noqa: BLE001 - reported, and tried again
            _LOG.exception("maintenance failed")
            fault = SinkError("maintenance failed", where="lake", got=repr(unnamed))
        if fault is not None:
            _LOG.warning("the lake is not maintained: %s", fault)
        self.fault = fault

    def _told(self, table: str, done: int, total: int) -> None:
        self._table, self._done_bytes, self._total_bytes = table, done, total

    def report(self) -> dict[str, Any]:
        """When it was done last, what is being done, and what went wrong, as plain JSON values."""
        running = {
            "table": self._table,
            "done_bytes": self._done_bytes,
            "total_bytes": self._total_bytes,
        }
        return {
            "last_us": maintained_us(self._settings),
            "last": [one.as_dict() for one in self._last],
            "running": running if self._is_running else None,
            "fault": None if self.fault is None else self.fault.as_dict(),
        }

    def stop(self) -> None:
        """End in the middle of what is being merged: nothing of it counts, nothing is lost."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
