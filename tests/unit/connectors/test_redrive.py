"""The file of records that were driven again, and the partition that it makes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tegula.connectors.local_log import LocalLog
from tegula.connectors.redrive import RedriveFile, Redriven
from tegula.connectors.with_beside import LogWithBeside
from tegula.schemas.errors import FormatUnknown, LogShrunk, SourceError
from tegula.schemas.redriven import is_redriven


def record(offset: int, payload: bytes = b"{}", *, was_good: bool = False) -> Redriven:
    return Redriven("0", offset, 1_000 + offset, was_good, payload)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "events.redrive.db"


@pytest.fixture
def file(path: Path):
    file = RedriveFile(path, "events")
    yield file
    file.close()


def test_nothing_was_driven_again_as_long_as_there_is_no_file(file, path):
    assert file.partition is None
    assert (file.end(), file.read(0, 10)) == (0, None)
    assert file.append([], 5) == 0
    assert not path.exists()


def test_records_are_read_with_what_they_were(file):
    assert file.append([record(7, b"a"), record(9, b"b", was_good=True)], 55) == 2
    assert file.append([record(3, b"c")], 66) == 1
    batch = file.read(1, 10)
    assert batch.partition == file.partition
    assert is_redriven(batch.partition)
    assert batch.offsets.tolist() == [1, 2]
    assert batch.log_us.tolist() == [55, 66]
    assert list(batch.payloads) == [b"b", b"c"]
    assert batch.origins.watermark_us.tolist() == [1_009, 1_003]
    assert batch.origins.was_good.tolist() == [True, False]
    assert (batch.next_offset, file.end()) == (3, 3)
    assert file.read(0, 2).next_offset == 2


def test_position_is_driven_again_once_whatever_it_holds_and_whoever_asks(file, path):
    assert file.append([record(1, b"a"), record(2, b"b")], 5) == 2
    other = RedriveFile(path, "events")
    assert other.append([record(2, b"mended"), record(3, b"c"), record(3, b"d")], 6) == 1
    other.close()
    assert list(file.read(0, 10).payloads) == [b"a", b"b", b"c"]
    assert file.read(0, 10).offsets.tolist() == [0, 1, 2]


def test_damage_is_told(file, path):
    file.append([record(1, b"abc")], 5)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE records SET payload = X'616264'")
    with pytest.raises(SourceError, match="is damaged"):
        file.read(0, 10)


def test_file_of_another_stream_or_program_is_refused(file, path, tmp_path):
    file.append([record(1)], 5)
    with pytest.raises(FormatUnknown, match="stream 'events'"):
        RedriveFile(path, "others")
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(FormatUnknown, match="application id"):
        RedriveFile(tmp_path / "other.db", "events")


def test_log_gets_a_partition_when_something_is_driven_again(file, path, tmp_path):
    own = LocalLog(tmp_path / "log.db", "events", partitions=2)
    log = LogWithBeside(own, (file,), "events")
    assert log.partitions() == ("0", "1")
    reader = log.open({"0": 0, "1": 0})
    other = RedriveFile(path, "events")
    other.append([record(1, b"a")], 5)
    other.close()
    (*_, redriven) = log.partitions()
    assert log.bounds(redriven) == (0, 1)
    assert log.bounds("0") == (0, 0)
    assert reader.poll(10) is None
    reader.seek(redriven, 0)
    assert list(reader.poll(10).payloads) == [b"a"]
    assert reader.poll(10) is None
    reader.close()
    own.close()


def test_log_that_never_rests_still_gives_what_was_driven_again(file, tmp_path):
    own = LocalLog(tmp_path / "log.db", "events", partitions=1)
    own.append([b"{}"] * 200, now_us=lambda: 1)
    file.append([record(1)], 5)
    log = LogWithBeside(own, (file,), "events")
    reader = log.open({"0": 0, file.partition: 0})
    partitions = [reader.poll(1).partition for _ in range(50)]
    assert file.partition in partitions
    reader.close()
    own.close()


def test_fewer_records_than_were_applied_are_a_log_that_shrank(file, tmp_path):
    own = LocalLog(tmp_path / "log.db", "events", partitions=1)
    file.append([record(1)], 5)
    log = LogWithBeside(own, (file,), "events")
    with pytest.raises(LogShrunk):
        log.open({file.partition: 2})
    with pytest.raises(LogShrunk):
        log.open({"redrive-of-another-file": 1})
    own.close()
