"""Whether this server lives, and whether its answers can be relied on.

*Live*: the process answers. *Ready*: something was applied, every shard's online rows are complete
for the builds that serve, and the engine that keeps them fresh is there and keeps up. What is wrong
is said in sentences, all at once.

The engine reports of itself in a file of the home; a server needs no connection to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..engine.disk import DiskGuard, disk_said
from ..engine.report import read_report
from ..schemas.errors import TegulaError
from ..state.online.rows import OnlineReader, marks_of
from .plan import Resolved

REPORT_AGE_US_MAX: Final = 10_000_000
"""An engine whose report is older has stopped, or is stuck."""

BEHIND_S_MAX: Final = 60.0
"""An engine that needs longer, at its present rate, to read what is in the logs is behind."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Why the server is not ready (empty: it is), and what is worth knowing though it is."""

    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether answers can be relied on."""
        return not self.reasons


class Health:
    """Looks at everything that an answer rests on."""

    def __init__(
        self,
        current: Callable[[], Resolved],
        store: OnlineReader,
        report_path: Path,
        registry_fault: Callable[[], TegulaError | None],
        now_us: Callable[[], int],
        disk: DiskGuard | None = None,
        served_fault: Callable[[], TegulaError | None] = lambda: None,
    ) -> None:
        self._current = current
        self._store = store
        self._report_path = report_path
        self._registry_fault = registry_fault
        self._now_us = now_us
        self._disk = disk
        self._served_fault = served_fault
        self.draining = False

    def readiness(self) -> Readiness:
        """Look now; reads a mark a shard, and one small file."""
        fault = self._registry_fault()
        reasons = [
            *(["the server is stopping"] if self.draining else []),
            *self._store_faults(self._current(), fault),
            *self._engine_faults(),
        ]
        notes = [] if fault is None else [f"the catalogue is as it was last read: {fault}"]
        unwritten = self._served_fault()
        if unwritten is not None:
            notes.append(f"the served log cannot be written: {unwritten}")
        return Readiness(tuple(reasons), tuple(notes))

    def _store_faults(self, resolved: Resolved, fault: TegulaError | None) -> Iterator[str]:
        if not resolved.version:
            yield "nothing was applied yet" if fault is None else str(fault)
            return
        for view in resolved.views.values():
            if view.build is None:
                yield f"view {view.name!r} has no build that serves yet"
        try:
            marks = marks_of(self._store, resolved.shards)
        except Exception as error:  # noqa: BLE001 - whatever keeps it from being read is the answer
            yield f"the online store cannot be read: {error}"
            return
        for build in resolved.builds():
            lacking = [n for n, mark in enumerate(marks) if not mark or build.id not in mark.builds]
            if lacking:
                yield (
                    f"view {build.view!r}, build {build.id}: {len(lacking)} of {len(marks)} shards "
                    f"of the online store are not complete, shard {lacking[0]} first"
                )

    def _engine_faults(self) -> Iterator[str]:
        report = read_report(self._report_path)
        if report is None:
            yield "no engine runs in this home: values no longer change with new events"
            yield from self._disk_faults()
            return
        age_us = self._now_us() - int(report.get("at_us", 0))
        if age_us > REPORT_AGE_US_MAX:
            yield f"the engine has not reported for {age_us / 1e6:.0f} s"
            yield from self._disk_faults()
        held = (report.get("disk") or {}).get("fault")
        if held:
            yield f"the engine takes in no new events: {disk_said(held)}"
        mirror = report.get("mirror_fault")
        if mirror:
            yield f"the online store cannot be written: {mirror.get('message', mirror)}"
        rate = max(1.0, float(report.get("events_per_second") or 0.0))
        for name, stream in report.get("streams", {}).items():
            lag = sum(one.get("lag") or 0 for one in stream.get("partitions", {}).values())
            if lag > rate * BEHIND_S_MAX:
                yield f"stream {name!r}: {lag} events are waiting, {lag / rate:.0f} s at this rate"

    def _disk_faults(self) -> Iterator[str]:
        """What an engine that is gone cannot say: a full disk may be what ended it."""
        fault = None if self._disk is None else self._disk.fault
        if fault is not None:
            yield disk_said(fault.as_dict())
