"""What a store on another machine keeps besides: it may be wiped, restored, or out of reach.

Redis, a real server, and a model of such a store, so that the mirror is right whatever it is made
of. What happens to it happens while the engine runs, or while it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest

from tegula.schemas.errors import SinkError
from tegula.state.online.rows import Mark, RowWrites
from tests.support.stores import Feeder, open_shard
from tests.support.subjects import GONE, NOON, SHAPE, ModelSubject, Place, RedisSubject

MARK = Mark(1, 5, (1,), {0: 10, 3: 7})


@pytest.fixture(params=["model", pytest.param("redis", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest) -> Iterator[ModelSubject | RedisSubject]:
    """The store of `far`, to be wiped, restored and stopped."""
    if request.param == "model":
        yield ModelSubject()
        return
    server = request.getfixturevalue("own_redis")
    server.start()
    made = RedisSubject(server.url, server)
    yield made
    made.close()


@pytest.fixture
def far(store: ModelSubject | RedisSubject, tmp_path: Path) -> Iterator[Place]:
    made = Place(store, tmp_path)
    made.feeder.commit([(b"a", NOON, 1.0), (b"b", GONE, 1.0)])
    made.follow()
    made.feeder.taken()
    yield made
    made.feeder.shard.abandon()


def test_wiped_store_is_noticed_without_a_commit_and_rebuilt(far, store):
    assert far.mirror.is_followed()
    store.wipe()
    assert not far.mirror.is_followed()
    assert far.rows(b"a", b"c") == [None, None]
    far.follow()
    assert far.mirror.is_followed()
    far.check(b"a", b"b", b"c")


def test_commit_onto_a_wiped_store_is_refused_and_names_no_build(far, store):
    store.wipe()
    far.feeder.commit([(b"a", NOON, 1.0)])
    with pytest.raises(SinkError):
        far.mirror.take(far.feeder.taken())
    assert far.rows(b"a", b"b") == [None, None]
    far.follow()
    far.check(b"a", b"b")


@pytest.mark.parametrize("looked", [False, True])
def test_store_that_went_back_is_rebuilt_and_keeps_no_row_that_came_back_with_it(
    far, store, looked
):
    """As when a replica that lagged takes over: its rows are whole, and old."""
    older = store.save()
    far.feeder.commit([(b"c", GONE, 1.0)])
    far.feeder.fold([b"a"], GONE)
    far.mirror.take(far.feeder.taken())
    far.check(b"a", b"b", b"c")
    store.restore(older)
    assert far.rows(b"a", b"c") == [[(NOON, 1, 1)], []]  # right as of an older mark
    far.feeder.commit([(b"b", GONE, 1.0)])
    if looked:
        # To have looked must not make what was found there good to build upon.
        assert not far.mirror.is_followed()
        far.mirror.take(far.feeder.taken())
        assert far.rows(b"a", b"b", b"c") == [None, None, None]
    else:
        with pytest.raises(SinkError):
            far.mirror.take(far.feeder.taken())
    far.follow()
    far.check(b"a", b"b", b"c")
    assert far.rows(b"a") == [[]]


def test_store_that_wrote_and_did_not_say_so_is_gone_on_with(far, store, monkeypatch):
    """A reply may be lost; what was tried is then as good as what was confirmed."""
    made = type(far.writer).write

    def unheard(*given: object) -> None:
        made(*given)
        raise SinkError("the reply was lost", where="a model")

    far.feeder.commit([(b"c", GONE, 1.0)])
    with monkeypatch.context() as patch:
        patch.setattr(type(far.writer), "write", unheard)
        with pytest.raises(SinkError):
            far.mirror.take(far.feeder.taken())
    assert far.mirror.is_followed()
    scans = scans_of(far, monkeypatch)
    far.follow()
    assert scans == []
    far.check(b"a", b"b", b"c")


def test_store_out_of_reach_at_start_costs_nothing_but_the_rows(far, store):
    store.stop()
    far.begin(1)
    with pytest.raises(SinkError):
        far.follow()
    assert far.mirror.mark == Mark(1, 0, ())
    store.start()
    far.follow()
    far.check(b"a", b"b")


def test_engine_of_an_older_incarnation_may_not_write(far):
    older, state = far.writer, far.feeder
    far.feeder = Feeder(open_shard(far.folder / "newer", 2), SHAPE)
    far.begin(2)
    far.feeder.commit([(b"n", NOON, 1.0)])
    far.follow()
    older.mark()
    for attempt in (
        lambda: older.write([RowWrites(1, [(b"n", b"old")])], MARK),
        lambda: older.keep_builds({1}),
    ):
        with pytest.raises(SinkError):
            attempt()
    far.check(b"a", b"n")
    state.shard.abandon()


# A store that is not what it was when the engine comes back.


def test_store_that_went_back_while_no_engine_ran_is_written_anew(far, store):
    older = store.save()
    far.feeder.commit([(b"c", GONE, 1.0)])
    far.feeder.fold([b"a"], GONE)
    far.mirror.take(far.feeder.taken())
    store.restore(older)
    far.begin(1)
    assert far.rows(b"a") == [[(NOON, 1, 1)]]  # nobody has looked yet
    far.follow()
    far.check(b"a", b"b", b"c")
    assert far.rows(b"a") == [[]]


def test_state_that_went_back_while_no_engine_ran_has_no_newer_row_readable(far, store):
    """As when a home was copied, and the copy put back: the incarnation is the same."""
    far.feeder.shard.abandon()
    copytree(far.folder / "state", far.folder / "copy")
    far.feeder.shard = open_shard(far.folder / "state")
    far.begin(1)
    far.feeder.commit([(b"lost", NOON, 1.0)])
    far.follow()
    far.feeder.shard.abandon()
    far.feeder = Feeder(open_shard(far.folder / "copy"), SHAPE)
    far.begin(1)
    far.feeder.commit([(b"b", NOON, 1.0)])
    far.feeder.commit([(b"b", NOON, 1.0)])  # as many commits as the store's mark has seen
    far.mirror.take_stock()
    assert far.rows(b"a", b"lost") == [None, None]
    far.follow()
    far.check(b"a", b"b", b"lost")


def scans_of(far: Place, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is read of the state key by key from now on, as for writing a build anew."""
    scans: list[object] = []
    monkeypatch.setattr(far.feeder.shard, "scan_keys", lambda *given: scans.append(given) or [])
    return scans


def test_engine_that_comes_back_to_its_own_store_writes_nothing_anew(far, monkeypatch):
    scans = scans_of(far, monkeypatch)
    for _ in range(3):
        far.feeder.commit([(b"a", NOON, 1.0)])
        far.mirror.take(far.feeder.taken())
        far.begin(1)
        far.mirror.rebuild_missing()
        far.mirror.catch_up()
        far.check(b"a", b"b")
    assert scans == []


def test_engine_that_ended_before_its_first_write_goes_on_with_what_was_left(far, monkeypatch):
    def unsaid(*_: object) -> None:
        raise SinkError("the store was out of reach", where="a model")

    with monkeypatch.context() as patch:
        far.begin(1)
        patch.setattr(type(far.writer), "write", unsaid)
        with pytest.raises(SinkError):
            far.follow()
    far.begin(1)
    scans = scans_of(far, monkeypatch)
    far.follow()
    assert scans == []
    far.check(b"a", b"b")
