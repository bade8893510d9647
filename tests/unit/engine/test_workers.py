"""What each worker owns and reads, and what it is told and sent."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tegula.engine.runtime.greeting import Greeting, agree, run_of
from tegula.engine.runtime.ingest import Ingest, Work
from tegula.engine.runtime.joining import Joining
from tegula.engine.runtime.labels import labels
from tegula.engine.steps.standing import Standing
from tegula.engine.steps.watermarks import Watermarks
from tegula.engine.steps.worker import Worker, home_of
from tegula.state.keys import shard_of
from tegula.state.rows import Applied
from tegula.windows.tiles import NEVER_US
from tests.support.ingesting import NOON_US, admitted, build_of, event, open_shards

SHARDS = 5


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_shard_and_every_partition_has_one_worker(count):
    workers = [Worker(index, count) for index in range(count)]
    assert sorted(n for one in workers for n in one.shards_of(SHARDS)) == list(range(SHARDS))
    for ordinal in range(20):
        for whole in (True, False):
            home = home_of(ordinal, 3, SHARDS, whole=whole)
            assert sum(one.owns(home) for one in workers) == 1


def test_partitions_are_spread_evenly_and_those_of_a_stream_with_ids_are_not_spread():
    spread = Counter(home_of(n, 7, 16, whole=False) % 2 for n in range(32))
    assert spread == {0: 16, 1: 16}
    assert len({home_of(n, 7, 16, whole=True) for n in range(32)}) == 1


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_key_was_found_that_bytewax_sends_to_each_worker(count):
    assert len(set(labels(count))) == count
    assert labels(count) == labels(count)


def test_standing_is_of_own_shards_now_and_of_others_as_they_told(tmp_path):
    own, other = open_shards(tmp_path, 2)
    told = {(1, 0): Applied(7, NOON_US)}
    standing = Standing([own], Worker(0, 2), {1: told})
    assert standing.applied(1, 0).tolist() == [0, 7]
    assert standing.place(1, 0) is None
    assert not standing.holds(1)
    own.commit({}, {(1, 0): Applied(4, NOON_US - 1)})
    assert standing.applied(1, 0).tolist() == [4, 7]
    place = standing.place(1, 0)
    assert place is not None
    assert (place.next_offset, place.running_max_us) == (4, NOON_US - 1)
    assert standing.reached(0) == 7
    assert standing.holds(1)
    with pytest.raises(KeyError):
        standing.own(1)
    own.abandon()
    other.abandon()


def test_parcels_hold_each_row_once_for_the_worker_that_owns_its_key(tmp_path):
    build = build_of()
    shards = open_shards(tmp_path, SHARDS)
    keys = [f"k{n}" for n in range(40)]
    batch = admitted([event(key, NOON_US) for key in keys * 3], running_max_us=NEVER_US)
    mine = shards[1::2]
    others = {shard.number: shard.applied for shard in shards[::2]}
    ingest = Ingest(Standing(mine, Worker(1, 2), others), [build])
    parcels = ingest.lift(Work(0, batch, (build.id,), NOON_US, home=1, live=True))
    assert [len(parcel.log_us) for parcel in parcels] == [0, 120], "measured once, by its reader"
    for worker, parcel in enumerate(parcels):
        assert parcel.reader == 1
        tiles = parcel.shares[build.id].tiles
        owners = {shard_of(key, SHARDS) % 2 for key in tiles.keys.to_pylist()}
        assert owners == {worker}
    assert sum(int(one.shares[build.id].tiles.tiles.rows.sum()) for one in parcels) == 120
    ingest.add(parcels[1])
    ingest.commit()
    folded = sum(shard.applied[build.id, 0].folded for shard in mine)
    assert 0 < folded < 120
    assert sum(shard.applied[build.id, 0].read for shard in mine) == 120, "its home is shard 1"
    for shard in shards:
        shard.abandon()


def test_watermark_is_the_least_of_those_who_have_one_and_never_falls():
    watermarks = Watermarks()
    watermarks.told(1, 0, NEVER_US)
    assert watermarks.least_us() == {1: NEVER_US}
    watermarks.told(1, 0, 50)
    watermarks.told(1, 1, NEVER_US)
    assert watermarks.least_us() == {1: 50}
    watermarks.told(1, 1, 20)
    watermarks.told(1, 1, 10)
    watermarks.told(2, 1, 99)
    assert watermarks.least_us() == {1: 20, 2: 99}


def test_workers_that_found_different_definitions_do_not_agree():
    one, two = (Greeting(index, f"t{index}", ((1, "a"),), {}) for index in (0, 1))
    assert agree([two, one])
    assert run_of([two, one]) == "t0"
    assert not agree([one, Greeting(1, "t1", ((1, "b"),), {})])


def test_a_build_has_joined_when_every_reader_has_said_so():
    joining = Joining(Worker(0, 2), "run")
    joining.joined(0, [5])
    joining.joined(0, [5])
    assert joining.committed([1]) == []
    joining.joined(1, [5, 6])
    assert joining.committed([2]) == [5]
    assert joining.committed([3]) == []


def test_positions_of_a_batch_reach_workers_that_get_none_of_its_rows(tmp_path):
    """A quiet shard must not hold back the point to resume from."""
    build = build_of()
    shards = open_shards(tmp_path, 2)
    batch = admitted([event("k", NOON_US)], running_max_us=NEVER_US)
    ingests = [
        Ingest(Standing([shards[n]], Worker(n, 2), {1 - n: shards[1 - n].applied}), [build])
        for n in range(2)
    ]
    for ingest, parcel in zip(
        ingests, ingests[0].lift(Work(0, batch, (build.id,), NOON_US)), strict=True
    ):
        ingest.add(parcel)
        ingest.commit()
    assert [shard.applied[build.id, 0].next_offset for shard in shards] == [1, 1]
    assert np.sum([shard.applied[build.id, 0].folded for shard in shards]) == 1
    for shard in shards:
        shard.abandon()
