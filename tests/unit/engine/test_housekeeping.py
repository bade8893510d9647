"""Housekeeping: the report, and going on after whatever went wrong once."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tegula.engine.disk import DiskGuard
from tegula.engine.report import read_report
from tegula.engine.runtime import housekeeping
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.ending import Ending
from tegula.engine.runtime.home import write_report
from tegula.engine.runtime.housekeeping import Housekeeping
from tegula.engine.steps.worker import ALONE
from tegula.schemas.errors import StateError
from tests.support.disks import small_disk


class FullDisk:
    """A shard whose log cannot be synced as long as `full`."""

    number = commit_number = 0

    def __init__(self) -> None:
        self.full = True
        self.asked = threading.Event()
        self.applied: dict[tuple[int, int], Any] = {}

    def sync(self) -> None:
        self.asked.set()
        if self.full:
            raise StateError("no space left")


@pytest.fixture
def engine(tmp_path):
    nothing = SimpleNamespace(
        commits=list, rewriting=list, fault=None, lag=SimpleNamespace(report=dict)
    )
    return SimpleNamespace(
        settings=SimpleNamespace(
            engine_status_path=tmp_path / "engine.json", home=tmp_path, maintain_interval_s=0
        ),
        worker=ALONE,
        here=(0,),
        mirrors=nothing,
        archiving=SimpleNamespace(report=dict),
        checkpointing=SimpleNamespace(turn=lambda: None, report=dict),
        deployed=SimpleNamespace(builds=(), statuses={}),
        row_count=0,
        shards=[FullDisk()],
        streams={},
        survey=lambda: None,
        registry_fault=None,
        disk=DiskGuard({}, 0),
        ending=Ending(threading.Event()),
        now_us=now_us,
    )


def test_housekeeping_goes_on_when_a_disk_was_full_for_a_while(engine, monkeypatch, eventually):
    monkeypatch.setattr(housekeeping, "PERIOD_S", 0.01)
    keeper = Housekeeping(engine)
    keeper.start()
    path, shard = engine.settings.engine_status_path, engine.shards[0]
    path.unlink()
    eventually(shard.asked.is_set)
    assert not path.exists()
    shard.full = False
    eventually(path.exists)
    keeper.stop()
    assert not path.exists()


def test_report_is_written_over_the_last_one_while_the_disk_is_full(tmp_path):
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        path = disk.path / "engine.json"
        write_report(path, b'{"at": 1}')
        disk.fill()
        longer = b'{"at": 2, "more": "' + b"x" * 5_000 + b'"}'
        write_report(path, longer)
        assert read_report(path) == {"at": 2, "more": "x" * 5_000}
        assert [file.name for file in disk.path.iterdir() if file.name != "filler"] == [path.name]
        with pytest.raises(OSError, match="No space left"):
            write_report(disk.path / "another.json", longer)
        disk.free()
        write_report(path, b"{}")
        assert read_report(path) == {}
