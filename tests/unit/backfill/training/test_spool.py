"""Frames that wait: in memory, then in files, and always in order."""

from __future__ import annotations

import errno
from pathlib import Path

import polars as pl
import pytest

from tegula.backfill.training.spool import Workspace
from tegula.schemas.errors import DiskFull

FRAMES = [
    pl.DataFrame(
        {"a": [n, None], "s": [f"text {n}", None], "l": [[n], []]}, schema_overrides={"a": pl.Int64}
    )
    for n in range(50)
]


@pytest.mark.parametrize("memory_bytes", [0, 2_000, 1 << 30])
def test_frames_come_back_in_order(tmp_path: Path, memory_bytes):
    with Workspace(tmp_path / "work", memory_bytes) as workspace:
        first, second = workspace.spool(), workspace.spool()
        for frame in FRAMES:
            first.append(frame)
            second.append(frame[:0])
        assert pl.concat(first.read()).equals(pl.concat(FRAMES))
        assert pl.concat(second.read()).equals(FRAMES[0][:0])
        assert (workspace.spilled_bytes > 0) == (memory_bytes < 1 << 30)
    assert not list((tmp_path / "work").glob(".tegula-work-*"))


@pytest.mark.parametrize("spilled", [0, 20])
def test_what_is_being_read_stays_whole_while_others_are_written(tmp_path: Path, spilled: int):
    with Workspace(tmp_path / "work", 1 << 30) as workspace:
        first, second = workspace.spool(), workspace.spool()
        for number, frame in enumerate(FRAMES):
            first.append(frame)
            if number + 1 == spilled:
                first.spill()
        read = []
        for frame in first.read():
            read.append(frame)
            second.append(frame)
            for spool in (first, second):  # as a workspace that is full has them do
                spool.spill()
        assert pl.concat(read).equals(pl.concat(FRAMES))
        assert pl.concat(first.read()).equals(pl.concat(FRAMES))
        assert pl.concat(second.read()).equals(pl.concat(FRAMES))


def test_nothing_is_made_on_disk_for_a_few(tmp_path: Path):
    with Workspace(tmp_path / "work", 1 << 20) as workspace:
        workspace.spool().append(FRAMES[0])
    assert not (tmp_path / "work").exists()


def test_what_a_killed_process_left_is_removed_and_what_is_used_is_not(tmp_path: Path):
    left = tmp_path / ".tegula-work-dead"
    left.mkdir()
    (left / "lock").touch()
    (left / "0.arrows").touch()
    (tmp_path / ".tegula-work-begun").mkdir()
    with Workspace(tmp_path, 0) as used:
        used.spool().append(FRAMES[0])
        assert not left.exists()
        assert not (tmp_path / ".tegula-work-begun").exists()
        with Workspace(tmp_path, 0) as other:
            other.spool().append(FRAMES[1])
            assert len(list(tmp_path.glob(".tegula-work-*"))) == 2
        assert len(list(tmp_path.glob(".tegula-work-*"))) == 1


def test_what_is_not_ours_stays(tmp_path: Path):
    """The parent is where a user wants the set: beside whatever he has there."""
    (tmp_path / "work-mine").mkdir()
    (tmp_path / "work-mine" / "notes").touch()
    with Workspace(tmp_path, 0) as workspace:
        workspace.spool().append(FRAMES[0])
        assert len(list(tmp_path.glob(".tegula-work-*"))) == 1
    assert (tmp_path / "work-mine" / "notes").exists()
    assert [one.name for one in tmp_path.iterdir()] == ["work-mine"]


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch):
    def full(self: Path, mode: str = "r") -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Workspace(tmp_path, 0) as workspace:
        spool = workspace.spool()
        workspace.file(0)
        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(DiskFull, match="No space left"):
            spool.append(FRAMES[0])
        monkeypatch.undo()
    assert not list(tmp_path.glob(".tegula-work-*"))
