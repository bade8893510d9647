from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from tegula.connectors.local_log import LocalLog
from tegula.connectors.source import Append, Receipt
from tegula.schemas.errors import FormatUnknown, LogTruncated, SourceError

PARTITIONS = ("0", "1", "2", "3")

# Appends numbered events until it is killed, and says after each append that it is done.
WRITER = """
import sys
from tegula.connectors.local_log import LocalLog
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = LocalLog(path, "payments")
for number in range(count):
    receipt = log.append([f"{name}:{number}:{i}".encode() for i in range(3)], now_us=lambda: number)
    print(receipt.partition, receipt.first_offset, flush=True)
"""


def at(now_us: int):
    return lambda: now_us


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "payments.log"


@pytest.fixture
def log(path: Path) -> Iterator[LocalLog]:
    opened = LocalLog(path, "payments")
    yield opened
    opened.close()


def everything(log: LocalLog) -> dict[str, list[bytes | None]]:
    reader = log.open(dict.fromkeys(log.partitions(), 0))
    found: dict[str, list[bytes | None]] = {partition: [] for partition in log.partitions()}
    while (batch := reader.poll(1_000)) is not None:
        assert int(batch.offsets[0]) == len(found[batch.partition])
        found[batch.partition] += batch.payloads
    reader.close()
    return found


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def damage(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()


def test_append_returns_where_the_events_lie(log):
    assert log.append([b"a", b"b"], partition="1", now_us=at(5)) == Receipt("1", 0, 2)
    assert log.append([b"c"], partition="1", now_us=at(6)) == Receipt("1", 2, 1)
    assert log.append([], partition="1", now_us=at(6)) == Receipt("1", 3, 0)
    assert log.bounds("1") == (0, 3)


def test_append_takes_partitions_in_turn_where_none_is_named(log):
    receipts = [log.append([b"x"], now_us=at(1)) for _ in range(8)]
    assert [receipt.partition for receipt in receipts] == [*PARTITIONS, *PARTITIONS]


def test_append_many_gives_each_caller_its_own_place(log):
    log.append([b"before"], partition="0", now_us=at(1))
    appends = [Append([b"a", b"b"], "0"), Append([b"c"], "2"), Append([], "3"), Append([b"d"], "0")]
    assert log.append_many(appends, now_us=at(2)) == [
        Receipt("0", 1, 2),
        Receipt("2", 0, 1),
        Receipt("3", 0, 0),
        Receipt("0", 3, 1),
    ]
    assert everything(log) == {"0": [b"before", b"a", b"b", b"d"], "1": [], "2": [b"c"], "3": []}


def test_append_many_appends_all_or_nothing(log):
    with pytest.raises(TypeError):
        log.append_many([Append([b"a"], "0"), Append(["no bytes"], "1")], now_us=at(1))
    assert everything(log) == {partition: [] for partition in PARTITIONS}
    assert log.append([b"a"], partition="0", now_us=at(1)).first_offset == 0


def test_log_timestamps_never_go_back_though_the_clock_does(log):
    for now_us in (10, 50, 20, 60):
        log.append([b"x", b"y"], partition="0", now_us=at(now_us))
    log.append([b"z"], partition="1", now_us=at(20))
    reader = log.open({"0": 0})
    assert reader.poll(100).log_us.tolist() == [10, 10, 50, 50, 50, 50, 60, 60]
    reader.close()


def test_a_large_append_is_cut_into_rows_of_bounded_size(log, path):
    events = [bytes([number]) * 3_000_000 for number in range(7)]
    log.append(events, partition="0", now_us=at(1))
    log.append([b"x" * 9_000_000], partition="0", now_us=at(1))
    assert everything(log)["0"] == [*events, b"x" * 9_000_000]
    db = sqlite3.connect(path)
    (rows,) = db.execute("SELECT count(*) FROM batches").fetchone()
    db.close()
    assert rows == 5


def test_a_batch_of_large_records_ends_before_it_fills_the_memory(log):
    for _ in range(10):
        log.append([b"x" * 7_000_000], partition="0", now_us=at(1))
    reader = log.open({"0": 0})
    batch = reader.poll(1_000)
    assert 1 <= len(batch) < 10
    assert batch.next_offset == len(batch)
    reader.close()


def test_a_log_keeps_the_partitions_that_it_was_made_with(path):
    LocalLog(path, "payments", partitions=2).close()
    log = LocalLog(path, "payments", partitions=4)
    assert log.partitions() == ("0", "1")
    log.close()


def test_threads_that_append_at_once_lose_nothing(log):
    def append(name: int) -> None:
        for number in range(25):
            log.append([f"{name}:{number}".encode()], partition="0", now_us=at(number))

    threads = [threading.Thread(target=append, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = everything(log)["0"]
    assert sorted(found) == sorted(f"{a}:{b}".encode() for a in range(4) for b in range(25))
    for name in range(4):
        mine = [int(e.split(b":")[1]) for e in found if e.startswith(b"%d:" % name)]
        assert mine == sorted(mine)


def test_processes_that_make_and_write_one_log_at_once_share_it(path):
    """None of them finds a file half made, and a reader follows all of them."""
    writers = [start_writer(path, f"w{number}", 40) for number in range(4)]
    outputs = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4
    places = [tuple(line.split()) for output in outputs for line in output.splitlines()]
    assert len(set(places)) == 4 * 40
    log = LocalLog(path, "payments")
    found = [event for events in everything(log).values() for event in events]
    log.close()
    expected = [f"w{w}:{n}:{i}".encode() for w in range(4) for n in range(40) for i in range(3)]
    assert sorted(found) == sorted(expected)
    assert not list(path.parent.glob("*.new*"))


def test_crash_of_a_writer_loses_nothing_that_was_acknowledged(path):
    writer = start_writer(path, "w", 1_000_000)
    acknowledged = [writer.stdout.readline().split() for _ in range(60)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += [line.split() for line in writer.stdout.read().splitlines()]
    writer.wait()
    writer.stdout.close()
    log = LocalLog(path, "payments")
    found = everything(log)
    for number, place in enumerate(acknowledged):
        if len(place) == 2:  # the last line may be torn
            partition, first = place[0], int(place[1])
            whole = [f"w:{number}:{i}".encode() for i in range(3)]
            assert found[partition][first : first + 3] == whole
    # Appends are whole or absent, and the log goes on where it ends.
    for partition, events in found.items():
        assert len(events) % 3 == 0
        receipt = log.append([b"next"], partition=partition, now_us=at(1))
        assert receipt.first_offset == len(events)
    log.close()


def test_an_idle_reader_sees_what_another_process_appends(path, log):
    reader = log.open(dict.fromkeys(PARTITIONS, 0))
    assert reader.poll(10) is None
    writer = start_writer(path, "w", 20)
    found = 0
    for _ in range(10_000):
        batch = reader.poll(10)
        found += 0 if batch is None else len(batch)
        if found == 60:
            break
    writer.communicate(timeout=60)
    reader.close()
    assert found == 60


def test_an_idle_reader_looks_before_long_whatever_it_believes(log):
    reader = log.open(dict.fromkeys(PARTITIONS, 0))
    assert reader.poll(10) is None
    log.append([b"{}"], now_us=at(1))
    (reader._drained_at,) = reader._db.execute("PRAGMA data_version").fetchone()
    assert reader.poll(10) is None
    polls = (reader.poll(10) for _ in range(1_000))
    assert [len(batch) for batch in polls if batch is not None] == [1]
    reader.close()


def test_close_ends_a_poll_that_waits(log):
    reader = log.open({"0": 0})
    reader.close()
    with pytest.raises(SourceError):
        reader.poll(10)


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be one" * 100])
def test_a_file_that_is_no_log_is_refused_and_left_as_it_is(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(FormatUnknown, match=r"payments\.log.*expected a local log"):
        LocalLog(path, "payments")
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(path):
    path.parent.mkdir()
    damage(path, "CREATE TABLE theirs (x)")
    with pytest.raises(FormatUnknown, match="application id 0x0"):
        LocalLog(path, "payments")


def test_a_log_of_a_later_version_is_refused(path, log):
    damage(path, "PRAGMA user_version = 9")
    with pytest.raises(FormatUnknown, match="version 9"):
        LocalLog(path, "payments")


def test_the_log_of_another_stream_is_refused(path, log):
    with pytest.raises(FormatUnknown, match="the log of stream 'payments'"):
        LocalLog(path, "refunds")


def test_a_folder_that_may_not_be_used_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="the local log cannot be used"):
        LocalLog(tmp_path / "file" / "payments.log", "payments")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE batches SET data = x'78' WHERE first_offset = 2", "do not have its hash"),
        ("UPDATE batches SET ends = x'00000000' WHERE first_offset = 2", "do not have its hash"),
        ("UPDATE batches SET count = 9 WHERE first_offset = 2", "do not have its hash"),
        ("DELETE FROM batches WHERE first_offset = 2", "the batch at 2 is missing"),
    ],
)
def test_damage_is_named_with_its_place_and_nothing_is_skipped(path, log, statement, what):
    for _ in range(3):
        log.append([b"a", b"b"], partition="0", now_us=at(1))
    damage(path, statement)
    reader = log.open({"0": 0})
    with pytest.raises(SourceError, match=rf"damaged.*partition 0, offset [24].*{what}"):
        reader.poll(100)
    reader.close()


def test_torn_pages_are_named(path):
    log = LocalLog(path, "payments")
    for _ in range(50):
        log.append([b"x" * 10_000], partition="0", now_us=at(1))
    log.close()
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 16_384):
        content[page * 16_384 : page * 16_384 + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(SourceError, match="the local log is damaged"):  # noqa: SIM117
        with closing(LocalLog(path, "payments")) as damaged:
            everything(damaged)


def test_a_position_before_the_first_event_kept_is_truncated(path, log):
    for _ in range(3):
        log.append([b"a", b"b"], partition="0", now_us=at(1))
    damage(path, "DELETE FROM batches WHERE first_offset = 0")
    assert log.bounds("0") == (2, 6)
    with pytest.raises(LogTruncated, match=r"partition 0.*first offset 2"):
        log.open({"0": 1})
    reader = log.open({"0": 2})
    assert reader.poll(100).offsets.tolist() == [2, 3, 4, 5]
    reader.close()


def test_reader_seeks_over_stored_batches_of_any_size(log):
    sizes = [1, 5, 2, 40, 1, 1]
    for size in sizes:
        log.append([b"x"] * size, partition="0", now_us=at(1))
    reader = log.open({"0": 0})
    for start, end in pairwise(range(0, sum(sizes) + 1, 5)):
        reader.seek("0", start)
        assert reader.poll(5).offsets.tolist() == list(range(start, end))
    reader.close()
