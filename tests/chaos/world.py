"""An installation in chaos: a broker, an engine process, a server, a producer, and their home."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import tegula as tg
from tegula.engine.apply import apply_definitions
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import Settings, load_settings
from tegula.schemas.codec import collect
from tegula.state.checkpoint_store import DirectoryStore
from tegula.state.registry import Registry
from tests.chaos.clock import SteppedClock
from tests.chaos.topics import LOG_APPEND_TIME, Producing
from tests.chaos.witness import VIEW, Witness
from tests.services.kafka import Broker, free_ports
from tests.services.redis import Server
from tests.simulation.views import POOL, STREAMS, ViewFacts
from tests.support.process import EngineProcess, ServerProcess, lag_of

WITHIN_S = 300.0
"""What is waited for holds much sooner; a machine may have much else to do."""
_SETTINGS = """\
shards = 4
port = {port}
archive_interval_s = 1.0
kafka.bootstrap = "{bootstrap}"
checkpoint.to = "{checkpoints}"
checkpoint.interval_s = 5.0
checkpoint.keep = 3
"""
_PAUSE = threading.Event()


class World:
    """What chaos happens to. `redis` is a server that the run may use, if the seed says so."""

    def __init__(
        self, folder: Path, broker: Broker, seed: int, per_second: int, redis: Server | None = None
    ) -> None:
        self.chance = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.broker = broker
        self.redis = redis if redis is not None and self.chance.random() < 0.5 else None
        self.topics = {
            name: broker.create_topic(partitions=2, config=LOG_APPEND_TIME) for name in STREAMS
        }
        self.settings = self._make_project(folder)
        self.checkpoints = DirectoryStore(folder / "checkpoints")
        self.clock = SteppedClock(folder / "clock")
        self.engine = EngineProcess(folder, verb=True)
        self.other = EngineProcess(folder, "other.out", verb=True)
        self.server = ServerProcess(folder)
        self.witness = Witness(self.settings)
        self.applied: dict[str, ViewFacts] = {}
        self._trusted = True
        self.producing = Producing(broker.bootstrap, self.topics, seed + 1, per_second)
        for facts in (next(one for one in POOL if one.view == VIEW), self.chance.choice(POOL)):
            self.applied[facts.view] = facts
        self.apply()

    def _make_project(self, folder: Path) -> Settings:
        folder.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)
        text = _SETTINGS.format(
            port=port, bootstrap=self.broker.bootstrap, checkpoints=folder / "checkpoints"
        )
        if self.redis is not None:
            text += f'online_url = "{self.redis.url}"\n'
        (folder / "tegula.toml").write_text(text)
        return load_settings(folder)

    def start(self) -> None:
        """Start everything, and wait until the engine runs."""
        if self.redis is not None:
            self.redis.start()
        self.restart()
        self.server.start()
        self.producing.start()

    def close(self) -> None:
        """Stop whatever still runs."""
        self.producing.end()
        for process in (self.engine, self.other, self.server):
            process.kill()
        self.witness.close()
        if self.redis is not None:
            self.redis.stop()

    def apply(self) -> None:
        """Apply what is to be applied, all of it."""
        views = []
        for facts in self.applied.values():
            view = facts.define()
            source = tg.Kafka(topic=self.topics[facts.stream])
            views.append(replace(view, stream=replace(view.stream, source=source)))
        apply_definitions(
            self.settings, collect(*views), author="chaos", message="", now_us=now_us()
        )

    def registry(self) -> Registry:
        """The registry, for the caller to close."""
        return Registry(self.settings.registry_url_or_default)

    # The engine, and waiting for it.

    def start_engine(self) -> None:
        """Start the engine; returns at once."""
        self.engine.start(self.clock.environment)

    def restart(self) -> None:
        """Start the engine, and wait until it runs."""
        self.start_engine()
        self.until(lambda: self.engine.report() is not None)

    def pause(self, at_most_s: float, at_least_s: float = 0.0) -> None:
        """Let some time go by, as much as the seed says."""
        _PAUSE.wait(self.chance.uniform(at_least_s, at_most_s))

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds; fails with what the engine says if that takes too long."""
        if not self.holds_within(WITHIN_S, holds):
            told = f"{self.witness.counts()}\n{self.witness.reasons()}\n{self.server.log[-2_000:]}"
            raise AssertionError(f"{self.engine.report()}\n{self.engine.log}\n{told}")

    def holds_within(self, seconds: float, holds: Callable[[], bool]) -> bool:
        """Whether it comes to hold within some seconds."""
        deadline_s = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline_s:
                return False
            _PAUSE.wait(0.05)
        return True

    def lose_trust(self) -> None:
        """State was lost: until it is whole again, and read, values may be older ones."""
        self.witness.forget()
        self._trusted = False

    def is_trusted(self) -> bool:
        """Whether what is read is at least what was read before."""
        if not self._trusted and self.has_readable_builds():
            _PAUSE.wait(0.5)  # servers look for another store each tenth of a second
            self._trusted = True
        return self._trusted

    def is_holding(self) -> bool:
        """Whether the engine says that it takes nothing in because a disk is full."""
        report = self.engine.report() if self.engine.is_running else None
        return bool(report and report.get("disk", {}).get("fault"))

    def has_readable_builds(self) -> bool:
        """Whether all that is live is whole, and what is committed can be read."""
        report = self.engine.report()
        return (
            report is not None
            and report["mirrored"] == report["commits"]
            and not any(stream["catching_up"] for stream in report["streams"].values())
            and all(build["status"] == "live" for build in report["builds"].values())
        )

    def is_at_rest(self) -> bool:
        """Whether all that was produced is committed, readable and archived."""
        report = self.engine.report()
        return (
            report is not None
            and lag_of(report) == 0
            and self.has_readable_builds()
            and all(not one["buffered_rows"] for one in report["archive"].values())
        )
