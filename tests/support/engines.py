"""A project with one view, and a whole engine over it in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

import tegula as tg
from tegula import agg
from tegula.connectors.local_log import LocalLog
from tegula.engine.apply import apply_definitions
from tegula.engine.runtime import process
from tegula.engine.runtime.clock import Clock, now_us
from tegula.engine.settings import Settings
from tegula.schemas.codec import collect

EVENTS = tg.Stream(
    "events",
    schema={"k": tg.String, "x": tg.Float64, "at": tg.Timestamp.of("us")},
    event_time="at",
)
BY_NAME = tg.Entity("name", keys={"k": tg.String})
TOTALS = tg.FeatureView(
    "totals",
    entity=BY_NAME,
    stream=EVENTS,
    features={
        "events": agg.count().over(tg.sliding("1d")),
        "sum_x": agg.sum("x").over(tg.sliding("1d")),
    },
)


@dataclass
class Project:
    """A home with definitions applied; engines come and go over it."""

    settings: Settings
    sent: int = 0

    @classmethod
    def make(cls, root: Path, *definitions: Any, **settings: Any) -> Project:
        """A project in `root`, by default with `TOTALS`."""
        made = Settings(  # type: ignore[call-arg]
            project=root, in_file={}, home=root / ".tegula", **{"shards": 2, **settings}
        )
        project = cls(made)
        project.apply(*(definitions or (TOTALS,)))
        return project

    def apply(self, *definitions: Any) -> None:
        """Apply definitions, as `tegula apply` would."""
        apply_definitions(
            self.settings, collect(*definitions), author="t", message="", now_us=now_us()
        )

    def send(self, events: Sequence[dict[str, Any]], stream: str = "events") -> None:
        """Append events to the embedded log."""
        self.send_raw([orjson.dumps(event) for event in events], stream)

    def send_raw(self, payloads: Sequence[bytes], stream: str = "events") -> None:
        """Append records to the embedded log, whatever they hold."""
        log = LocalLog(self.settings.log_path(stream), stream)
        try:
            log.append(payloads, now_us=now_us)
        finally:
            log.close()
        self.sent += len(payloads)

    def report(self) -> dict[str, Any] | None:
        """What the engine last reported."""
        try:
            content: dict[str, Any] = orjson.loads(self.settings.engine_status_path.read_bytes())
        except FileNotFoundError:
            return None
        return content

    def outcomes(self, build: int = 1) -> dict[str, int]:
        """The reported outcomes of a build; empty before there are any."""
        report = self.report()
        if report is None or str(build) not in report["builds"]:
            return {}
        outcomes: dict[str, int] = report["builds"][str(build)]["outcomes"]
        return outcomes


@dataclass
class RunningEngine:
    """An engine in a thread; `fault` is what ended it."""

    stop_event: threading.Event
    thread: threading.Thread
    faults: list[BaseException] = field(default_factory=list)

    @property
    def fault(self) -> BaseException | None:
        return self.faults[0] if self.faults else None

    @property
    def is_running(self) -> bool:
        return self.thread.is_alive()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Ask it to stop, and wait until it has."""
        self.stop_event.set()
        self.thread.join(timeout_s)
        assert not self.thread.is_alive(), f"the engine did not stop within {timeout_s} s"


@contextmanager
def running(project: Project, clock: Clock = now_us) -> Iterator[RunningEngine]:
    """The project's engine, whole, with all its threads."""
    stop, faults = threading.Event(), []

    def run() -> None:
        try:
            process.run(project.settings, clock=clock, stop=stop)
        except BaseException as fault:  # noqa: BLE001 - for the test to look at
            faults.append(fault)

    engine = RunningEngine(stop, threading.Thread(target=run, daemon=True), faults)
    engine.thread.start()
    try:
        yield engine
    finally:
        engine.stop()
