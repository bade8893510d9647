"""What `status` measures itself, beside stores that are in use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tegula.cli.status import disk_bytes


def test_status_counts_what_lies_in_all_folders(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("one", "a/two", "a/b/three"):
        (tmp_path / name).write_bytes(b"x" * 5_000)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert disk_bytes(tmp_path) == sum(path.stat().st_blocks * 512 for path in files) > 0
    assert disk_bytes(tmp_path / "never") == 0


def test_status_goes_on_when_a_store_removes_a_folder_meanwhile(tmp_path, monkeypatch):
    (tmp_path / "gone/deeper").mkdir(parents=True)
    (tmp_path / "kept").write_bytes(b"x" * 5_000)
    scan = os.scandir

    def scan_too_late(path):
        if not isinstance(path, int) and Path(path).name == "gone":
            shutil.rmtree(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_too_late)
    assert disk_bytes(tmp_path) == (tmp_path / "kept").stat().st_blocks * 512
