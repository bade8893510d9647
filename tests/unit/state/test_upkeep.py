"""Maintenance of a table: files merged, deleted when nobody needs them, and all rows once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tegula.connectors.archive import ArchiveLog
from tegula.engine.runtime.clock import now_us
from tegula.schemas.errors import MaintenanceRunning, TableFileLost, TableUnwritable
from tegula.schemas.types import String
from tegula.state import upkeep
from tegula.state.archive import Archive
from tegula.state.archive_files import ArchiveFiles
from tegula.state.dead_letter import DeadLetter
from tegula.state.lake import LocalLake
from tegula.state.served import APPLIED, ServedTable
from tegula.state.upkeep import Upkeep, UpkeepPolicy

from .archive_rows import DAY_US, SCHEMA, START_US, open_archive, rows, table

NOW_US = 1_790_000_000_000_000
PARTITIONS = ("0", "import-a b/c")


def keeper(root: Path, *, retention_s: float = 86_400, stream: str = "log/payments") -> Upkeep:
    policy = UpkeepPolicy(retention_s=retention_s)
    order = "_offset" if stream.startswith("log/") else None
    lake = LocalLake(root).below(stream)
    return Upkeep(lake, policy, order=order, now_us=lambda: NOW_US)


def written(root: Path, flushes: int = 5) -> Archive:
    """Both partitions: ten offsets a flush, one in five of them bad, the last flush a day later."""
    archive = open_archive(root)
    for flush in range(flushes):
        for partition in PARTITIONS:
            ingested_us = START_US + (DAY_US if flush == flushes - 1 else 0)
            first = flush * 10
            archive.append(
                rows(partition, first, first + 10, bad=[first + 5], ingested_us=ingested_us)
            )
        archive.flush()
    return archive


def on_disk(root: Path) -> set[Path]:
    return set((root / "log/payments").rglob("*.parquet")) - set(
        (root / "log/payments/_delta_log").iterdir()
    )


def replayed(root: Path) -> list[tuple[str, int]]:
    files = ArchiveFiles(root, "payments", SCHEMA)
    log = ArchiveLog("payments", files, "at")
    reader = log.open({name: log.bounds(name)[0] for name in log.partitions()})
    found = []
    while (batch := reader.poll(7)) is not None:
        found += [(batch.partition, offset) for offset in batch.offsets.tolist()]
        found += [(batch.partition, bad.offset) for bad in batch.bad]
    return sorted(found)


def everything(flushes: int = 5) -> list[tuple[str, int]]:
    return sorted((name, offset) for name in PARTITIONS for offset in range(flushes * 10))


def test_upkeep_merges_what_is_small_and_changes_no_row(tmp_path: Path) -> None:
    archive = written(tmp_path)
    before = table(tmp_path)
    report = keeper(tmp_path).run()
    assert (report.merged, report.made, report.files) == (8, 2, 4)
    assert not report.faults
    after = table(tmp_path)
    assert after.equals(before, null_equal=True)
    assert replayed(tmp_path) == everything()
    files = ArchiveFiles(tmp_path, "payments", SCHEMA)
    files.refresh()
    spans = files.spans("0", 0)
    assert [(s.first_offset, s.last_offset, s.row_count, s.bad_count) for s in spans] == [
        (0, 39, 40, 4),
        (40, 49, 10, 1),
    ]
    assert open_archive(tmp_path).places() == archive.places()


def test_upkeep_has_nothing_to_do_when_it_is_done(tmp_path: Path) -> None:
    written(tmp_path)
    keeper(tmp_path).run()
    version = DeltaTable(str(tmp_path / "log/payments")).version()
    again = keeper(tmp_path).run()
    assert (again.merged, again.deleted, again.files) == (0, 0, 4)
    assert DeltaTable(str(tmp_path / "log/payments")).version() == version


def test_upkeep_that_is_tried_out_changes_nothing(tmp_path: Path) -> None:
    written(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    told = keeper(tmp_path, retention_s=0).run(dry_run=True)
    assert (told.merged, told.made, told.files) == (8, 2, 10)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_upkeep_keeps_merged_files_for_its_retention_and_no_longer(tmp_path: Path) -> None:
    written(tmp_path)
    before = on_disk(tmp_path)
    keeper(tmp_path).run()
    keeper(tmp_path).run()
    assert before < on_disk(tmp_path)
    policy = UpkeepPolicy(retention_s=0)
    lake = LocalLake(tmp_path).below("log/payments")
    report = Upkeep(lake, policy, order="_offset", now_us=lambda: NOW_US).run()
    assert report.deleted == 8
    assert len(on_disk(tmp_path)) == 4
    assert replayed(tmp_path) == everything()


def test_upkeep_deletes_what_a_crash_left_once_it_is_old(tmp_path: Path) -> None:
    written(tmp_path)
    left = next(iter(on_disk(tmp_path))).with_name("part-left.parquet")
    left.write_bytes(b"half a file")
    keeper(tmp_path).run()
    assert left.exists()
    long_ago = now_us() / 1e6 - 2 * 86_400
    os.utime(left, (long_ago, long_ago))
    keeper(tmp_path).run()
    assert not left.exists()
    assert replayed(tmp_path) == everything()


def test_upkeep_and_appends_do_not_hinder_each_other(tmp_path: Path, monkeypatch: Any) -> None:
    archive = written(tmp_path)
    replace_files = Upkeep._replace

    def meanwhile(self: Upkeep, *args: Any) -> None:
        first = archive.positions()["0"]
        archive.append(rows("0", first, first + 10, ingested_us=START_US + DAY_US))
        self._require_unchanged(args[0])  # the table as it is now, and then one commit more
        archive.flush()
        monkeypatch.setattr(self, "_require_unchanged", lambda merge: None)
        replace_files(self, *args)

    monkeypatch.setattr(Upkeep, "_replace", meanwhile)
    keeper(tmp_path).run()
    first = archive.positions()["0"]
    archive.append(rows("0", first, first + 10))
    archive.flush()
    assert first == 70
    assert replayed(tmp_path) == sorted([*everything(), *(("0", at) for at in range(50, 80))])


def test_upkeep_of_two_at_once_is_refused_to_one_and_no_row_comes_twice(
    tmp_path: Path, monkeypatch: Any
) -> None:
    written(tmp_path)
    late, early = keeper(tmp_path), keeper(tmp_path)
    replace_files = Upkeep._replace

    def beaten(self: Upkeep, *args: Any) -> None:
        monkeypatch.setattr(Upkeep, "_replace", replace_files)
        early.run()
        replace_files(self, *args)

    monkeypatch.setattr(Upkeep, "_replace", beaten)
    with pytest.raises(MaintenanceRunning):
        late.run()
    assert replayed(tmp_path) == everything()
    keeper(tmp_path).run()
    assert replayed(tmp_path) == everything()


def test_upkeep_of_two_in_the_same_instant_is_refused_by_the_log(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """Both have seen the same table, and nothing but the commits themselves is left."""
    written(tmp_path)
    late, early = keeper(tmp_path), keeper(tmp_path)
    unchanged = Upkeep._require_unchanged

    def beaten(self: Upkeep, merge: Any) -> None:
        unchanged(self, merge)
        monkeypatch.setattr(Upkeep, "_require_unchanged", unchanged)
        early.run()

    monkeypatch.setattr(Upkeep, "_require_unchanged", beaten)
    with pytest.raises(MaintenanceRunning):
        late.run()
    assert replayed(tmp_path) == everything()


class Died(BaseException):
    """The process ends here."""


STEPS = [
    (Upkeep, "_vacuum"),
    (Upkeep, "_write"),
    (Upkeep, "_replace"),
    (Upkeep, "_shorten_log"),
    (DeltaTable, "create_write_transaction"),
    (DeltaTable, "create_checkpoint"),
    (DeltaTable, "cleanup_metadata"),
    (upkeep, "sync_log"),
    (LocalLake, "stored"),
    (LocalLake, "sync"),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), STEPS)
def test_crash_in_upkeep_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: Any, owner: Any, name: str, *, after: bool
) -> None:
    written(tmp_path)
    made = getattr(owner, name)

    def dying(*args: Any, **options: Any) -> Any:
        if after:
            made(*args, **options)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Died):
            keeper(tmp_path, retention_s=0).run()
    assert replayed(tmp_path) == everything()
    archive = open_archive(tmp_path)
    assert archive.positions() == dict.fromkeys(PARTITIONS, 50)
    for partition in PARTITIONS:
        archive.append(rows(partition, 40, 60, ingested_us=START_US + DAY_US))
    archive.flush()
    keeper(tmp_path, retention_s=0).run()
    keeper(tmp_path, retention_s=0).run()
    assert replayed(tmp_path) == everything(6)
    assert len(on_disk(tmp_path)) == 4


def test_reader_that_listed_before_reads_on_after_all_was_merged_and_deleted(
    tmp_path: Path,
) -> None:
    written(tmp_path)
    files = ArchiveFiles(tmp_path, "payments", SCHEMA)
    log = ArchiveLog("payments", files, "at")
    reader = log.open(dict.fromkeys(PARTITIONS, 0))
    found: list[tuple[str, int]] = []

    def take(count: int | None) -> None:
        while count is None or count > 0:
            batch = reader.poll(7)
            if batch is None:
                return
            count = None if count is None else count - 1
            found.extend((batch.partition, offset) for offset in batch.offsets.tolist())
            found.extend((batch.partition, bad.offset) for bad in batch.bad)

    take(3)
    keeper(tmp_path, retention_s=0).run()
    keeper(tmp_path, retention_s=0).run()
    assert len(on_disk(tmp_path)) == 4
    take(None)
    assert sorted(found) == everything()


def test_upkeep_names_a_file_that_is_gone_and_merges_the_others(tmp_path: Path) -> None:
    written(tmp_path)
    files = ArchiveFiles(tmp_path, "payments", SCHEMA)
    files.refresh()
    lost = files.spans("0", 10)[0]
    (tmp_path / "log/payments" / lost.path).unlink()
    report = keeper(tmp_path).run()
    (fault,) = report.faults
    assert isinstance(fault, TableFileLost)
    assert lost.path in fault.where
    assert (report.merged, report.made) == (4, 1)
    with pytest.raises(TableFileLost, match="offsets 10 to 19 of partition 0"):
        replayed(tmp_path)


def test_upkeep_needs_room_for_what_it_makes(tmp_path: Path, monkeypatch: Any) -> None:
    written(tmp_path)
    monkeypatch.setattr(LocalLake, "free_bytes", lambda self: 100)
    with pytest.raises(TableUnwritable, match="free"):
        keeper(tmp_path).run()
    assert replayed(tmp_path) == everything()


def test_upkeep_gives_old_rows_the_columns_that_came_later(tmp_path: Path) -> None:
    written(tmp_path, flushes=2)
    wider = {**SCHEMA, "country": String}
    archive = Archive(tmp_path, "payments", wider, writer="test")
    for first in (20, 30):
        more = rows("0", first, first + 10, ingested_us=START_US + DAY_US)
        archive.append(replace(more, frame=more.frame.with_columns(country=pl.lit("NL"))))
        archive.flush()
    before = table(tmp_path)
    assert keeper(tmp_path).run().made == 1
    assert table(tmp_path).equals(before, null_equal=True)


def test_upkeep_of_a_dead_letter_keeps_its_order(tmp_path: Path) -> None:
    written(tmp_path)
    letters = DeadLetter(tmp_path, "payments")
    before = letters.list()
    assert keeper(tmp_path, stream="dead_letter/payments").run().made == 1
    letters = DeadLetter(tmp_path, "payments")
    assert set(letters.list()) == set(before)
    assert letters.list(limit=2) == before[:2]
    archive = open_archive(tmp_path)
    archive.append(rows("0", 50, 60, bad=[51], ingested_us=START_US + 3 * DAY_US))
    archive.flush()
    assert [one.offset for one in letters.list(limit=1)] == [51]


def test_upkeep_of_nested_columns_changes_no_row(tmp_path: Path) -> None:
    marks = [{"view": "v", "shard": 1, "positions": [{"partition": 0, "offset": 7}]}, None]
    first = pl.DataFrame({"_served": [3, 4], "_applied": [marks, None], "tags": [["a", None], []]})
    table = ServedTable(tmp_path, "fraud", writer="w")
    for number in range(3):
        served = first.with_columns(pl.col("_served").cast(pl.Datetime("us", "UTC")))
        if number:
            more = pl.Series("map", [{"x": 1.5}, {}], pl.Map(pl.String(), pl.Float64()))
            served = served.with_columns(more)
        table.append([served.drop("_applied").with_columns(_row=pl.lit(number))], number + 1)
        table.append([served.select("_served", pl.col("_applied").cast(_applied()))], number + 1)
    before = [rows.to_dicts() for rows in table.since(0)]
    assert keeper(tmp_path, stream="served/fraud").run().made == 1
    after = [row for rows in table.since(0) for row in rows.to_dicts()]
    flat = [row for rows in before[::-1] for row in rows]
    assert [{name: row.get(name) for name in after[0]} for row in flat] == after


def _applied() -> pl.DataType:
    return pl.DataFrame(pa.schema([("a", APPLIED)]).empty_table())["a"].dtype


def test_upkeep_shortens_the_log_and_marks_outlive_it(tmp_path: Path) -> None:
    archive = written(tmp_path)
    keeper(tmp_path).run()
    log = tmp_path / "log/payments/_delta_log"
    old = set(log.glob("*.json"))
    long_ago = now_us() / 1e6 - 10 * 86_400
    for entry in log.iterdir():
        os.utime(entry, (long_ago, long_ago))
    archive.append(rows("0", 50, 60, ingested_us=START_US + DAY_US))
    archive.flush()
    keeper(tmp_path).run()
    assert len(old & set(log.glob("*.json"))) <= 1
    assert open_archive(tmp_path).places() == archive.places()
    assert len(replayed(tmp_path)) == 110


@pytest.mark.parametrize("maintained", [False, True])
def test_archive_is_read_by_duckdb_and_polars_without_us(
    tmp_path: Path, *, maintained: bool
) -> None:
    written(tmp_path)
    if maintained:
        keeper(tmp_path, retention_s=0).run()
        keeper(tmp_path, retention_s=0).run()
    path = tmp_path / "log/payments"
    by_polars = pl.read_delta(str(path)).sort("_partition", "_offset")
    with duckdb.connect() as database:
        events = DeltaTable(str(path)).to_pyarrow_dataset()
        assert events is not None
        by_duckdb = database.sql("SELECT * FROM events ORDER BY _partition, _offset").pl()
        good = "SELECT _partition, sum(_offset) FROM events WHERE _code IS NULL GROUP BY 1"
        sums = dict(database.sql(good).fetchall())
    by_duckdb = by_duckdb.select(pl.col(n).cast(t) for n, t in by_polars.schema.items())
    assert by_duckdb.equals(by_polars, null_equal=True)
    wanted = sum(range(50)) - (5 + 15 + 25 + 35 + 45)
    assert sums == dict.fromkeys(PARTITIONS, wanted)
