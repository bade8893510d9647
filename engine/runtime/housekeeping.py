"""Housekeeping beside the dataflow, once a second: syncing commits, measuring, reporting.

The report (a file in the home, replaced by rename: `engine/report.py`) is what `tegula status`,
`/health/ready` and `/metrics` read: a server needs no connection to the engine, and a dead engine
shows by its age.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from ...schemas.errors import DiskFull, TegulaError
from ...state.rows import COUNTERS
from ...state.shard import Shard
from ...state.weighing import Scales
from ..deployed import Deployed
from ..disk import DiskGuard
from ..report import report_path
from ..settings import Settings
from ..steps.worker import Worker
from .archiving import Archiving
from .checkpointing import Checkpointing
from .clock import Clock
from .ending import Ending
from .home import write_report
from .ingest import Ingest
from .maintaining import Maintaining
from .mirroring import Mirrors
from .streams import StreamReader

_LOG: Final = logging.getLogger(__name__)

PERIOD_S: Final = 1.0
_STOP_SHARE: Final = 0.4  # of the time to end: it may wait for a broker


class Observed(Protocol):
    """What is reported of: the engine, as far as housekeeping sees it."""

    settings: Settings
    worker: Worker
    here: Sequence[int]
    ingest: Ingest
    mirrors: Mirrors
    archiving: Archiving
    checkpointing: Checkpointing
    deployed: Deployed
    row_count: int
    disk: DiskGuard
    ending: Ending

    @property
    def registry_fault(self) -> TegulaError | None:
        """Why the registry does not tell what is deployed; None if it does."""
        ...

    @property
    def shards(self) -> Sequence[Shard]: ...

    @property
    def streams(self) -> Mapping[str, StreamReader]:
        """The streams that are read, by name."""
        ...

    @property
    def now_us(self) -> Clock:
        """The wall clock."""
        ...

    def survey(self) -> None:
        """Ask the logs and the registry what is new."""
        ...


class Housekeeping:
    """A thread that syncs the shards' logs and writes the engine's report."""

    def __init__(self, engine: Observed) -> None:
        self._engine = engine
        self._started_us = engine.now_us()
        self._rate = _Rate(engine.now_us(), 0, 0.0)
        self._scales = Scales()
        self._maintaining = Maintaining(engine)
        self._path = report_path(engine.settings.engine_status_path, engine.worker)
        self._holds = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tegula-keeper", daemon=True)

    def start(self) -> None:
        self._engine.survey()
        self.report()
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - tried again; a thread that ended would say nothing
                _LOG.exception("housekeeping failed, and is tried again")

    def _turn(self) -> None:
        for shard in self._engine.shards:
            shard.sync()
        self._engine.survey()
        builds = [build.id for build in self._engine.deployed.builds]
        self._engine.checkpointing.turn()
        self._maintaining.turn()
        self._scales.turn(self._engine.shards, builds)
        self._tell(self._engine.disk.fault)
        if not self._stop.is_set():
            self.report()

    def _tell(self, fault: DiskFull | None) -> None:
        """Log that the engine holds for want of space, and that it goes on; once each."""
        if fault is not None and not self._holds:
            _LOG.warning("the engine takes in no new events: %s", fault)
        elif fault is None and self._holds:
            _LOG.warning("there is room again, and the engine goes on")
        self._holds = fault is not None

    def stop(self) -> None:
        self._stop.set()
        self._maintaining.stop()
        self._engine.ending.join(self._thread, _STOP_SHARE)
        self._path.unlink(missing_ok=True)

    def report(self) -> None:
        """Write the report as of now."""
        engine, now_us = self._engine, self._engine.now_us()
        self._rate = self._rate.after(now_us, engine.row_count)
        mirrored = engine.mirrors.commits()
        content = {
            "version": 1,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "workers": engine.worker.count,
            "here": list(engine.here),
            "started_us": self._started_us,
            "at_us": now_us,
            "events_per_second": round(self._rate.per_second, 1),
            "streams": {name: _stream(engine, name) for name in list(engine.streams)},
            "builds": _builds(engine, self._scales),
            "commits": [shard.commit_number for shard in engine.shards],
            "mirrored": mirrored,
            "mirror_rewrites": [engine.shards[n].number for n in engine.mirrors.rewriting()],
            "mirror_lag": engine.mirrors.lag.report(),
            "mirror_fault": _shown(engine.mirrors.fault),
            "registry_fault": _shown(engine.registry_fault),
            "disk": engine.disk.report(),
            "archive": engine.archiving.report(),
            "checkpoints": engine.checkpointing.report(),
            "maintenance": self._maintaining.report(),
        }
        write_report(self._path, orjson.dumps(content))


@dataclass(frozen=True, slots=True)
class _Rate:
    """Events per second, smoothed over a few seconds."""

    at_us: int
    rows: int
    per_second: float

    def after(self, now_us: int, rows: int) -> _Rate:
        elapsed_us = now_us - self.at_us
        if elapsed_us <= 0:  # the clock was set back
            return _Rate(now_us, rows, self.per_second)
        latest = (rows - self.rows) / (elapsed_us / 1e6)
        return _Rate(now_us, rows, 0.5 * self.per_second + 0.5 * latest)


def _stream(engine: Observed, name: str) -> dict[str, Any]:
    reader = engine.streams[name]
    partitions = {}
    for partition, place in list(reader.lanes.live.places.items()):
        end = reader.bounds[partition][1] if partition in reader.bounds else None
        partitions[partition] = {
            "ordinal": reader.ordinal(partition),
            "next_offset": place.next_offset,
            "end_offset": end,
            "lag": None if end is None else max(0, end - place.next_offset),
            "running_max_us": place.running_max_us,
        }
    catching_up = {
        str(build): lane.behind(reader.lanes.live)
        for lane in list(reader.lanes.behind)
        for build in lane.builds
    }
    return {
        "partitions": partitions,
        "catching_up": catching_up,
        "fault": _shown(reader.fault),
    }


def _shown(fault: TegulaError | None) -> dict[str, Any] | None:
    return None if fault is None else fault.as_dict()


def _builds(engine: Observed, scales: Scales) -> dict[str, dict[str, Any]]:
    report: dict[str, dict[str, Any]] = {}
    deployed = engine.deployed  # once: the engine replaces it meanwhile
    for build in deployed.builds:
        weight = scales.weight(build.id)
        report[str(build.id)] = {
            "view": build.view,
            "status": deployed.statuses[build.id],
            "outcomes": outcomes(engine.shards, build.id),
            "not_finite": engine.ingest.not_finite(build.id),
            "keys": None if weight is None else weight._asdict(),
        }
    return report


def outcomes(shards: Sequence[Shard], build: int) -> Mapping[str, int]:
    """What became of the records that a build has read, over all shards and partitions.

    The conservation law holds for them wherever all shards have passed the same positions:
    `read = folded + filtered + duplicate + expired + dead_lettered`.
    """
    totals = dict.fromkeys(COUNTERS, 0)
    for shard in shards:
        for (of_build, _), at in list(shard.applied.items()):
            if of_build == build:
                for name in COUNTERS:
                    totals[name] += getattr(at, name)
    return totals
