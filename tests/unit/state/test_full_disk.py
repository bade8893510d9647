"""What the stores do on a disk that is really full: a fault that says so, and nothing half done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tegula.connectors.local_log import LocalLog
from tegula.schemas.errors import DiskFull, LogFull, OnlineStoreFull
from tegula.state.database import MIB, Budget, Memory
from tegula.state.online.lmdb import LmdbWriter
from tegula.state.online.rows import Mark, RowWrites
from tegula.state.rows import Applied
from tegula.state.shard import Shard
from tests.support.disks import SmallDisk, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 4 * MIB) as mounted:
        yield mounted


def test_log_keeps_exactly_what_it_did_not_refuse(disk):
    log, kept = LocalLog(disk.path / "log.db", "events", partitions=1), []
    disk.fill(256 << 10)
    for number in range(60):
        event = b"%d" % number + b"x" * 20_000
        try:
            log.append([event, event], now_us=lambda: 1)
        except LogFull:
            if number == 40:
                disk.free()
            continue
        kept += [event, event]
    assert 0 < len(kept) < 120
    assert kept[-1].startswith(b"59")
    reader, found = log.open({"0": 0}), []
    while batch := reader.poll(1_000):
        found += list(batch.payloads)
    assert found == kept
    reader.close()
    log.close()


def test_log_that_cannot_be_made_for_want_of_space_is_made_later(disk):
    disk.fill()
    with pytest.raises(LogFull):
        LocalLog(disk.path / "log.db", "events")
    disk.free()
    LocalLog(disk.path / "log.db", "events").close()
    assert [path.name for path in disk.path.iterdir()] == ["log.db"]


def test_state_goes_on_from_its_last_whole_commit(disk):
    memory = Memory(Budget(8 * MIB, 8 * MIB))
    step = Applied(0, 0, *[0] * 7)

    def commit(shard: Shard, upto: int) -> None:
        partitions = range(1_000)  # makes the commit large
        shard.commit({}, {(1, n): Applied(upto, 0, *[0] * 7) for n in partitions})

    shard = Shard(0, disk.path / "shard", memory, 1)
    shard.commit({}, {(1, 0): step})
    disk.fill(64 << 10)
    done = 0
    with suppress(DiskFull):
        for upto in range(1, 1_000):
            commit(shard, upto)
            done = upto
    assert done < 999
    with pytest.raises(DiskFull):  # not until it is opened anew
        commit(shard, 2_000)
    with pytest.raises(DiskFull):
        shard.close()
    disk.free()
    shard = Shard(0, disk.path / "shard", memory, 1)
    assert {at.next_offset for at in shard.applied.values()} == {done}
    assert shard.commit_number == done + 1
    commit(shard, done + 1)
    shard.close()


def test_online_store_refuses_and_goes_on(disk):
    writer = LmdbWriter(disk.path, 0, 1)
    rows = [RowWrites(1, heads=[(b"k%d" % n, b"x" * 2_000) for n in range(1_000)])]
    writer.write([], Mark(1, 1, ()))
    disk.fill(64 << 10)
    with pytest.raises(OnlineStoreFull):
        writer.write(rows, Mark(1, 2, ()))
    mark = writer.mark()
    assert mark is not None
    assert mark.commit == 1
    disk.free()
    writer.write(rows, Mark(1, 3, ()))
    assert writer.heads(1, [b"k7"]) == [b"x" * 2_000]
    writer.close()


@pytest.mark.parametrize("free_bytes", [0, 32_768, 131_072])
def test_online_store_that_cannot_be_made_says_so_and_does_not_kill(disk, free_bytes):
    """A hole in a mapped file, written to on a full disk, is SIGBUS: so in another process."""
    disk.fill(free_bytes)
    program = (
        "from pathlib import Path; import sys; from tegula.schemas.errors import DiskFull\\n"
        "from tegula.state.online.lmdb import LmdbWriter\\n"
        "try: LmdbWriter(Path(sys.argv[1]), 0, 1)\\n"
        "except (DiskFull, OSError) as fault: print(fault)\\n"
        "else: print('made')"
    ).replace("\\n", "\n")
    done = subprocess.run(
        [sys.executable, "-c", program, str(disk.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("made" if free_bytes > 70_000 else "No space left") in done.stdout
