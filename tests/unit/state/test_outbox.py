"""The outbox: what it says is all that is to be mirrored, or it says that it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tegula.state import outbox
from tegula.state.rows import Touched
from tegula.state.shard import Shard
from tegula.windows.geometry import Sliding
from tests.support.ingesting import small_memory
from tests.support.shapes import HOUR, MINUTE, shape_of
from tests.support.stores import Feeder, open_shard

SHAPE = shape_of(["count"], [Sliding(HOUR, MINUTE)])
NOON = 12 * HOUR


@pytest.fixture
def feeder(tmp_path: Path) -> Iterator[Feeder]:
    made = Feeder(open_shard(tmp_path / "shard"), SHAPE)
    yield made
    made.shard.abandon()


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "KEYS_MAX", 5)


def reopen(feeder: Feeder, tmp_path: Path) -> None:
    feeder.shard.abandon()
    feeder.shard = Shard(0, tmp_path / "shard", small_memory(), incarnation=99)


def commit(feeder: Feeder, *keys: bytes) -> int:
    return feeder.commit([(key, NOON, 1.0) for key in keys])


def state(feeder: Feeder) -> tuple[int, list[int]]:
    dropped_through, entries = feeder.shard.outbox.read()
    assert feeder.shard.outbox.dropped_through == dropped_through
    return dropped_through, [number for number, _ in entries]


def test_outbox_keeps_its_rows_up_to_the_bound_and_drops_all_of_them_past_it(feeder):
    commit(feeder, b"a", b"b")
    commit(feeder, b"a", b"b", b"c")
    assert state(feeder) == (0, [1, 2])
    commit(feeder, b"a")
    assert state(feeder) == (3, [])
    commit(feeder, b"a", b"b")
    assert state(feeder) == (3, [4])


@pytest.mark.parametrize("after", [0, 1, 2])
def test_outbox_counts_what_is_there_when_it_is_opened(feeder, tmp_path, after):
    feeder.shard.commit({}, {})
    commit(feeder, b"a", b"b")
    feeder.fold([b"a", b"b"], NOON)
    feeder.shard.clear_outbox([2])
    reopen(feeder, tmp_path)
    assert state(feeder) == (0, [3])
    for _ in range(after):
        commit(feeder, b"a", b"b")
    assert state(feeder) == [(0, [3]), (0, [3, 4]), (5, [])][after]
    reopen(feeder, tmp_path)
    assert state(feeder) == [(0, [3]), (0, [3, 4]), (5, [])][after]


def test_outbox_that_is_cleared_has_room_again(feeder):
    for _ in range(10):
        number = commit(feeder, b"a", b"b", b"c")
        feeder.shard.clear_outbox([number, number, 77])
    assert state(feeder) == (0, [])


def test_fold_counts_and_may_drop_too(feeder):
    commit(feeder, b"a", b"b", b"c")
    feeder.fold([b"a", b"b", b"c"], NOON)
    assert state(feeder) == (2, [])


def test_one_commit_of_too_many_keys_drops_itself(feeder):
    commit(feeder, *(b"%d" % n for n in range(6)))
    assert state(feeder) == (1, [])


def test_commit_that_drops_and_fails_leaves_the_outbox_as_it_was(feeder, monkeypatch):
    commit(feeder, b"a", b"b", b"c")

    def fail(_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(feeder.shard, "_write", fail)
        with pytest.raises(OSError, match="no space"):
            commit(feeder, b"a", b"b", b"c")
    assert state(feeder) == (0, [1])
    assert feeder.shard.outbox.read().entries[0][1] == [Touched(1, [b"a", b"b", b"c"], False)]
    commit(feeder, b"a", b"b")
    assert state(feeder) == (0, [1, 2])
    commit(feeder, b"a")
    assert state(feeder) == (3, [])


def test_clear_forgets_nothing_that_came_after_the_rows_were_dropped(feeder):
    commit(feeder, b"a", b"b", b"c")
    numbers = [number for number, _ in feeder.shard.outbox.read().entries]
    commit(feeder, b"a", b"b", b"c")
    commit(feeder, b"a")
    feeder.shard.clear_outbox(numbers)
    assert state(feeder) == (2, [3])
    commit(feeder, b"a", b"b", b"c", b"d")
    assert state(feeder) == (2, [3, 4])
