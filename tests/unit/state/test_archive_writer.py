"""The archive's thread: when it flushes, when it holds back, and how it fails and goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tegula.schemas.errors import SinkError, TableUnwritable
from tegula.state.archive import ArchivePlace
from tegula.state.archive_writer import ArchiveWriter, FlushPolicy

from .archive_rows import START_US, open_archive, rows, table

NEVER_BY_ITSELF = FlushPolicy(row_count=10**9, interval_s=3_600, buffer_bytes=1 << 30)
WAIT_S = 20.0


def until(true: Callable[[], bool]) -> None:
    """Wait until something becomes true in another thread."""
    tick = threading.Event()
    for _ in range(int(WAIT_S * 100)):
        if true():
            return
        tick.wait(0.01)
    pytest.fail("it never became true")


def test_writer_flushes_when_asked(tmp_path: Path) -> None:
    with ArchiveWriter(open_archive(tmp_path), NEVER_BY_ITSELF) as writer:
        writer.offer(rows("0", 0, 10))
        assert writer.places() == {}
        writer.flush()
        assert writer.places() == {"0": ArchivePlace(10, START_US + 9_000)}
        report = writer.report()
        assert (report.written_rows, report.flush_count, report.buffered_rows) == (10, 1, 0)


def test_writer_flushes_when_there_are_enough_rows(tmp_path: Path) -> None:
    policy = FlushPolicy(row_count=20, interval_s=3_600)
    with ArchiveWriter(open_archive(tmp_path), policy) as writer:
        writer.offer(rows("0", 0, 10))
        writer.offer(rows("1", 0, 10))
        until(lambda: writer.report().written_rows == 20)


def test_writer_flushes_when_the_interval_is_over(tmp_path: Path) -> None:
    policy = FlushPolicy(interval_s=0.05)
    with ArchiveWriter(open_archive(tmp_path), policy) as writer:
        writer.offer(rows("0", 0, 10))
        until(lambda: writer.report().written_rows == 10)


def test_writer_flushes_when_it_is_closed(tmp_path: Path) -> None:
    writer = ArchiveWriter(open_archive(tmp_path), NEVER_BY_ITSELF)
    writer.offer(rows("0", 0, 10))
    writer.close()
    writer.close()
    assert table(tmp_path).height == 10
    with pytest.raises(SinkError, match="closed"):
        writer.offer(rows("0", 10, 20))


def test_writer_lets_the_buffer_go_when_it_is_closed_as_by_a_crash(tmp_path: Path) -> None:
    writer = ArchiveWriter(open_archive(tmp_path), NEVER_BY_ITSELF)
    writer.offer(rows("0", 0, 10))
    writer.close(flush=False)
    assert not list(tmp_path.iterdir())


def test_writer_holds_the_source_back_only_past_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive(tmp_path)
    gate, flush = threading.Event(), archive.flush

    def slow() -> int:
        assert gate.wait(WAIT_S)
        return flush()

    monkeypatch.setattr(archive, "flush", slow)
    batch_bytes = rows("0", 0, 100).size_bytes
    policy = FlushPolicy(row_count=100, interval_s=3_600, buffer_bytes=2 * batch_bytes)
    with ArchiveWriter(archive, policy) as writer:
        assert writer.offer(rows("0", 0, 100), timeout_s=0)
        assert writer.offer(rows("0", 100, 200), timeout_s=0)
        assert not writer.has_room
        assert not writer.offer(rows("0", 200, 300), timeout_s=0.05)
        gate.set()
        assert writer.offer(rows("0", 200, 300), timeout_s=WAIT_S)
    assert table(tmp_path)["_offset"].to_list() == list(range(300))


def test_writer_shows_its_error_and_goes_on_when_the_storage_is_mended(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    policy = FlushPolicy(row_count=10, interval_s=0.01)
    with ArchiveWriter(open_archive(tmp_path), policy) as writer:
        writer.offer(rows("0", 0, 10))
        with pytest.raises(TableUnwritable):
            writer.flush()
        assert isinstance(writer.report().error, TableUnwritable)
        writer.offer(rows("0", 10, 20))
        assert writer.report().buffered_rows == 20
        (tmp_path / "log").unlink()
        until(lambda: writer.report().written_rows == 20)
        assert writer.report().error is None
    assert table(tmp_path)["_offset"].to_list() == list(range(20))


def test_writer_says_on_closing_what_it_could_not_write(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    writer = ArchiveWriter(open_archive(tmp_path), NEVER_BY_ITSELF)
    writer.offer(rows("0", 0, 10))
    with pytest.raises(TableUnwritable):
        writer.close()
    writer.close()
    assert writer.report().buffered_rows == 10


def test_writer_keeps_rows_when_a_fault_is_nobodys_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(archive, "flush", lambda: 1 // 0)
        writer = ArchiveWriter(archive, NEVER_BY_ITSELF)
        writer.offer(rows("0", 0, 10))
        with pytest.raises(SinkError, match="ZeroDivisionError"):
            writer.flush()
    writer.flush()
    writer.close()
    assert table(tmp_path).height == 10


def test_writer_keeps_every_row_when_many_threads_offer(tmp_path: Path) -> None:
    policy = FlushPolicy(row_count=500, interval_s=0.02, buffer_bytes=40_000)
    with ArchiveWriter(open_archive(tmp_path), policy) as writer:

        def offer(partition: str) -> None:
            for first in range(0, 1_000, 50):
                assert writer.offer(rows(partition, first, first + 50, bad=[first + 7]))

        threads = [threading.Thread(target=offer, args=(str(p),)) for p in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    kept = table(tmp_path)
    assert kept["_partition"].value_counts()["count"].to_list() == [1_000] * 4
    assert kept.select("_partition", "_offset").n_unique() == 4_000
    assert table(tmp_path, "dead_letter/payments").height == 80
