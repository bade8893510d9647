"""The file of a stream's imports, and the partition that it makes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tegula.connectors import imports
from tegula.connectors.imports import Import, ImportFile, Part, lines_of, payloads_of
from tegula.connectors.local_log import LocalLog
from tegula.connectors.payloads import Payloads
from tegula.connectors.with_beside import LogWithBeside
from tegula.schemas.errors import FormatUnknown, LogShrunk, SourceError
from tegula.schemas.imported import is_imported


def entry(name: str, count: int) -> Import:
    return Import(name, 0, count, 0, 99, 0, None, None, "d", "{}")


def part(folder: Path, name: str, records: list[bytes], group_rows: int) -> Part:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        [pa.array(np.arange(len(records)) * 10), lines_of(Payloads.from_list(records))],
        schema=imports.SCHEMA,
    )
    path = folder / name
    parquet.write_table(table, path, row_group_size=group_rows, write_page_checksum=True)
    return Part(path, len(records))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "imports" / "events.db"


@pytest.fixture
def file(path: Path, monkeypatch):
    monkeypatch.setattr(imports, "GROUP_ROWS", 2)
    file = ImportFile(path, "events")
    yield file
    file.close()


def fill(file: ImportFile, path: Path) -> None:
    folder = path.with_suffix("")
    first = [part(folder, "a", [b"0", b"1", b"2"], 2), part(folder, "b", [b"3"], 2)]
    assert file.add(entry("first", 4), first).first_offset == 0
    assert file.add(entry("second", 1), [part(folder, "c", [b"4"], 2)]).first_offset == 4


def test_nothing_is_imported_as_long_as_there_is_no_file(file, path):
    assert file.partition is None
    assert (file.end(), file.read(0, 10), file.imports(), file.find("x")) == (0, None, (), None)
    assert not path.exists()


def test_imports_follow_each_other_in_one_partition(file, path):
    fill(file, path)
    assert is_imported(file.partition)
    assert file.end() == 5
    found, offset = [], 0
    while (batch := file.read(offset, 2)) is not None:
        assert batch.partition == file.partition
        assert batch.offsets.tolist() == list(range(offset, batch.next_offset))
        found += zip(batch.log_us.tolist(), batch.payloads, strict=True)
        offset = batch.next_offset
    assert found == [(0, b"0"), (10, b"1"), (20, b"2"), (0, b"3"), (0, b"4")]
    assert [one.name for one in file.imports()] == ["first", "second"]
    assert file.read(1, 1).payloads.record(0) == b"1"


def test_import_of_a_name_is_added_once(file, path):
    fill(file, path)
    other = ImportFile(path, "events")
    again = other.add(entry("first", 1), [part(path.with_suffix(""), "d", [b"9"], 2)])
    assert (again.first_offset, again.count, other.end()) == (0, 4, 5)
    other.close()


def test_changed_bytes_are_found(file, path):
    fill(file, path)
    place = path.with_suffix("") / "a"
    data = place.read_bytes()
    place.write_bytes(data.replace(data[4:12], bytes(8), 1))
    with pytest.raises(SourceError, match="damaged"):
        file.read(0, 10)
    place.unlink()
    with pytest.raises(SourceError):
        file.read(0, 10)


def test_part_that_lost_records_is_found(file, path):
    fill(file, path)
    part(path.with_suffix(""), "a", [b"0"], 2)
    with pytest.raises(SourceError, match="1 records, not 3"):
        file.read(0, 10)


def test_file_of_something_else_is_refused(path):
    path.parent.mkdir(parents=True)
    sqlite3.connect(path).execute("CREATE TABLE t (a)").connection.close()
    with pytest.raises(FormatUnknown, match="imported records"):
        ImportFile(path, "events")


def test_log_has_the_imports_beside_its_own_partitions(file, path, tmp_path):
    own = LocalLog(tmp_path / "events.db", "events", partitions=1)
    log = LogWithBeside(own, (file,), "events")
    assert log.partitions() == ("0",)
    fill(file, path)
    own.append([b"{}"], partition="0", now_us=lambda: 7)
    assert log.partitions() == ("0", file.partition)
    assert log.bounds(file.partition) == (0, 5)
    reader = log.open({"0": 0, file.partition: 3})
    first, second, third = reader.poll(10), reader.poll(10), reader.poll(10)
    assert (first.partition, second.partition) == ("0", file.partition)
    assert [*second.payloads, *third.payloads] == [b"3", b"4"]
    reader.close()
    with pytest.raises(LogShrunk):
        log.open({file.partition: 6})
    with pytest.raises(LogShrunk):
        log.open({"import-gone": 1})
    own.close()


def test_payloads_and_lines_are_each_others_inverse():
    payloads = Payloads.from_list([b"a", b"", b"x\ny"])
    lines = lines_of(payloads)
    assert lines.to_pylist() == [b"a\n", b"\n", b"x\ny\n"]
    assert list(payloads_of(lines.slice(1))) == [b"", b"x\ny"]
    assert list(payloads_of(lines.slice(3))) == []
