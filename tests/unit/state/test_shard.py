"""A shard: commits that are there whole or not at all, and rows that are found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tegula.schemas.errors import StateCorrupt
from tegula.state.keys import encode_key
from tegula.state.rows import Applied, Touched, build_prefix, chunk_suffix
from tegula.state.shard import Shard
from tegula.windows.geometry import Sliding
from tegula.windows.tiles import NEVER_US
from tests.support.ingesting import small_memory
from tests.support.shapes import HOUR, MINUTE, SECOND, shape_of
from tests.support.stores import Feeder, open_shard

SHAPE = shape_of(["count", "sum"], [Sliding(HOUR, MINUTE)])
NOON = 12 * HOUR
LONG = b"k" * (1 << 16)


@pytest.fixture
def feeder(tmp_path: Path) -> Iterator[Feeder]:
    made = Feeder(open_shard(tmp_path / "shard"), SHAPE)
    yield made
    made.shard.abandon()


def reopen(feeder: Feeder, tmp_path: Path, *, clean: bool) -> None:
    if clean:
        feeder.shard.close()
    else:
        feeder.shard.abandon()
    feeder.shard = Shard(0, tmp_path / "shard", small_memory(), incarnation=99)


@pytest.mark.parametrize("clean", [True, False])
def test_commit_is_there_whole_when_the_shard_is_opened_again(feeder, tmp_path, clean):
    feeder.commit([(b"a", NOON, 1.0), (LONG, NOON, 1.0)])
    feeder.commit([(b"a", NOON + SECOND, 1.0)])
    reopen(feeder, tmp_path, clean=clean)
    shard = feeder.shard
    assert (shard.created, shard.commit_number, shard.incarnation) == (False, 2, 1)
    assert shard.identity.clean is clean
    assert shard.applied == {(1, 0): Applied(3, NEVER_US, read=3)}
    assert feeder.tiles(b"a") == [(NOON, 1, 1), (NOON + SECOND, 1, 1)]
    assert feeder.tiles(LONG) == [(NOON, 1, 1)]
    assert [number for number, _ in shard.outbox.read().entries] == [1, 2]


def test_commit_that_fails_leaves_everything_as_it_was(feeder, monkeypatch):
    feeder.commit([(b"a", NOON, 1.0)])
    before = feeder.shard.identity, dict(feeder.shard.applied), feeder.tiles(b"a")

    class Refusing:
        def __getattr__(self, name: str) -> object:
            raise OSError("no space left on device")

    database = feeder.shard._database
    monkeypatch.setattr(feeder.shard, "_database", Refusing())
    with pytest.raises(OSError, match="no space"):
        feeder.commit([(b"a", NOON, 1.0)])
    monkeypatch.setattr(feeder.shard, "_database", database)
    assert (feeder.shard.identity, feeder.shard.applied, feeder.tiles(b"a")) == before


def test_commit_without_events_moves_positions_and_leaves_no_outbox_row(feeder):
    number = feeder.shard.commit({}, {(1, 3): Applied(7, 5, read=7, filtered=7)})
    assert number == feeder.shard.commit_number == 1
    assert feeder.shard.applied[1, 3].next_offset == 7
    assert feeder.shard.outbox.read().entries == []


def test_commit_numbers_each_commit_and_each_fold(feeder):
    numbers = [feeder.commit([(b"a", NOON, 1.0)]), feeder.commit([])]
    numbers.append(feeder.fold([b"a"], NOON).commit)
    assert numbers == [1, 2, 3]
    assert feeder.commit([]) == 4


def test_outbox_names_the_keys_that_a_commit_touched_and_forgets_them_when_told(feeder):
    feeder.commit([(b"a", NOON, 1.0), (b"b", NOON, 1.0)])
    feeder.fold([b"b"], NOON)
    assert feeder.shard.outbox.read().entries == [
        (1, [Touched(1, [b"a", b"b"], rewrite=False)]),
        (2, [Touched(1, [b"b"], rewrite=True)]),
    ]
    assert [number for number, _ in feeder.shard.outbox.read().entries if number > 1] == [2]
    feeder.shard.clear_outbox([1])
    assert [number for number, _ in feeder.shard.outbox.read().entries] == [2]


def test_read_keys_gives_chunks_in_order_of_commit_and_nothing_of_other_keys(feeder):
    for n in range(300):
        feeder.commit([(b"a", NOON + n, 1.0), (b"aa", NOON, 1.0)])
    (stored,) = feeder.shard.read_keys(1, [b"a"])
    assert stored.chunk_commits == tuple(range(1, 301))
    assert (stored.head, stored.body) == (None, None)
    assert feeder.shard.read_keys(1, [b"zz"])[0].chunks == ()
    assert feeder.shard.read_keys(2, [b"a"])[0].chunks == ()


def test_read_keys_ignores_a_chunk_up_to_folded_through_that_was_not_deleted(feeder):
    """Folded chunks may be deleted later, in bulk."""
    feeder.commit([(b"a", NOON, 1.0)])
    (before,) = feeder.shard.read_keys(1, [b"a"])
    feeder.fold([b"a"], NOON)
    feeder.shard._database.put(build_prefix(1) + b"a" + chunk_suffix(1), before.chunks[0])
    feeder.commit([(b"a", NOON, 1.0)])
    assert feeder.shard.read_keys(1, [b"a"])[0].chunk_commits == (3,)
    assert feeder.tiles(b"a") == [(NOON, 1, 2)]


def test_read_with_commit_tells_the_commit_that_the_rows_hold(feeder):
    feeder.commit([(b"a", NOON, 1.0)])
    feeder.commit([(b"b", NOON, 1.0)])
    commit, (stored,) = feeder.shard.read_with_commit(1, [b"a"])
    assert (commit, stored.chunk_commits) == (2, (1,))


def test_scan_keys_finds_each_key_once_in_order_page_by_page(feeder):
    names = ["", "a", "aa", "a\x00", "aé", "b", "k" * (1 << 16)]
    keys = sorted(encode_key((name,), ("string",)) for name in names)
    for _ in range(3):
        feeder.commit([(key, NOON, 1.0) for key in keys])
    feeder.fold([keys[1], keys[-1]], NOON)
    Feeder(feeder.shard, SHAPE, build=2).commit([(b"other", NOON, 1.0)])
    found, after = [], b""
    while page := feeder.shard.scan_keys(1, after, 2):
        found.extend(page)
        after = page[-1]
    assert found == keys


def test_scan_keys_finds_integers_at_both_ends_of_their_range(feeder):
    keys = [encode_key((n,), ("int",)) for n in (-(2**63), -1, 0, 2**63 - 1)]
    feeder.commit([(key, NOON, 1.0) for key in keys])
    assert feeder.shard.scan_keys(1, b"", 10) == keys
    assert feeder.shard.scan_keys(1, keys[2], 10) == keys[3:]
    assert feeder.shard.scan_keys(1, keys[3], 10) == []


def test_scan_keys_of_a_build_without_keys_is_empty(feeder):
    feeder.commit([(b"a", NOON, 1.0)])
    assert feeder.shard.scan_keys(2, b"", 10) == []


def test_drop_build_deletes_its_rows_and_positions_and_nothing_else(feeder, tmp_path):
    other = Feeder(feeder.shard, SHAPE, build=2)
    feeder.commit([(b"a", NOON, 1.0)])
    other.commit([(b"a", NOON, 1.0)])
    feeder.fold([b"a"], NOON)
    feeder.shard.drop_build(1)
    assert feeder.tiles(b"a") == []
    assert other.tiles(b"a") == [(NOON, 1, 1)]
    assert set(feeder.shard.applied) == {(2, 0)}
    reopen(feeder, tmp_path, clean=False)
    assert set(feeder.shard.applied) == {(2, 0)}
    assert feeder.shard.scan_keys(1, b"", 10) == []


def test_readable_positions_are_those_of_the_live_builds(feeder):
    """A build that is catching up stands behind them, and must not take a receipt back."""
    feeder.shard.commit({}, {(1, 0): Applied(100, 0), (1, 1): Applied(7, 0)})
    feeder.shard.commit({}, {(2, 0): Applied(3, 0)})
    assert feeder.shard.readable_positions() == {0: 100, 1: 7}


def test_renew_gives_the_shard_another_incarnation_that_stays(feeder, tmp_path):
    feeder.commit([(b"a", NOON, 1.0)])
    feeder.shard.renew(incarnation=5, boot_id="other")
    reopen(feeder, tmp_path, clean=False)
    identity = feeder.shard.identity
    assert (identity.incarnation, identity.boot_id, identity.commit) == (5, "other", 1)


def test_open_refuses_what_is_no_database(tmp_path):
    shard = open_shard(tmp_path / "shard")
    shard.close()
    (tmp_path / "shard" / "CURRENT").write_bytes(b"nonsense")
    with pytest.raises(StateCorrupt, match="shard"):
        Shard(0, tmp_path / "shard", small_memory(), 1)
