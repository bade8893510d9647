"""Several worker processes over one home: what they hold together is what one would hold alone."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

import tegula as tg
from tegula import agg
from tegula.connectors.local_log import LocalLog
from tegula.engine.apply import apply_definitions
from tegula.engine.report import read_report
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import load_settings
from tegula.schemas.codec import collect
from tegula.state.registry import Registry
from tests.support.engines import BY_NAME, EVENTS
from tests.support.online import values_online
from tests.support.process import EngineProcess, is_caught_up

KEYS = [f"k{number}" for number in range(200)]
VIEW = tg.FeatureView(
    "totals",
    entity=BY_NAME,
    stream=EVENTS,
    features={
        "events": agg.count().over(tg.lifetime()),
        "sum_x": agg.sum("x").over(tg.sliding("1d")),
        "last_x": agg.last("x").over(tg.lifetime()),
    },
)
CHANGED = tg.FeatureView(
    "totals",
    entity=BY_NAME,
    stream=EVENTS,
    features={**VIEW.features, "largest": agg.max("x").over(tg.lifetime())},
)


class Sent:
    """Events in the embedded log, and what they add up to, key by key."""

    def __init__(self, project: Path, chance: random.Random) -> None:
        self.settings = load_settings(project)
        self.chance = chance
        self.count = 0
        self.start_us = now_us() - 3_600_000_000
        self.counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.last: dict[str, float] = {}
        self.largest: dict[str, float] = {}

    def send(self, count: int) -> None:
        log = LocalLog(self.settings.log_path("events"), "events")
        try:
            for first in range(0, count, 500):
                rows = [self._row() for _ in range(min(500, count - first))]
                log.append([orjson.dumps(row) for row in rows], now_us=now_us)
        finally:
            log.close()

    def _row(self) -> dict[str, object]:
        self.count += 1
        key, x = self.chance.choice(KEYS), float(self.chance.randrange(-1000, 1000))
        self.counts[key] += 1
        self.sums[key] += x  # type: ignore[assignment]
        self.last[key] = x  # event times rise
        self.largest[key] = max(x, self.largest.get(key, x))
        return {"k": key, "x": x, "at": self.start_us + self.count}

    def check(self, *, changed: bool = False) -> None:
        """All values, as servers read them."""
        keys = sorted(self.counts)
        view = CHANGED if changed else VIEW
        names = [f"totals:{name}" for name in view.features]
        found = values_online(self.settings, names, {"k": keys})
        assert found["totals:events"] == [self.counts[key] for key in keys]
        assert found["totals:sum_x"] == [float(self.sums[key]) for key in keys]
        assert found["totals:last_x"] == [self.last[key] for key in keys]
        if changed:
            assert found["totals:largest"] == [self.largest[key] for key in keys]


def pids_of(engine: EngineProcess) -> set[int]:
    """The workers, once all have reported."""
    report = engine.report()
    return set() if report is None else set(report["pids"])


@pytest.fixture
def sent(project: Path, seed: int) -> Sent:
    (project / "tegula.toml").write_text("shards = 5\n")
    made = Sent(project, random.Random(seed))
    apply_definitions(made.settings, collect(VIEW), author="t", message="", now_us=now_us())
    return made


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Callable[[Path, int], EngineProcess]:
    """Starts an engine of so many workers over a project; what still runs at the end is killed."""

    def started(project: Path, workers: int) -> EngineProcess:
        engine = EngineProcess(project, verb=True, workers=workers)
        request.addfinalizer(engine.kill)
        engine.start()
        return engine

    return started


@pytest.mark.slow
def test_workers_are_killed_begin_anew_and_move_to_another_machine(
    sent, project, start, tmp_path, eventually
):
    """What may happen to them in the course of things; the simulation has it in any order."""
    sent.send(2_000)
    engine = start(project, 2)
    eventually(lambda: pids_of(engine) != set())
    victim = sent.chance.choice(sorted(pids_of(engine)))
    os.kill(victim, signal.SIGKILL)
    sent.send(1_000)
    eventually(lambda: pids_of(engine) - {victim} == pids_of(engine) != set())
    eventually(is_caught_up(engine, sent.count))
    sent.check()

    apply_definitions(sent.settings, collect(CHANGED), author="t", message="", now_us=now_us())
    registry = Registry(sent.settings.registry_url_or_default)
    registry.start_backfill("totals", now_us())
    registry.close()
    sent.send(1_000)
    eventually(lambda: live_builds(engine) == 2)
    eventually(is_caught_up(engine, sent.count))
    sent.check(changed=True)

    backup, there = tmp_path / "backup", tmp_path / "there"
    tegula("checkpoint", "create", "--to", str(backup), "--project", str(project))
    sent.send(1_000)
    eventually(is_caught_up(engine, sent.count))
    assert engine.stop() == 0, engine.log
    assert read_report(sent.settings.engine_status_path) is None

    shutil.copytree(project / ".tegula" / "log", there / ".tegula" / "log")
    (there / "tegula.toml").write_text("shards = 5\n")
    tegula("checkpoint", "restore", "latest", "--from", str(backup), "--project", str(there))
    sent.settings = load_settings(there)
    alone = start(there, 1)
    eventually(is_caught_up(alone, sent.count))
    sent.check(changed=True)
    assert alone.stop() == 0, alone.log


def live_builds(engine: EngineProcess) -> int:
    """How many builds are live."""
    report = engine.report() or {"builds": {}}
    return [one["status"] for one in report["builds"].values()].count("live")


def tegula(*words: str) -> str:
    """What a command prints; it must succeed."""
    command = [sys.executable, "-m", "tegula.cli.main", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
