"""Ids that were seen, and the copies found: rows of a shard, there after a crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tegula.state.uniqueness import Judged
from tests.support.ingesting import open_shards

A, B = b"a" * 16, b"b" * 16


@pytest.fixture
def shard(tmp_path: Path):
    (shard,) = open_shards(tmp_path, 1)
    yield shard
    shard.abandon()


def judged(next_offset: int, *copies: int, ordinal: int = 0) -> Judged:
    return Judged(ordinal, np.array(copies, np.int64), next_offset)


def test_times_are_those_of_the_last_write_by_stream_and_id(shard):
    shard.seen_ids.add(0, [(A, 0, [5])], judged(1))
    shard.seen_ids.add(0, [(A, 9, [5, 95])], judged(2))
    shard.seen_ids.add(1, [(A, -1, [-3])], judged(1, ordinal=7))
    assert shard.seen_ids.times(0, [A, B]) == [(5, 95), ()]
    assert shard.seen_ids.times(1, [A]) == [(-3,)]
    assert shard.seen_ids.times(1, []) == []


def test_copies_and_how_far_a_partition_is_judged_are_there_after_a_crash(tmp_path):
    (shard,) = open_shards(tmp_path, 1)
    shard.seen_ids.add(0, [], judged(10, 3, 8))
    shard.seen_ids.add(0, [], judged(20))
    shard.seen_ids.add(0, [], judged(30, 25))
    shard.abandon()
    (again,) = open_shards(tmp_path, 1)
    assert again.seen_ids.copies(0).tolist() == [3, 8, 25]
    assert (again.seen_ids.judged(0), again.seen_ids.judged(1)) == (30, 0)
    again.abandon()


def test_forgetting_spares_rows_with_a_copy_that_is_still_there(shard):
    shard.seen_ids.add(0, [], judged(10, 3, 8))
    shard.seen_ids.add(0, [], judged(20, 15))
    shard.seen_ids.forget(0, 5)
    assert shard.seen_ids.copies(0).tolist() == [3, 8, 15]
    shard.seen_ids.forget(0, 9)
    assert shard.seen_ids.copies(0).tolist() == [15]


def test_dropping_takes_old_buckets_and_spares_what_an_id_has_later(shard):
    shard.seen_ids.add(0, [(A, 0, [5]), (B, 0, [7]), (A, 3, [5, 35])], judged(1))
    shard.seen_ids.add(1, [(A, 0, [5])], judged(1, ordinal=1))
    shard.seen_ids.drop(0, 3, 30)
    assert shard.seen_ids.times(0, [A, B]) == [(35,), ()]
    assert shard.seen_ids.times(1, [A]) == [(5,)]
    shard.seen_ids.drop(0, 4, 40)
    assert shard.seen_ids.times(0, [A]) == [()]


def test_rows_lie_where_the_format_says(shard):
    shard.seen_ids.add(0x01020304, [(A, -1, [6])], judged(9, 5, ordinal=2))
    get = shard._database.get
    own = bytes(4)
    assert get(own + b"d" + bytes.fromhex("01020304") + A) == (6).to_bytes(8, "little")
    assert get(own + b"b" + bytes.fromhex("01020304 7fffffffffffffff") + A) == b""
    copies = get(own + b"e" + (2).to_bytes(4, "big") + (5).to_bytes(8, "big"))
    assert copies == (5).to_bytes(8, "little")
    assert get(own + b"j" + (2).to_bytes(4, "big")) == (9).to_bytes(8, "little")
