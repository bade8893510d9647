"""A simulated installation: logs, a home, an engine that dies, and all that it was ever given."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from tegula.backfill import kept, online_rows
from tegula.connectors.redrive import RedriveFile
from tegula.connectors.with_beside import LogWithBeside
from tegula.engine.apply import apply_definitions
from tegula.engine.runtime import engine as running
from tegula.engine.runtime import home as homes
from tegula.engine.runtime.clock import ScriptedClock
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.streams import StreamReader
from tegula.engine.settings import Settings
from tegula.engine.steps import commit, lanes
from tegula.schemas.codec import collect
from tegula.schemas.errors import BackfillRunning, SinkError, WrongBuildStatus
from tegula.schemas.time import HOUR_US, MINUTE_US, SECOND_US
from tegula.state.checkpoint import Interrupted
from tegula.state.checkpoint_store import DirectoryStore
from tegula.state.registry import Registry
from tests.oracle import naive
from tests.simulation.backups import lose, make_checkpoint, restore_any
from tests.simulation.copies import Copies
from tests.simulation.faults import Died, Faults
from tests.simulation.logs import SimulatedLog
from tests.simulation.maintaining import maintain_lake
from tests.simulation.records import RUBBISH, drawn_row, stamp_us
from tests.simulation.redriving import drive
from tests.simulation.repairs import verify_and_rebuild
from tests.simulation.verdicts import Synced, judged
from tests.simulation.views import AHEAD_US, POOL, STREAMS, ViewFacts
from tests.simulation.whole import check_whole
from tests.support.team import Team

SHARDS = 3
START_US = 1_704_067_200_000_000  # 2024-01-01


class World:
    """Everything of one run. Each method without underscore is something that may happen."""

    def __init__(self, root: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.chance = random.Random(seed)
        self.clock = ScriptedClock(START_US)
        self.settings = Settings(  # type: ignore[call-arg]
            project=root, in_file={}, home=root / ".tegula", shards=SHARDS
        )
        self.logs = {
            name: SimulatedLog(name, self.chance, 2, by_producers=name == "orders")
            for name in STREAMS
        }
        self.records: dict[str, list[naive.Record]] = {name: [] for name in STREAMS}
        self.synced_verdicts = Synced(patch)
        self.copies = Copies()
        self.undecided: dict[str, set[int]] = {name: set() for name in STREAMS}
        self.faults = Faults(self.chance, patch)
        self.boot = 0
        self.deaths: list[str] = []
        self.forgets = self.chance.random() < 0.5
        self.synced = root / "synced"
        self.backup = DirectoryStore(root / "backup")
        self.engine: Engine | Team | None = None
        patch.setattr(running, "open_log", lambda stream, settings: self._log(stream.name))
        patch.setattr(kept, "open_kept_log", lambda stream, settings: self._log(stream.name))
        for module in (homes, online_rows):
            patch.setattr(module, "boot_id", lambda: f"boot-{self.boot}")
        patch.setattr(lanes, "JOIN_ROWS", self.chance.choice((0, 5, 100_000)))
        patch.setattr(commit, "FOLD_EVERY", self.chance.choice((4, 32)))
        patch.setattr("tegula.state.bodies.SPLIT_BYTES", self.chance.choice((0, 900, 65_536)))
        self.applied: dict[str, ViewFacts] = {}
        self.define()
        self._open()

    # What may happen.

    def send(self) -> None:
        """Some records to one partition of one stream."""
        stream = self.chance.choice(list(self.logs))
        log = self.logs[stream]
        partition = self.chance.choice(log.partitions())
        for _ in range(self.chance.choice((0, 1, 3, 12, 40))):
            self._send_one(stream, partition)
        if self.chance.random() < 0.3:
            log.skip(partition, self.chance.randint(1, 3))

    def _send_one(self, stream: str, partition: str) -> None:
        chance = self.chance
        log_us = stamp_us(chance, self.clock()) if self.logs[stream].by_producers else self.clock()
        payload: bytes | None
        if chance.random() < 0.08:
            payload = chance.choice(RUBBISH)
            offset = self.logs[stream].append(partition, payload, log_us)
            row = {"tombstone": payload is None}
            record = naive.Record(int(partition), offset, log_us, None, None, row)
            self.records[stream].append(record)
            return
        row = drawn_row(chance, log_us)
        if log_us > self.clock() + AHEAD_US:
            self.undecided[stream].add(len(self.records[stream]))
        offset = self.logs[stream].append(partition, orjson.dumps(row), log_us)
        self.records[stream].append(
            naive.Record(int(partition), offset, log_us, row["k"], row["at"], row)
        )

    def wait(self) -> None:
        """Time passes."""
        span_us = self.chance.choice((10, SECOND_US, MINUTE_US, HOUR_US, 30 * HOUR_US))
        self.clock.advance_to(self.clock() + self.chance.randint(1, span_us))

    def step(self) -> None:
        """The engine takes some batches, each with a commit of its own."""
        for _ in range(self.chance.randint(1, 12)):
            self._engine.step()

    def gather(self) -> None:
        """The engine takes some batches into one commit, and mirrors it later or never."""
        engine = self._engine
        if isinstance(engine, Team):
            self.step()
            return
        for _ in range(self.chance.randint(1, 6)):
            work = engine.poll()
            if work is not None:
                for parcel in engine.lift(work):
                    engine.add(parcel)
        if engine.ingest.committer.has_pending and self.chance.random() < 0.7:
            engine.committed(engine.commit())

    def look(self) -> None:
        """The engine looks for new builds and partitions, and activates those that are whole."""
        self._engine.look()

    def archive(self) -> None:
        """The archive writes what it holds."""
        self._engine.archiving.flush()

    def maintain(self) -> None:
        """The lake is maintained beside everything."""
        maintain_lake(self.settings, self.clock)

    def define(self) -> None:
        """Definitions are applied: one more view, or one that is changed."""
        drawn = self.chance.choice(POOL)
        self.applied[drawn.view] = drawn
        self._apply()

    def _apply(self) -> None:
        apply_definitions(
            self.settings,
            collect(*STREAMS.values(), *(facts.define() for facts in self.applied.values())),
            author="simulation",
            message="",
            now_us=self.clock(),
        )

    def backfill(self) -> None:
        """A view is built anew beside what serves."""
        view = self.chance.choice(list(self.applied))
        with suppress(BackfillRunning):
            self._registry(lambda r: r.start_backfill(view, self.clock()))

    def redrive(self) -> None:
        """Dead letters, or what a view found too old, are driven again."""
        stream = self.chance.choice(list(self.logs))
        strict = [f.view for f in self.applied.values() if f.stream == stream and f.lateness]
        view = self.chance.choice((None, *strict))
        deployed = self._engine.deployed
        if self.chance.random() < 0.7:
            self._engine.archiving.flush()
        if stream in deployed.streams:
            drive(self.settings, deployed, stream, view, self.clock())

    def switch(self) -> None:
        """Another live build of a view takes over: forward, or back."""
        live = self._registry(lambda r: r.builds(("live",)))
        if live:
            chosen = self.chance.choice(live)
            with suppress(WrongBuildStatus):
                self._registry(lambda r: r.activate(chosen.view, chosen.id))

    def retire(self) -> None:
        """A build that does not serve is given up."""
        chosen = self.chance.choice(self._registry(lambda r: r.builds()))
        with suppress(WrongBuildStatus):
            self._registry(lambda r: r.retire(chosen.id))

    def grow(self) -> None:
        """A topic is given one more partition."""
        log = self.chance.choice(list(self.logs.values()))
        if len(log.partitions()) < 4:
            log.add_partition()

    def forget(self) -> None:
        """A log drops what everybody who goes on from where he stands has taken."""
        if not self.forgets:
            return
        for name in self._engine.deployed.streams:
            readers = self._readers(name)
            for partition, place in self._engine.archiving.places(name).items():
                if partition not in self.logs[name].topics:
                    continue
                live = [
                    at.next_offset
                    for shard in self._engine.shards
                    for (build, ordinal), at in shard.applied.items()
                    if ordinal == readers[0].ordinal(partition)
                    and self._engine.deployed.statuses.get(build) == "live"
                ]
                needed = [*live, place.next_offset]
                if not any(reader.lanes.behind for reader in readers):
                    self.logs[name].forget(partition, min(needed))

    def crash(self) -> None:
        """The process is killed."""
        self._let_go(clean=False)
        if not self.forgets and self.chance.random() < 0.5:
            shutil.rmtree(self.synced, ignore_errors=True)
            shutil.copytree(self.settings.state_path, self.synced)
        self._open()

    def restart(self) -> None:
        """The engine stops and starts."""
        self._let_go(clean=True)
        self._open()

    def power_cut(self) -> None:
        """The machine goes down and boots anew; some shards come back as they were a while ago."""
        self._let_go(clean=False)
        self.boot += 1
        for folder in sorted(self.synced.glob("shard-*")):
            if self.chance.random() < 0.7:
                lost = self.settings.state_path / folder.name
                shutil.rmtree(lost, ignore_errors=True)
                shutil.copytree(folder, lost)
                self.synced_verdicts.restore(lost)
        self._open()

    def checkpoint(self) -> None:
        """The state is copied elsewhere."""
        with suppress(Interrupted):
            make_checkpoint(self._engine, self.backup, keep=self.chance.randint(1, 3))

    def restore(self) -> None:
        """The machine is lost, another goes on from a checkpoint: where the log reaches back."""
        if self.forgets or not self.backup.ids():
            return
        self._let_go(clean=False)
        self.synced_verdicts.forget()
        shutil.rmtree(self.synced, ignore_errors=True)
        lose(self.settings)
        self.deaths += restore_any(self.settings, self.backup, self.chance, self.clock)
        self._apply()  # what was defined since the checkpoint
        self._open()

    def repair(self) -> None:
        """At rest the state is verified, and some keys are made anew."""
        self._let_go(clean=self.chance.random() < 0.5)
        verify_and_rebuild(self.settings, self.faults, self.chance)
        self._open()

    # How it happens.

    def act(self, action: str) -> None:
        """Do something; if the process dies of it, start it again."""
        self.faults.armed = True
        try:
            getattr(self, action)()
            if self.engine is not None and self.engine.outdated:
                self.restart()
        except Died as death:
            self.deaths.append(str(death))
            self._revive()
        except SinkError:
            if self.engine is None:  # refused while it started; otherwise it tries again itself
                self._revive()
        finally:
            self.faults.armed = False

    def _revive(self) -> None:
        """Start the engine until it stays up."""
        for _ in range(5):
            try:
                self._let_go(clean=False)
                self._open()
            except Died as death:
                self.deaths.append(str(death))
                continue
            except SinkError:
                continue
            return
        self.faults.armed = False
        self._let_go(clean=False)
        self._open()

    def _log(self, stream: str) -> LogWithBeside:
        file = RedriveFile(self.settings.redriven_path(stream), stream)
        return LogWithBeside(self.logs[stream], (file,), stream)

    def _open(self, *, alone: bool = False) -> None:
        if self.engine is not None:
            return
        count = 1 if alone else self.chance.choice((1, 1, 2, 3))
        if count > 1:
            self.engine = Team(self.settings, count, self.chance, clock=self.clock)
        else:
            self.engine = Engine(self.settings, clock=self.clock, threaded=False).open()

    def _readers(self, stream: str) -> list[StreamReader]:
        engine = self._engine
        return engine.readers(stream) if isinstance(engine, Team) else [engine.streams[stream]]

    def _let_go(self, *, clean: bool) -> None:
        if self.engine is not None:
            engine, self.engine = self.engine, None
            engine.close(clean=clean)

    @property
    def _engine(self) -> Engine | Team:
        assert self.engine is not None
        return self.engine

    def _registry(self, ask: Any) -> Any:
        registry = Registry(self.settings.registry_url_or_default)
        armed, self.faults.armed = self.faults.armed, False
        try:
            return ask(registry)
        finally:
            registry.close()
            self.faults.armed = armed

    # What has to hold.

    def settle(self) -> None:
        """Let the engine take everything in, in peace; the clock moves as it would."""
        self.faults.armed = False
        for _ in range(4):
            self._engine.settle()
            if self._engine.outdated:
                self.restart()
        for name in self._engine.deployed.streams:
            for reader in self._readers(name):
                assert not reader.lanes.behind, "a build never joins"
        self._engine.archiving.flush()

    def check(self) -> Mapping[str, int]:
        """Compare every live build with the raw logs, then archive and dead letter; what it was."""
        self.settle()
        if isinstance(self._engine, Team):
            # What several have done must be what one finds, who has nothing left to do.
            self._let_go(clean=self.chance.random() < 0.5)
            self._open(alone=True)
        engine = self._engine
        assert isinstance(engine, Engine)
        engine.settle()
        engine.archiving.flush()
        for name in STREAMS:
            given = (self.records[name], self.undecided[name])
            self.records[name] = judged(*given, self.settings.lake_path, name, self.clock())
        mine = (self.records, self.copies, self.chance)
        return self._registry(lambda registry: check_whole(engine, registry, *mine))

    def close(self) -> None:
        self.faults.armed = False
        self._let_go(clean=False)


ACTIONS: Mapping[str, int] = {
    "send": 12,
    "wait": 6,
    "step": 10,
    "gather": 6,
    "look": 3,
    "archive": 5,
    "maintain": 2,
    "define": 2,
    "backfill": 4,
    "switch": 1,
    "redrive": 4,
    "retire": 2,
    "grow": 1,
    "forget": 1,
    "crash": 3,
    "restart": 1,
    "power_cut": 2,
    "checkpoint": 2,
    "restore": 2,
    "repair": 1,
}
"""What may happen, and how often in proportion."""
