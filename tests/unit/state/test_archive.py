"""The archive: each row once whatever fails, with all that a replay needs to decide again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tegula.schemas.errors import TableLost, TableMismatch, TableUnwritable
from tegula.schemas.types import Int64, String
from tegula.state import delta
from tegula.state.archive import Archive, ArchivePlace
from tegula.windows.tiles import NEVER_US

from .archive_rows import DAY_US, DISORDER_US, SCHEMA, START_US, open_archive, rows, table


def test_archive_keeps_columns_and_positions(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("1", 10, 12))
    assert archive.flush() == 2
    assert table(tmp_path).drop("_date").to_dicts()[1] == {
        "_partition": "1",
        "_offset": 11,
        "_log_us": START_US + 11_007,
        "_ingested_us": START_US,
        "_watermark_us": START_US + 11_000 - DISORDER_US,
        "_change": None,
        "_code": None,
        "_reason": None,
        "_raw": None,
        "card_id": "card-11",
        "amount": 2.75,
        "at": table(tmp_path)["at"][1],
    }
    assert table(tmp_path)["at"].to_physical().to_list() == [START_US + 10_000, START_US + 11_000]


def test_archive_keeps_bad_records_between_their_neighbours(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 4, bad=[1, 3]))
    archive.flush()
    kept = table(tmp_path)
    assert kept["_code"].to_list() == [None, "TG-201", None, "TG-201"]
    assert kept["_raw"].to_list() == [None, b"{\xff", None, b"{\xff"]
    assert kept["card_id"].to_list() == ["card-0", None, "card-2", None]
    assert kept["_watermark_us"].null_count() == kept["_log_us"].null_count() == 0


def test_archive_takes_a_batch_of_bad_records_alone(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 2, bad=[0, 1]))
    archive.flush()
    assert table(tmp_path)["_offset"].to_list() == [0, 1]


def test_archive_is_partitioned_by_ingestion_date(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 2, ingested_us=START_US + DAY_US - 1))
    archive.append(rows("0", 2, 4, ingested_us=START_US + DAY_US))
    archive.flush()
    assert table(tmp_path)["_date"].unique().sort().to_list() == [
        date(2024, 10, 4),
        date(2024, 10, 5),
    ]


def test_archive_writes_one_commit_a_flush_and_one_file_a_partition(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    for first in range(0, 30, 10):
        archive.append(rows("0", first, first + 10))
        archive.append(rows("1", first, first + 10))
    assert archive.flush() == 60
    written = DeltaTable(str(tmp_path / "log/payments"))
    assert (written.version(), len(written.file_uris())) == (1, 2)


def test_archive_writes_nothing_when_nothing_is_buffered(tmp_path: Path) -> None:
    assert open_archive(tmp_path).flush() == 0
    assert not list(tmp_path.iterdir())


def test_archive_knows_after_a_restart_where_to_read_on(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 5, next_offset=8))
    archive.append(rows("import-a b/c", 3, 4))
    assert archive.positions() == {}
    archive.flush()
    expected = {
        "0": ArchivePlace(8, START_US + 4_000),
        "import-a b/c": ArchivePlace(4, START_US + 3_000),
    }
    assert archive.places() == open_archive(tmp_path).places() == expected
    assert open_archive(tmp_path).positions() == {"0": 8, "import-a b/c": 4}


def test_archive_remembers_that_no_event_has_come_yet(tmp_path: Path) -> None:
    batch = rows("0", 0, 1, bad=[0])
    batch.watermark_us[:] = NEVER_US
    archive = open_archive(tmp_path)
    archive.append(batch)
    archive.flush()
    assert open_archive(tmp_path).place("0") == ArchivePlace(1, NEVER_US)


def test_archive_remembers_its_places_when_the_log_was_made_a_checkpoint(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 5))
    archive.flush()
    written = DeltaTable(str(tmp_path / "log/payments"))
    written.create_checkpoint()
    for commit in (tmp_path / "log/payments/_delta_log").glob("*.json"):
        commit.unlink()
    assert open_archive(tmp_path).place("0") == ArchivePlace(5, START_US + 4_000)


def test_archive_leaves_out_what_it_holds_when_rows_come_again(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 6, bad=[2, 5]))
    archive.append(rows("0", 3, 9, bad=[5, 7]))
    archive.flush()
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 12, bad=[2, 5, 7, 10]))
    archive.append(rows("0", 4, 8))
    assert archive.row_count == 3
    archive.flush()
    kept = table(tmp_path)
    assert kept["_offset"].to_list() == list(range(12))
    assert kept.filter(pl.col("_code").is_not_null())["_offset"].to_list() == [2, 5, 7, 10]
    assert table(tmp_path, "dead_letter/payments")["offset"].to_list() == [2, 5, 7, 10]


# Failures


class Torn(OSError):
    """The process or the storage gave up at this point."""


def break_at(monkeypatch: pytest.MonkeyPatch, *, after: bool) -> Callable[[], None]:
    """Let the next write fail, before or after it has been committed."""
    commit = DeltaTable.create_write_transaction

    def torn(*args: object, **options: object) -> None:
        if after:
            commit(*args, **options)  # type: ignore[arg-type]
        raise Torn("the connection was reset")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", torn)
    return lambda: monkeypatch.setattr(DeltaTable, "create_write_transaction", commit)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_crash_archive_holds_each_row_once_when_a_flush_is_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool, restart: bool
) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 10, bad=[4]))
    archive.append(rows("1", 0, 10))
    archive.flush()
    archive.append(rows("0", 10, 20, bad=[15]))
    mend = break_at(monkeypatch, after=after)
    with pytest.raises(TableUnwritable, match="reset"):
        archive.flush()
    mend()
    if restart:
        archive = open_archive(tmp_path)
        for partition in ("0", "1"):
            archive.append(rows(partition, 0, 25, bad=[4, 15] if partition == "0" else []))
    else:
        assert archive.row_count == 10
        archive.append(rows("0", 20, 25))
        archive.append(rows("1", 10, 25))
    archive.flush()
    kept = table(tmp_path)
    for partition in ("0", "1"):
        of_partition = kept.filter(pl.col("_partition") == partition)
        assert of_partition["_offset"].to_list() == list(range(25))
    assert table(tmp_path, "dead_letter/payments")["offset"].to_list() == [4, 15]
    assert open_archive(tmp_path).positions() == {"0": 25, "1": 25}


def test_crash_dead_letter_holds_each_record_once_when_the_archive_fails_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 3, bad=[1]))
    append = delta.MarkedTable.append

    def torn(self: delta.MarkedTable, *args: object) -> None:
        if "/log/" in self.lake.name:
            raise TableUnwritable(where=self.lake.name, detail="torn")
        append(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(delta.MarkedTable, "append", torn)
    with pytest.raises(TableUnwritable):
        archive.flush()
    monkeypatch.undo()
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 5, bad=[1, 3]))
    archive.flush()
    assert table(tmp_path)["_offset"].to_list() == [0, 1, 2, 3, 4]
    assert table(tmp_path, "dead_letter/payments")["offset"].to_list() == [1, 3]


def test_archive_holds_each_row_once_when_two_writers_race(tmp_path: Path) -> None:
    ours, theirs = open_archive(tmp_path), open_archive(tmp_path)
    for archive in (ours, theirs):
        archive.append(rows("0", 0, 10))
        archive.flush()
    ours.append(rows("0", 10, 20))
    theirs.append(rows("0", 10, 30))
    theirs._table.refresh()
    ours.flush()
    theirs.flush()
    assert table(tmp_path)["_offset"].to_list() == list(range(30))


def test_archive_refuses_to_go_on_when_its_table_has_lost_rows(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 10))
    archive.flush()
    shutil.rmtree(tmp_path / "log")
    archive.append(rows("0", 10, 20))
    with pytest.raises(TableUnwritable):
        archive.flush()
    with pytest.raises(TableLost, match="partition '0'"):
        archive.flush()


def test_archive_says_that_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 10))
    with pytest.raises(TableUnwritable, match="TG-720"):
        archive.flush()
    (tmp_path / "log").unlink()
    assert archive.flush() == 10


# Schemas that change


def test_archive_adds_a_column_when_the_stream_gets_one(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 2))
    archive.flush()
    wider = {**SCHEMA, "country": String}
    archive = Archive(tmp_path, "payments", wider, writer="test")
    more = rows("0", 2, 4)
    archive.append(replace(more, frame=more.frame.with_columns(country=pl.lit("NL"))))
    archive.flush()
    assert table(tmp_path)["country"].to_list() == [None, None, "NL", "NL"]


def test_archive_fills_a_column_with_nulls_when_the_stream_loses_it(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 2))
    archive.flush()
    narrower = {name: dtype for name, dtype in SCHEMA.items() if name != "amount"}
    archive = Archive(tmp_path, "payments", narrower, writer="test")
    more = rows("0", 2, 4)
    archive.append(replace(more, frame=more.frame.drop("amount")))
    archive.flush()
    assert table(tmp_path)["amount"].to_list() == [0.0, 0.25, None, None]


def test_archive_refuses_a_column_of_another_type(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 2))
    archive.flush()
    archive = Archive(tmp_path, "payments", {**SCHEMA, "amount": Int64}, writer="test")
    archive.append(rows("0", 2, 4))
    with pytest.raises(TableMismatch, match="'amount'"):
        archive.flush()


# Laws


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    back=st.lists(st.integers(0, 15), min_size=6, max_size=6),
    bad=st.sets(st.integers(0, 240)),
    crash=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_law_archive_is_the_log_whatever_the_cuts_repeats_and_crashes(
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[int],
    back: list[int],
    bad: set[int],
    crash: list[bool],
) -> None:
    root = tmp_path_factory.mktemp("archive")
    archive, end = open_archive(root), 0
    for count, again, crashes in zip(cuts, back, crash, strict=False):
        first = max(0, end - again)
        archive.append(rows("0", first, end + count, bad=bad))
        end += count
        if crashes:  # the buffer is gone; the source reads again from the archive's position
            archive = open_archive(root)
            archive.append(rows("0", archive.positions().get("0", 0), end, bad=bad))
        archive.flush()
    kept = table(root)
    assert kept["_offset"].to_list() == list(range(end))
    in_error = kept.filter(pl.col("_code").is_not_null())["_offset"].to_list()
    assert in_error == sorted(b for b in bad if b < end)
    assert archive.place("0") == ArchivePlace(end, START_US + (end - 1) * 1_000)
