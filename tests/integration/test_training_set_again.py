"""Training sets made once more: from their manifest, and after a build that was killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyarrow.parquet import ParquetWriter

import tegula as tg
from tegula.backfill.training import api
from tegula.backfill.training.manifest import read_manifest
from tegula.backfill.training.rebuild import rebuild
from tegula.backfill.training.spool import Spool, Workspace
from tegula.schemas.errors import (
    BadDataset,
    DatasetExists,
    DatasetMissing,
    DiskFull,
    HistoryIncomplete,
    TableUnwritable,
)
from tegula.state import dataset_files
from tegula.state.dataset_files import DatasetWriter
from tests.support.disks import small_disk
from tests.support.training import START_US, card, fraud, lived, made, paid, payments, shops, spine


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[tg.TestDriver]:
    with tg.TestDriver(fraud, at=START_US, home=tmp_path / "project") as made:
        lived(made)
        yield made


def test_a_set_is_made_again_bit_for_bit_whatever_came_since(driver, tmp_path):
    out = tmp_path / "set"
    rows = spine(1, 2, 5, y=[1, 2, 3])
    first = made(driver, rows, out=out, include=["status"], labels={"y": "1m"})
    driver.send("payments", [paid(1.2), paid(3)])
    driver.settle()
    driver.engine.archiving.flush()
    driver.apply(tg.FeatureView("spend", entity=card, stream=payments, features=shops.features))
    again = rebuild(out, driver.settings, out=tmp_path / "again")
    assert again.same
    assert again.changes == ()
    assert "spend" in again.remarks[0]
    assert again.dataset.manifest["files"] == first.manifest["files"]
    assert again.dataset.to_polars().equals(first.to_polars())
    assert rebuild(out / "_tegula" / "manifest.json", driver.settings).same


def test_what_has_changed_since_is_told(driver, tmp_path):
    rows = spine(1, 2, 5)
    rows.write_parquet(tmp_path / "spine.parquet")
    made(driver, tmp_path / "spine.parquet", out=tmp_path / "set")
    spine(1, 2, 4).write_parquet(tmp_path / "spine.parquet")
    again = rebuild(tmp_path / "set", driver.settings)
    assert (again.same, again.changes) == (False, ("the spine's rows are others",))
    spine(1).write_parquet(tmp_path / "spine.parquet")
    assert rebuild(tmp_path / "set", driver.settings).changes == ("the spine had 3 rows and has 1",)
    rows.write_parquet(tmp_path / "spine.parquet")
    assert rebuild(tmp_path / "set", driver.settings).same
    driver.engine.archiving.flush()
    driver.crash()
    DeltaTable(str(driver.settings.lake_path / "log" / "payments")).delete("_offset = 4")
    again = rebuild(tmp_path / "set", driver.settings)
    assert not again.same
    assert again.changes == ("stream 'payments', partition '0': events was 10 and is 9",)
    shutil.rmtree(driver.settings.lake_path / "log")
    driver.settings.log_path("payments").unlink()
    with pytest.raises(HistoryIncomplete):
        rebuild(tmp_path / "set", driver.settings)


def test_a_set_in_memory_is_made_again_from_its_spine(driver, tmp_path):
    first = made(driver, spine(1, 5))
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(first.manifest))
    with pytest.raises(BadDataset, match="nobody knows the spine"):
        rebuild(file, driver.settings)
    assert rebuild(file, driver.settings, spine=spine(1, 5)).same
    assert first.to_delta(tmp_path / "set") == tmp_path / "set"
    assert rebuild(tmp_path / "set", driver.settings).same
    with pytest.raises(DatasetMissing):
        rebuild(tmp_path / "nowhere", driver.settings)


class _Killed(BaseException):
    """The process ends here, and nothing after this line runs."""


@pytest.mark.parametrize("point", range(9))
def test_crash_a_build_that_was_killed_is_begun_again(driver, tmp_path, monkeypatch, point):
    """Killed before and after each write, and in the middle of taking its place."""
    rows, out = spine(1, 2, 5), tmp_path / "set"
    made(driver, spine(3), out=out)
    passed = 0

    def step(original: Any) -> Any:
        def wrapped(*given: Any, **named: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed > point:
                raise _Killed
            return original(*given, **named)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(dataset_files, "write_file", step(dataset_files.write_file))
        for owner, name in ((DatasetWriter, "finish"), (DatasetWriter, "put"), (Path, "replace")):
            patch.setattr(owner, name, step(getattr(owner, name)))
        patch.setattr(Spool, "spill", step(Spool.spill))
        patch.setattr(DatasetWriter, "drop", lambda self: None)
        patch.setattr(Workspace, "close", lambda self: None)
        patch.setattr(api, "MEMORY_BYTES", 1 << 20)
        killed = False
        try:
            made(driver, rows, out=out, replace=True, memory_bytes=1 << 20)
        except _Killed:
            killed = True
    whole = out.exists() and read_manifest(out)["rows"] in (1, 3)
    assert whole or killed
    again = made(driver, rows, out=out, replace=True)
    assert again.to_polars().equals(made(driver, rows).to_polars())
    left = [one.name for one in tmp_path.iterdir() if one.name.startswith(".")]
    assert left == []


def test_full_disk_in_the_middle_leaves_nothing(driver, tmp_path, monkeypatch):
    def full(*given: Any, **named: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ParquetWriter, "write_table", full)
        with pytest.raises(TableUnwritable, match="No space left"):
            made(driver, spine(1), out=tmp_path / "set")
    assert [one.name for one in tmp_path.iterdir()] == ["project"]


def test_full_disk_wherever_it_is_met_leaves_nothing_but_the_set_that_was_there(driver, tmp_path):
    rows = spine(*(n / 1_000 for n in range(1, 9_000)), y=[f"{n:040}" for n in range(8_999)])
    met = set()
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        out = disk.path / "set"
        made(driver, spine(1), out=out)
        there = sorted(one.name for one in disk.path.iterdir())
        for number in range(10):  # by turns its files of events, and its own ones
            disk.fill(number * 16_384)
            memory_bytes = 1 << (20 if number % 2 else 28)
            before = read_manifest(out)["hash"]
            try:
                made(driver, rows, out=out, replace=True, memory_bytes=memory_bytes)
            except (DiskFull, TableUnwritable) as full:
                met.add(type(full))
                assert read_manifest(out)["hash"] == before
            disk.free()
            assert sorted(one.name for one in disk.path.iterdir()) == there
        made(driver, rows, out=out, replace=True, memory_bytes=1 << 20)
        assert read_manifest(out)["rows"] == len(rows)
    assert met == {DiskFull, TableUnwritable}


def test_what_is_there_is_not_written_over_unasked(driver, tmp_path):
    out = tmp_path / "set"
    made(driver, spine(1), out=out)
    with pytest.raises(DatasetExists):
        made(driver, spine(2), out=out)
    assert made(driver, spine(2, 3), out=out, replace=True).rows == 2
