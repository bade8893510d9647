"""Maintenance of a whole lake, by the command's function and by the engine's thread."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import tegula as tg
from tegula import agg
from tegula.engine.maintenance import maintain, maintained_us
from tegula.engine.runtime import maintaining
from tegula.engine.runtime.clock import ScriptedClock
from tegula.engine.runtime.maintaining import Maintaining
from tegula.engine.settings import Settings
from tegula.engine.steps.worker import ALONE, Worker
from tegula.schemas.errors import MaintenanceRunning, TableFileLost
from tegula.schemas.time import HOUR_US

START_US = 1_714_564_800_000_000
STREAM = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "amount": tg.Float64, "at": tg.Timestamp.of("us")},
    event_time="at",
)
VIEW = tg.FeatureView(
    "spend",
    entity=tg.Entity("card", keys={"card_id": tg.String}),
    stream=STREAM,
    features={"n": agg.count().over(tg.lifetime())},
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home whose archive and dead letter were written in three flushes."""
    with tg.TestDriver(VIEW, at=START_US, home=tmp_path) as driver:
        for _ in range(3):
            good = {"card_id": "c1", "amount": 1.0, "at": START_US}
            driver.send("payments", [good, b"no event"], partition="0")
            driver.settle()
            driver.engine.archiving.flush()
    return Settings(project=tmp_path, home=tmp_path / ".tegula", shards=16)


def test_maintain_merges_every_table_and_remembers_when(settings):
    clock, told = ScriptedClock(START_US), []
    assert maintained_us(settings) is None
    tried = maintain(settings, clock, dry_run=True)
    assert [(one.table, one.files, one.merged) for one in tried] == [
        ("log/payments", 3, 3),
        ("dead_letter/payments", 3, 3),
    ]
    assert maintained_us(settings) is None
    done = maintain(settings, clock, told=lambda *said: told.append(said))
    assert [(one.table, one.files, one.made) for one in done] == [
        ("log/payments", 1, 1),
        ("dead_letter/payments", 1, 1),
    ]
    assert maintained_us(settings) == START_US
    table, bytes_done, bytes_total = told[-1]
    assert (table, bytes_done) == ("dead_letter/payments", bytes_total)


def test_maintain_is_refused_while_another_does_it(settings):
    with (settings.home / "maintain.lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711")
        file.flush()
        with pytest.raises(MaintenanceRunning, match="process 4711"):
            maintain(settings, ScriptedClock(START_US))
    assert maintain(settings, ScriptedClock(START_US))


def test_maintain_reports_a_table_that_is_damaged_and_does_the_others(settings):
    lost = next((settings.home / "lake/log/payments").rglob("part-*.parquet"))
    lost.unlink()
    archive, letters = maintain(settings, ScriptedClock(START_US))
    (fault,) = archive.faults
    assert isinstance(fault, TableFileLost)
    assert letters.made == 1


def engine(settings: Settings, clock: ScriptedClock, **changes: float) -> SimpleNamespace:
    given = settings.model_copy(update=changes)
    return SimpleNamespace(settings=given, now_us=clock, worker=ALONE)


def ended(own: Maintaining) -> None:
    assert own._thread is not None
    own._thread.join(30)
    assert not own._thread.is_alive()


def test_maintaining_comes_an_interval_after_the_start_and_then_after_the_last(settings):
    clock = ScriptedClock(START_US)
    own = Maintaining(engine(settings, clock))
    clock.advance_to(START_US + HOUR_US - 1)
    own.turn()
    assert own._thread is None
    clock.advance_to(START_US + HOUR_US)
    own.turn()
    ended(own)
    report = own.report()
    assert report["last_us"] == START_US + HOUR_US
    assert [(one["table"], one["made"]) for one in report["last"]] == [
        ("log/payments", 1),
        ("dead_letter/payments", 1),
    ]
    assert (report["running"], report["fault"]) == (None, None)
    anew = Maintaining(engine(settings, clock))
    clock.advance_to(START_US + 2 * HOUR_US - 1)
    anew.turn()
    assert anew._thread is None


def test_maintaining_is_off_at_zero_and_is_the_first_workers(settings):
    clock = ScriptedClock(START_US)
    off = Maintaining(engine(settings, clock, maintain_interval_s=0))
    second = engine(settings, clock)
    second.worker = Worker(1, 2)
    other = Maintaining(second)
    clock.advance_to(START_US + 9 * HOUR_US)
    for one in (off, other):
        one.turn()
        assert one._thread is None


def test_maintaining_that_fails_says_so_and_is_tried_after_the_interval(settings, monkeypatch):
    clock = ScriptedClock(START_US)
    own = Maintaining(engine(settings, clock))
    asked = []

    def failing(*_, **__):
        asked.append(clock())
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(maintaining, "maintain", failing)
    for hours in (1, 1.5, 2):
        clock.advance_to(START_US + int(hours * HOUR_US))
        own.turn()
        ended(own)
    assert asked == [START_US + HOUR_US, START_US + 2 * HOUR_US]
    assert "a fault of ours" in own.report()["fault"]["got"]


def test_maintaining_that_is_stopped_leaves_the_lake_as_it_was(settings, monkeypatch):
    clock = ScriptedClock(START_US)
    own = Maintaining(engine(settings, clock))
    begun = threading.Event()
    told = Maintaining._told

    def seen(self, *said):
        told(self, *said)
        begun.set()
        self._stopped.wait(30)

    monkeypatch.setattr(Maintaining, "_told", seen)
    clock.advance_to(START_US + HOUR_US)
    own.turn()
    assert begun.wait(30)
    own.stop()
    ended(own)
    assert own.report()["last_us"] is None
    assert maintain(settings, clock, dry_run=True)[0].files == 3
