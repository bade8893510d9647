"""Damage and full disks: RocksDB's own words become errors, and never an absent row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tegula.schemas.errors import DiskFull, StateCorrupt, StateError
from tegula.state.database import BUFFERS_MAX, MIB, Budget, Memory, named_faults, open_database
from tegula.state.fold import fold
from tegula.state.shard import Shard
from tegula.windows.geometry import Sliding
from tests.support.ingesting import small_memory
from tests.support.shapes import HOUR, MINUTE, shape_of
from tests.support.stores import Feeder, open_shard

SHAPE = shape_of(["count", "sum"], [Sliding(HOUR, MINUTE)])
KEYS = [b"key-%04d" % number for number in range(2_000)]
NOON = 12 * HOUR


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Shard]:
    """A shard of many keys, some of whose heads lie in a block that no longer has its checksum."""
    feeder = Feeder(open_shard(tmp_path / "shard"), SHAPE)
    feeder.commit([(key, NOON, 1.0) for key in KEYS])
    feeder.fold(KEYS, NOON)
    feeder.shard._database.flush()
    feeder.shard.close()
    table = max((tmp_path / "shard").glob("*.sst"), key=lambda path: path.stat().st_size)
    content = bytearray(table.read_bytes())
    for at in range(len(content) // 3, len(content) // 3 + 64):
        content[at] ^= 0xFF
    table.write_bytes(content)
    shard = Shard(0, tmp_path / "shard", small_memory(), 1)
    yield shard
    with suppress(StateCorrupt):  # RocksDB repeats itself
        shard.abandon()


def test_reading_a_key_says_so_when_its_block_is_damaged(damaged):
    with pytest.raises(StateCorrupt, match="damaged"):
        damaged.read_keys(1, KEYS)


def test_folding_writes_nothing_when_a_key_cannot_be_read(damaged):
    with pytest.raises(StateCorrupt):
        fold(damaged, 1, SHAPE, KEYS, NOON)
    assert damaged.commit_number == 2


def test_listing_keys_does_not_end_at_damage_as_if_there_were_no_more(damaged):
    with pytest.raises(StateCorrupt):
        damaged.scan_keys(1, b"", len(KEYS))


def test_dropping_a_build_does_not_end_at_damage_as_if_it_were_gone(damaged):
    with pytest.raises(StateCorrupt):
        damaged.drop_build(1)


def test_fault_of_the_disk_is_an_error_of_the_state_that_says_where():
    refused = Exception("IO error: Input/output error: While appending")
    with pytest.raises(StateError, match="cannot be read") as caught, named_faults("shard-03"):
        raise refused
    assert (caught.value.where, caught.value.got) == ("shard-03", str(refused))


def test_full_disk_is_an_error_of_its_own_which_may_pass():
    refused = Exception("IO error: No space left on device: While appending")
    with pytest.raises(DiskFull) as caught, named_faults("shard-03"):
        raise refused
    assert (caught.value.where, caught.value.got) == ("shard-03", str(refused))
    assert caught.value.retryable


def test_fault_of_ours_stays_what_it_is():
    with pytest.raises(KeyError), named_faults("state"):
        raise KeyError("x")


def test_memory_for_writes_is_one_budget_over_all_shards(tmp_path):
    memory = Memory(Budget(8 * MIB, 8 * MIB))
    least = memory.buffer_bytes
    databases = [open_database(tmp_path / str(number), memory) for number in range(3)]
    most = 0
    for number in range(300):
        for database in databases:
            database.put(b"%06d" % number, b"x" * 100_000)
        sizes = [db.property_int_value("rocksdb.cur-size-all-mem-tables") for db in databases]
        most = max(most, sum(size or 0 for size in sizes))
    for database in databases:
        database.close()
    # Of 90 MiB. More than the budget only while files are written, and never more than this.
    assert least < most < 3 * (BUFFERS_MAX + 1) * least
    assert Memory(Budget()).buffer_bytes == 16 * MIB
