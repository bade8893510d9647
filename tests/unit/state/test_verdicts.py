"""Verdicts by the wall clock, kept beside the state that they decide about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tegula.state.shard import Shard
from tests.support.ingesting import open_shards


@pytest.fixture
def shard(tmp_path: Path):
    (shard,) = open_shards(tmp_path, 1)
    yield shard
    shard.abandon()


def add(shard: Shard, ordinal: int, *offsets: int) -> None:
    shard.verdicts.add(ordinal, np.array(offsets, np.int64))


def test_verdicts_come_back_in_order_of_offset_by_partition(shard):
    add(shard, 2, 9, 11)
    add(shard, 1, 3)
    add(shard, 2, 1_000_000_000_000)
    assert shard.verdicts.offsets(2).tolist() == [9, 11, 1_000_000_000_000]
    assert shard.verdicts.offsets(1).tolist() == [3]
    assert shard.verdicts.offsets(0).tolist() == []


def test_verdicts_are_there_after_a_crash(tmp_path):
    (shard,) = open_shards(tmp_path, 1)
    add(shard, 0, 5)
    shard.abandon()
    (again,) = open_shards(tmp_path, 1)
    assert again.verdicts.offsets(0).tolist() == [5]
    again.abandon()


def test_forgetting_spares_rows_with_a_record_that_is_still_there_and_other_partitions(shard):
    add(shard, 0, 1, 2)
    add(shard, 0, 3, 7)
    add(shard, 1, 1)
    shard.verdicts.forget(0, 5)
    assert shard.verdicts.offsets(0).tolist() == [3, 7]
    assert shard.verdicts.offsets(1).tolist() == [1]


def test_verdicts_lie_where_the_format_says(shard):
    add(shard, 0x01020304, 0x05, 0x0106)
    key = bytes.fromhex("00000000 76 01020304 0000000000000005")
    assert shard._database.get(key).hex() == "0500000000000000" + "0601000000000000"
