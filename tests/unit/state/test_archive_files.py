"""Reading an archive back: the right files, the right rows, in order."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow.parquet import ParquetFile

from tegula.schemas.errors import TableDamaged, TableFileLost
from tegula.schemas.types import String
from tegula.state import delta_files
from tegula.state.archive_files import ArchiveFiles
from tegula.state.lake import LocalLake

from .archive_rows import DAY_US, SCHEMA, START_US, open_archive, rows


def written(root: Path) -> ArchiveFiles:
    """Partition 0: offsets 10-29 in two files, bad ones in the second; partition 1: 0-4."""
    archive = open_archive(root)
    archive.append(rows("0", 10, 20))
    archive.append(rows("1", 0, 5, ingested_us=START_US + DAY_US))
    archive.flush()
    archive.append(rows("0", 20, 30, bad=[25], next_offset=33))
    archive.flush()
    files = ArchiveFiles(root, "payments", SCHEMA)
    files.refresh()
    return files


def test_files_are_none_before_anything_was_archived(tmp_path: Path) -> None:
    files = ArchiveFiles(tmp_path, "payments", SCHEMA)
    files.refresh()
    assert (files.identity, files.partitions(), files.bounds("0")) == ("", (), (0, 0))
    assert files.spans("0", 0) == ()
    assert not list(tmp_path.iterdir())


def test_files_know_partitions_and_bounds(tmp_path: Path) -> None:
    files = written(tmp_path)
    assert files.identity
    assert files.partitions() == ("0", "1")
    assert files.bounds("0") == (10, 33)
    assert files.bounds("1") == (0, 5)
    assert files.bounds("2") == (0, 0)


def test_files_before_a_position_are_not_read(tmp_path: Path) -> None:
    files = written(tmp_path)
    assert [(s.first_offset, s.last_offset) for s in files.spans("0", 0)] == [(10, 19), (20, 29)]
    assert [s.first_offset for s in files.spans("0", 20)] == [20]
    assert files.spans("0", 30) == ()


def test_files_see_what_is_archived_later_when_refreshed(tmp_path: Path) -> None:
    files = written(tmp_path)
    archive = open_archive(tmp_path)
    archive.append(rows("0", 33, 40))
    archive.flush()
    assert files.bounds("0") == (10, 33)
    files.refresh()
    assert files.bounds("0") == (10, 40)


def test_file_is_read_from_an_offset_a_piece_at_a_time(tmp_path: Path) -> None:
    files = written(tmp_path)
    (span,) = files.spans("0", 23)
    pieces = list(span.read(23, 3))
    assert [row for piece in pieces for row in piece["_offset"]] == list(range(23, 30))
    assert max(piece.height for piece in pieces) <= 3
    codes = pl.concat(pieces)["_code"].to_list()
    assert codes == [None, None, "TG-201", None, None, None, None]


def test_file_is_read_without_the_columns_of_bad_records_when_it_has_none(tmp_path: Path) -> None:
    files = written(tmp_path)
    (piece,) = files.spans("0", 0)[0].read(0, 100)
    assert piece.columns == ["_offset", "_log_us", *SCHEMA]
    assert {name: piece.schema[name] for name in SCHEMA} == {n: t.polars for n, t in SCHEMA.items()}


def test_file_that_is_older_than_a_column_has_nulls_in_it(tmp_path: Path) -> None:
    written(tmp_path)
    files = ArchiveFiles(tmp_path, "payments", {"country": String, **SCHEMA})
    files.refresh()
    (piece,) = files.spans("1", 0)[0].read(0, 100)
    assert piece["country"].to_list() == [None] * 5


def test_file_row_groups_before_the_offset_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_files, "ROW_GROUP_ROWS", 10)
    archive = open_archive(tmp_path)
    archive.append(rows("0", 0, 35))
    archive.flush()
    (path,) = (tmp_path / "log/payments").rglob("*.parquet")
    third = ParquetFile(path).metadata.row_group(2).column(0)
    begin = min(third.dictionary_page_offset or third.data_page_offset, third.data_page_offset)
    torn = bytearray(path.read_bytes())
    torn[4:begin] = bytes(begin - 4)
    path.write_bytes(torn)
    taken = pl.concat(
        delta_files.read_rows(LocalLake(path.parent), path.name, ["_offset"], 100, 25)
    )
    assert taken["_offset"].to_list() == list(range(25, 35))


def test_files_that_hold_an_offset_twice_are_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = str(tmp_path / "log/payments")
    again = pl.read_delta(path).filter(pl.col("_offset") == 12)
    write_deltalake(path, again, mode="append")
    with pytest.raises(TableDamaged, match="offset 12 of partition 0 is in two files"):
        ArchiveFiles(tmp_path, "payments", SCHEMA).refresh()


def test_files_that_do_not_ascend_are_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = str(tmp_path / "log/payments")
    upside_down = pl.read_delta(path).sort("_offset", descending=True)
    write_deltalake(path, upside_down, mode="overwrite")
    files = ArchiveFiles(tmp_path, "payments", SCHEMA)
    files.refresh()
    with pytest.raises(TableDamaged, match="does not ascend"):
        list(files.spans("0", 0)[0].read(0, 100))


def test_file_that_is_gone_is_a_named_error(tmp_path: Path) -> None:
    files = written(tmp_path)
    for file in DeltaTable(str(tmp_path / "log/payments")).file_uris():
        Path(file).unlink()
    with pytest.raises(TableFileLost, match="offsets 20 to 29 of partition 0") as found:
        list(files.spans("0", 23)[0].read(20, 100))
    assert found.value.got == "the file is gone"


def test_file_that_is_torn_or_altered_is_a_named_error(tmp_path: Path) -> None:
    files = written(tmp_path)
    (span,) = files.spans("0", 20)
    path = tmp_path / "log/payments" / span.path
    whole = path.read_bytes()
    for damaged in (whole[:-20], whole[:50], b"", whole[:60] + bytes(30) + whole[90:]):
        path.write_bytes(damaged)
        with pytest.raises(TableFileLost, match="offsets 20 to 29 of partition 0"):
            list(span.read(0, 100))


def test_file_with_fewer_rows_than_the_table_says_is_a_named_error(tmp_path: Path) -> None:
    files = written(tmp_path)
    (span,) = files.spans("0", 20)
    path = tmp_path / "log/payments" / span.path
    rows = pl.read_parquet(path)
    for kept in (rows[:5], rows.filter(pl.col("_offset") != 24)):
        kept.write_parquet(path)
        with pytest.raises(TableFileLost, match="it ends early"):
            list(span.read(0, 100))
