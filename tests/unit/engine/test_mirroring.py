"""Running the mirrors: a refusing store costs freshness, never rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tegula.engine.online import OpenWriter
from tegula.engine.runtime.ingest import Ingest, Work
from tegula.engine.runtime.mirroring import Mirrors, MirrorThread
from tegula.engine.steps.commit import FOLD_EVERY, ShardCommit
from tegula.engine.steps.standing import Standing
from tegula.schemas.errors import OnlineStoreFull
from tegula.state.fold import Folded
from tegula.state.keys import encode_key, shard_of
from tegula.state.online.lmdb import LmdbWriter
from tests.support.ingesting import NOON_US, admitted, build_of, event, open_shards
from tests.support.remote_store import RemoteStore

BUILD = build_of()
SHARDS = 3
KEYS = [f"k{i}" for i in range(9)]


class Running:
    """Ingest with mirrors behind it."""

    store: RemoteStore

    def __init__(self, root: Path, open_writer: OpenWriter = LmdbWriter) -> None:
        self.shards = open_shards(root / "state", SHARDS)
        self.ingest = Ingest(Standing(self.shards), [BUILD])
        shapes = {BUILD.id: BUILD.shape}
        self.mirrors = Mirrors(self.shards, root / "online", shapes, open_writer=open_writer)
        self.offset = 0
        self.mirrors.step()

    def commit(self) -> None:
        """One more event for every key."""
        events = [event(key, NOON_US + self.offset) for key in KEYS]
        batch = admitted(events, first_offset=self.offset)
        self.offset += len(events)
        self.ingest.add(*self.ingest.lift(Work(0, batch, (BUILD.id,), batch.running_max_us)))
        self.mirrors.offer(self.ingest.commit())

    def absent(self) -> list[str]:
        """Keys that have no online row."""
        reader, missing = self.mirrors.reader(), []
        for key in KEYS:
            encoded = encode_key((key,), ("string",))
            _, rows = reader.read(shard_of(encoded, SHARDS), BUILD.id, [encoded])
            if rows == [(None, None)]:
                missing.append(key)
        return missing

    def refuse(self, place: int) -> None:
        """Let the online store of one shard be full."""

        def full(*_: object) -> None:
            raise OnlineStoreFull(where="online", detail="no space is left")

        self.mirrors._writers[place].write = full  # type: ignore[method-assign]

    def allow(self, place: int) -> None:
        """There is space again."""
        del self.mirrors._writers[place].write


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.mirrors.close(clean=False)
    for shard in made.shards:
        shard.abandon()


@pytest.mark.parametrize("place", range(SHARDS))
def test_step_that_fails_in_one_shard_loses_the_offers_of_none(running, place):
    running.commit()
    running.refuse(place)
    with pytest.raises(OnlineStoreFull):
        running.mirrors.step()
    assert running.mirrors.fault is not None
    assert not running.mirrors.is_idle
    running.allow(place)
    running.mirrors.step()
    assert running.mirrors.fault is None
    assert running.absent() == []
    assert running.mirrors.commits() == [1] * SHARDS


def test_thread_goes_on_after_a_fault_that_nobody_thought_of(running, monkeypatch, eventually):
    monkeypatch.setattr("tegula.engine.runtime.mirroring.RETRY_S", 0.01)
    failing = running.mirrors._mirrors[1]

    def fail(*_: object) -> None:
        raise ZeroDivisionError("never seen before")

    failing.begin = failing.catch_up = fail  # type: ignore[method-assign]
    thread = MirrorThread(running.mirrors)
    thread.start()
    running.commit()
    eventually(lambda: running.mirrors.fault is not None)
    assert "never seen before" in running.mirrors.fault.got
    del failing.begin, failing.catch_up
    eventually(lambda: running.mirrors.fault is None and running.mirrors.is_idle)
    thread.stop()
    assert running.absent() == []


def test_offers_past_the_bound_are_dropped_and_the_outbox_takes_their_place(running, monkeypatch):
    monkeypatch.setattr("tegula.engine.runtime.mirroring.WAITING_BYTES_MAX", 500)
    running.commit()
    running.commit()
    assert not running.mirrors.is_idle
    assert running.mirrors.step()
    assert running.absent() == []
    reader = running.mirrors.reader()
    for place in range(SHARDS):
        mark = reader.mark(place)
        assert mark is not None
        assert (mark.commit, mark.positions) == (2, {0: running.offset})


def test_what_folds_hand_over_counts_by_its_bytes_not_by_its_keys(running, monkeypatch):
    """A few keys with large rows must not fill the memory while a mirror is stuck."""
    monkeypatch.setattr("tegula.engine.runtime.mirroring.WAITING_BYTES_MAX", 10_000)
    running.commit()
    running.mirrors.step()
    kept = Folded(2, BUILD.id, [b"a"], [b"x" * 4_000], [b"x" * 4_000])
    running.mirrors.offer([ShardCommit(0, (kept,))])
    assert running.mirrors._offers[0]
    running.mirrors.offer([ShardCommit(0, (kept,))])
    assert running.mirrors._offers == [[]] * SHARDS
    assert all(running.mirrors._lagging)


def test_set_shapes_takes_hold_with_the_next_step_and_not_before(running):
    """A mirror may be running through the shapes in another thread."""
    running.commit()
    shapes = running.mirrors._mirrors[0]._shapes
    running.mirrors.set_shapes({BUILD.id: BUILD.shape, 2: BUILD.shape})
    assert set(shapes) == {BUILD.id}
    running.mirrors.step()
    assert set(shapes) == {BUILD.id, 2}
    assert running.mirrors.mirrored(2) == [1] * SHARDS


def test_mirrored_says_minus_one_for_a_build_whose_rows_are_not_whole(running):
    assert running.mirrors.mirrored(2) == [-1] * SHARDS
    assert running.mirrors.mirrored(BUILD.id) == [0] * SHARDS


def test_rows_of_a_dropped_build_go_once_no_mark_names_it(running):
    running.commit()
    running.mirrors.step()
    running.mirrors.set_shapes({})
    running.mirrors.drop_builds(set())
    running.mirrors.step()
    assert running.absent() == KEYS


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Running]:
    """Mirrors to a store on another machine, `far.store`."""
    store = RemoteStore()
    made = Running(tmp_path, store.open_writer)
    made.store = store
    yield made
    made.mirrors.close(clean=False)
    for shard in made.shards:
        shard.abandon()


@pytest.fixture
def thread(far: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[MirrorThread]:
    monkeypatch.setattr("tegula.engine.runtime.mirroring.RETRY_S", 0.01)
    monkeypatch.setattr("tegula.engine.runtime.mirroring.LOOK_S", 0.0)
    made = MirrorThread(far.mirrors)
    made.start()
    yield made
    made.stop()


def test_thread_rebuilds_a_wiped_store_though_nothing_is_committed(far, thread, eventually):
    far.commit()
    eventually(lambda: far.mirrors.is_idle and far.mirrors.commits() == [1] * SHARDS)
    far.store.wipe()
    eventually(lambda: set(far.store.shards) == set(range(SHARDS)))
    eventually(lambda: far.mirrors.mirrored(BUILD.id) == [1] * SHARDS)
    eventually(lambda: far.absent() == [])


def test_thread_says_that_the_store_is_down_and_brings_it_up_to_date_once_it_is_back(
    far, thread, eventually
):
    far.commit()
    eventually(lambda: far.mirrors.is_idle)
    far.store.is_down = True
    eventually(lambda: far.mirrors.fault is not None)  # while nothing is committed
    far.commit()
    assert [shard.commit_number for shard in far.shards] == [2] * SHARDS
    assert far.mirrors.fault is not None
    far.store.wipe()
    far.store.is_down = False
    eventually(lambda: far.mirrors.fault is None and far.mirrors.is_idle)
    assert far.mirrors.commits() == [2] * SHARDS
    assert far.absent() == []


def test_look_tells_a_store_that_lost_its_rows_from_those_that_did_not(far):
    far.commit()
    far.mirrors.step()
    far.mirrors.look()
    assert far.mirrors.is_idle
    del far.store.shards[1]
    far.mirrors.look()
    assert not far.mirrors.is_idle
    assert [at >= 0 for at in far.mirrors.mirrored(BUILD.id)] == [True, False, True]
    far.mirrors.step()
    assert far.absent() == []


def test_shards_merged_in_one_go_have_the_same_rows_as_one_by_one(tmp_path, monkeypatch):
    """Some are in step, one was taken already, and folds, segments and new keys are among them."""
    found = []
    for name, most in (("together", 1 << 20), ("alone", 0), ("some", 7)):
        monkeypatch.setattr("tegula.engine.runtime.mirroring.TOGETHER_KEYS", most)
        running = Running(tmp_path / name)
        for number in range(3 * FOLD_EVERY):
            running.commit()
            if number % 5 == 0:
                running.mirrors.step()
        running.mirrors.step()
        reader = running.mirrors.reader()
        found.append([])
        for key in KEYS:
            encoded = encode_key((key,), ("string",))
            place = shard_of(encoded, SHARDS)
            _, rows = reader.read(place, BUILD.id, [encoded])
            found[-1] += [reader.mark(place).commit, *rows[0]]
        running.mirrors.close(clean=False)
        for shard in running.shards:
            shard.abandon()
    assert found[0] == found[1] == found[2]
    assert None not in found[0]
