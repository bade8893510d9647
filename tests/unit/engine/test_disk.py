"""The guard of the disks: when it holds, when it lets go, what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tegula.engine import disk
from tegula.engine.disk import DiskGuard
from tegula.engine.runtime.disk_wait import is_full
from tegula.engine.settings import Settings
from tegula.schemas.errors import DiskFull, LogFull, RegistryUnreachable, StateError

MIB = 1 << 20
GIB = 1 << 30


class Disks:
    """Two file systems: `log` lies on the second, all else on the first."""

    def __init__(self, free_bytes: int, log_bytes: int = 9 * GIB, total_bytes: int = GIB) -> None:
        self.free_bytes, self.log_bytes, self.total_bytes = free_bytes, log_bytes, total_bytes

    def __call__(self, folder: Path) -> tuple[int, int, int]:
        if folder.name == "log":
            return 2, self.log_bytes, self.total_bytes
        return 1, self.free_bytes, self.total_bytes


@pytest.fixture(autouse=True)
def always_look(monkeypatch):
    monkeypatch.setattr(disk, "LOOK_S", 0.0)


def guard(tmp_path: Path, disks: Disks, least_bytes: int | None) -> DiskGuard:
    folders = {name: tmp_path / name for name in ("log", "state", "lake")}
    for folder in folders.values():
        folder.mkdir()
    return DiskGuard(folders, least_bytes, disks)


def test_guard_holds_under_the_bound_and_lets_go_a_quarter_above_it(tmp_path):
    disks = Disks(100 * MIB)
    found = guard(tmp_path, disks, 100 * MIB)
    steps = []
    for free in (100, 99, 100, 124, 125, 110, 100, 99):
        disks.free_bytes = free * MIB
        steps.append(found.has_room)
    assert steps == [True, False, False, False, True, True, True, False]


@pytest.mark.parametrize(("total", "expected"), [(GIB, GIB // 50), (900 * GIB, 512 * MIB)])
def test_bound_is_small_on_a_small_disk_where_none_is_set(tmp_path, total, expected):
    found = guard(tmp_path, Disks(0, total_bytes=total), None)
    assert {one.least_bytes for one in found.look()} == {expected}


def test_guard_that_is_off_never_holds(tmp_path):
    found = guard(tmp_path, Disks(0, 0), 0)
    assert found.has_room
    assert found.fault is None
    assert found.report() == {"fault": None, "file_systems": []}
    found.require_room("log")


def test_guard_says_which_disk_and_how_much_is_free_there(tmp_path):
    found = guard(tmp_path, Disks(11 * MIB + 104_858), 64 * MIB)
    fault = found.fault
    assert isinstance(fault, DiskFull)
    assert fault.where == f"{tmp_path / 'state'} (of state, lake)"
    assert (fault.got, fault.expected) == ("11.1 MiB free", "at least 64.0 MiB")
    assert fault.retryable
    report = found.report()
    assert report["fault"]["code"] == "TG-508"
    assert [(one["folders"], one["low"]) for one in report["file_systems"]] == [
        (("log",), False),
        (("state", "lake"), True),
    ]


def test_pushes_need_room_where_the_log_lies_and_there_alone(tmp_path):
    disks = Disks(0)
    found = guard(tmp_path, disks, MIB)
    found.require_room("log")
    disks.log_bytes = MIB - 1
    with pytest.raises(LogFull, match=r"TG-306 at .*log \(of log\).* Got 1.0 MiB free") as caught:
        found.require_room("log")
    assert (caught.value.http_status, caught.value.retryable) == (507, True)


def test_folder_that_is_not_there_yet_counts_where_it_would_be_made(tmp_path):
    found = DiskGuard({"state": tmp_path / "not" / "yet"}, 1)
    (one,) = found.look()
    assert one.folders == ("state",)
    assert one.free_bytes > 1


def test_guard_of_a_home_knows_the_embedded_store_only_where_it_is_used(tmp_path):
    folders = set()
    for more in ({}, {"online_url": "redis://127.0.0.1:1"}):
        settings = Settings(project=tmp_path, in_file={}, home=tmp_path / "home", **more)
        folders.add(DiskGuard.of(settings).look()[0].folders)
    assert folders == {
        ("home", "log", "state", "lake", "online"),
        ("home", "log", "state", "lake"),
    }
    assert DiskGuard.of(settings, on=False).look() == ()


def test_faults_that_mean_a_full_disk_are_told_from_others():
    here = {"where": "here", "got": "nothing free"}
    full = [DiskFull(**here), LogFull(**here), OSError(28, "No space left on device")]
    full.append(RegistryUnreachable(where="here", detail="database or disk is full"))
    assert all(map(is_full, full))
    other = [StateError("broken"), OSError(5, "Input/output error")]
    other.append(RegistryUnreachable(where="here", detail="no such host"))
    assert not any(map(is_full, other))
