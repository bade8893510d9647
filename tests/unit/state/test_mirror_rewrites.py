"""The mirror where the outbox was dropped: all rows are written anew, and nobody misses one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tegula.schemas.errors import OnlineStoreFull
from tegula.state import mirror as mirroring
from tegula.state import outbox
from tegula.state.online.lmdb import LmdbWriter
from tests.support.mirrored import EXACT, GONE, NOON, SHAPE, Place, check
from tests.support.shapes import HOUR
from tests.support.stores import open_shard


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outbox of three keys."""
    monkeypatch.setattr(outbox, "KEYS_MAX", 3)


def fall_behind(place: Place) -> None:
    """Commits, folds and sweeps without a mirror, until the outbox is dropped."""
    place.feeder.commit([(b"a", NOON + 1, 1.0), (b"b", NOON, 1.0), (b"c", NOON, 1.0)])
    place.feeder.fold([b"a", b"b", b"c"], NOON)
    place.take()
    place.feeder.commit([(b"a", NOON + 2 * HOUR, 1.0), (b"d", GONE, 1.0)])
    place.feeder.fold([b"a"], NOON + 2 * HOUR)
    place.feeder.fold([b"b"], GONE)
    place.feeder.commit([(b"e", GONE, 1.0)])
    place.feeder.taken()
    assert place.mirror.must_rewrite


KEYS = [b"a", b"b", b"c", b"d", b"e"]


@pytest.mark.parametrize("shape", [SHAPE, EXACT])
def test_catch_up_writes_all_keys_anew_where_the_outbox_was_dropped(tmp_path, shape):
    place = Place(tmp_path, shape=shape)
    fall_behind(place)
    assert place.writer.mark().commit == 2
    place.mirror.catch_up()
    assert not place.mirror.must_rewrite
    check(place, KEYS)
    assert place.is_absent(b"b")
    mark = place.writer.mark()
    assert mark is not None
    assert (mark.commit, mark.builds, mark.positions) == (6, (1,), {0: 6})
    assert place.feeder.shard.outbox.read().entries == []
    place.close()


@pytest.mark.parametrize("shape", [SHAPE, EXACT])
def test_reader_misses_no_row_while_all_are_written_anew(tmp_path, monkeypatch, shape):
    """Until a key's turn comes it has its old row, under the old mark, which names its build."""
    place = Place(tmp_path, shape=shape)
    monkeypatch.setattr(mirroring, "PAGE_KEYS", 1)
    fall_behind(place)
    old, seen = {key: (place.tiles(key), place.segments(key)) for key in KEYS}, []
    new = {key: (place.feeder.tiles(key), place.feeder.segments(key)) for key in KEYS}

    def look() -> None:
        mark = place.writer.mark()
        assert mark is not None
        assert (mark.commit, mark.builds) == (2, (1,))
        rows = {key: (place.tiles(key), place.segments(key)) for key in KEYS}
        assert all(rows[key] in (old[key], new[key]) for key in KEYS)
        seen.append(sum(rows[key] == new[key] for key in KEYS))

    made = LmdbWriter.write

    def write(*given: object) -> None:
        look()
        made(*given)

    with monkeypatch.context() as patch:
        patch.setattr(LmdbWriter, "write", write)
        place.mirror._rewrite()
    assert seen == sorted(seen)
    assert len(set(seen)) == 4
    assert place.writer.mark().commit == 6
    check(place, KEYS)
    place.close()


@pytest.mark.parametrize("shape", [SHAPE, EXACT])
@pytest.mark.parametrize("writes", range(6))
def test_rewriting_that_is_broken_off_is_done_again(tmp_path, monkeypatch, writes, shape):
    place = Place(tmp_path, shape=shape)
    monkeypatch.setattr(mirroring, "PAGE_KEYS", 1)
    fall_behind(place)
    made, left = LmdbWriter.write, [writes]

    def fail(*given: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OnlineStoreFull(where="online", detail="no space")
        made(*given)

    with monkeypatch.context() as patch:
        patch.setattr(LmdbWriter, "write", fail)
        with pytest.raises(OnlineStoreFull):
            place.mirror.catch_up()
    place.feeder.fold([b"c"], GONE)
    place.feeder.taken()
    place.close()
    place.feeder.shard = open_shard(place.root / "state")
    place.open()
    check(place, KEYS)
    assert place.is_absent(b"c")
    place.close()


def test_offers_in_memory_spare_the_rewriting(place):
    """A mirror that is merely slow still has all commits at hand, though the outbox has not."""
    for n in range(4):
        place.feeder.commit([(b"a", NOON + n, 1.0), (b"b", NOON, 1.0)])
    assert place.mirror.must_rewrite
    place.take()
    assert not place.mirror.must_rewrite
    check(place, [b"a", b"b"])


def test_outbox_that_is_dropped_again_meanwhile_is_noticed(place, monkeypatch):
    fall_behind(place)
    made = LmdbWriter.drop_older

    def drop_again(*given: object) -> None:
        place.feeder.commit([(key, GONE, 1.0) for key in KEYS])
        made(*given)

    with monkeypatch.context() as patch:
        patch.setattr(LmdbWriter, "drop_older", drop_again)
        place.mirror.catch_up()
    assert place.writer.mark().commit == 6
    assert place.mirror.must_rewrite
    place.take()
    assert place.writer.mark().commit == 7
    check(place, KEYS)
