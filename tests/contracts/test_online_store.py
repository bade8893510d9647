"""What every online store keeps, wherever it lies: one suite over all of its implementations.

A subject is a store of one shard's rows: a writer for an incarnation, and a reader. The first part
asks the store itself, the second a mirror over it, whose state is the truth. The third is for
stores on other machines, which may be wiped, restored or out of reach while the engine runs: Redis
(a real server), and a model of one, so that the mirror is right whatever the store is made of.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Protocol

import pytest

from tegula.schemas.errors import SinkError
from tegula.state.keys import encode_key
from tegula.state.mirror import Mirror
from tegula.state.online.lmdb import LmdbWriter, WritersAsReader
from tegula.state.online.redis_reader import open_reader
from tegula.state.online.redis_writer import RedisStore, RedisWriter
from tegula.state.online.rows import Mark, OnlineReader, OnlineWriter, RowWrites
from tegula.state.rows import segment_number
from tegula.state.segments import ROW_INSTANTS
from tegula.windows.geometry import Sliding
from tests.services.redis import Server
from tests.support.remote_store import Held, RemoteStore, RemoteWriter
from tests.support.shapes import DAY, HOUR, MINUTE, shape_of
from tests.support.stores import Feeder, open_shard, plain, tiles_of_row

MARK = Mark(1, 5, (1,), {0: 10, 3: 7})
SHAPE = shape_of(["count", "sum", "last"], [Sliding(HOUR, MINUTE)])
NOON = 12 * HOUR
GONE = NOON + 2 * DAY
"""A horizon from which retention no longer reaches noon."""


class Subject(Protocol):
    """An online store under test, of one shard: shard 0."""

    def writer(self, incarnation: int) -> OnlineWriter:
        """Its writer from now on."""
        ...

    def reader(self) -> OnlineReader: ...

    def close(self) -> None: ...


class LmdbSubject:
    def __init__(self, folder: Path) -> None:
        self._root = folder
        self._writer: LmdbWriter | None = None

    def writer(self, incarnation: int) -> LmdbWriter:
        self.close()  # a process may open an environment only once
        self._writer = LmdbWriter(self._root, 0, incarnation, 1 << 24)
        return self._writer

    def reader(self) -> OnlineReader:
        assert self._writer is not None
        return WritersAsReader([self._writer])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.abandon()


class ModelSubject:
    def __init__(self) -> None:
        self.store = RemoteStore()

    def writer(self, incarnation: int) -> RemoteWriter:
        return self.store.open_writer(Path(), 0, incarnation)

    def reader(self) -> OnlineReader:
        return self.store

    def close(self) -> None:
        return

    def wipe(self) -> None:
        self.store.wipe()

    def save(self) -> object:
        return self.store.held(0).copy()

    def restore(self, saved: object) -> None:
        assert isinstance(saved, Held)
        self.store.shards[0] = saved

    def stop(self) -> None:
        self.store.is_down = True

    def start(self) -> None:
        self.store.is_down = False


class RedisSubject:
    """Redis at `url`; each writer is of an engine of its own, with its own connections."""

    def __init__(self, url: str, server: Server | None = None) -> None:
        self._place = url, {}, f"t-{uuid.uuid4().hex}"
        self._server = server
        self._reader = open_reader(*self._place)
        self._stores: list[RedisStore] = []

    def writer(self, incarnation: int) -> RedisWriter:
        self._stores.append(RedisStore(*self._place))
        return self._stores[-1].open_writer(Path(), 0, incarnation)

    def reader(self) -> OnlineReader:
        return self._reader

    def close(self) -> None:
        self._reader.close()
        for store in self._stores:
            store.link.close()

    @property
    def server(self) -> Server:
        """The server that is this subject's own."""
        assert self._server is not None
        return self._server

    def wipe(self) -> None:
        self.server.client().flushall()

    def save(self) -> object:
        client = self.server.client()
        return {key: (client.dump(key), max(0, client.pttl(key))) for key in client.scan_iter()}

    def restore(self, saved: object) -> None:
        assert isinstance(saved, dict)
        client = self.server.client()
        client.flushall()
        for key, (dump, ttl_ms) in saved.items():
            client.restore(key, ttl_ms, dump)

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server.start()
        self._reader = open_reader(*self._place)  # the old one would rest for a second


SERVICES = [pytest.param(name, marks=pytest.mark.services) for name in ("redis", "redis_cluster")]


@pytest.fixture(params=["lmdb", "model", *SERVICES])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    made: Subject
    if request.param == "lmdb":
        made = LmdbSubject(tmp_path / "online")
    elif request.param == "model":
        made = ModelSubject()
    else:
        name = "redis_server" if request.param == "redis" else request.param
        made = RedisSubject(request.getfixturevalue(name).url)
    yield made
    made.close()


@pytest.fixture
def writer(subject: Subject) -> OnlineWriter:
    """A writer of incarnation 1, as the mirror begins: it has asked for the mark."""
    made = subject.writer(1)
    assert made.mark() is None
    return made


def row(key: bytes, head: bytes = b"H", body: bytes | None = None, build: int = 1) -> RowWrites:
    return RowWrites(build, [(key, head)], [] if body is None else [(key, body)])


def segment(count: int, label: bytes = b"") -> bytes:
    """What a store looks at of a segment, and a label."""
    return struct.pack("<4xI", count) + label


# The store itself.


def test_store_where_nothing_was_mirrored_has_no_mark_and_no_rows(subject, writer):
    reader = subject.reader()
    assert reader.mark(0) is None
    assert reader.read(0, 1, [b"a"]) == (None, [(None, None)])
    assert reader.read_with_segments(0, 1, [b"a"], [7]) == (None, [(None, None)], [{}])


def test_write_is_read_back_with_its_mark(subject, writer):
    writer.write([row(b"a", b"H", b"B"), row(b"b")], MARK)
    writer.publish()
    expected = MARK, [(b"H", b"B"), (b"H", None), (None, None)]
    assert subject.reader().read(0, 1, [b"a", b"b", b"c"]) == expected
    assert writer.read(1, [b"a", b"b", b"c"]) == expected
    assert writer.heads(1, [b"b", b"c"]) == [b"H", None]
    assert writer.mark() == subject.reader().mark(0) == MARK


def test_write_of_the_same_rows_again_changes_nothing(subject, writer):
    for _ in range(2):
        writer.write([row(b"a", b"H", b"B")], MARK)
    assert subject.reader().read(0, 1, [b"a"]) == (MARK, [(b"H", b"B")])


def test_write_deletes_before_it_puts_so_that_a_key_may_come_back(subject, writer):
    writer.write([row(b"a", b"H", b"B")], MARK)
    writer.write([RowWrites(1, heads=[(b"a", b"new")], deletes=[b"a", b"nobody"])], MARK)
    assert subject.reader().read(0, 1, [b"a"])[1] == [(b"new", None)]


def test_keep_builds_deletes_rows_and_segments_of_the_others(subject, writer):
    rows = [(b"a", segment_number(7, 0), segment(1))]
    for build in range(1, 6):
        writer.write(
            [row(b"a", b"H%d" % build, build=build), RowWrites(build, segments=rows)], MARK
        )
    writer.keep_builds({2, 4})
    reader = subject.reader()
    found = [reader.read_with_segments(0, build, [b"a"], [7])[1:] for build in range(1, 6)]
    gone, kept = ([(None, None)], [{}]), [{7: [segment(1)]}]
    assert found == [gone, ([(b"H2", None)], kept), gone, ([(b"H4", None)], kept), gone]
    assert reader.mark(0) == MARK


def test_segments_are_read_by_hour_and_on_as_long_as_one_is_full(subject, writer):
    full, last = segment(ROW_INSTANTS), segment(ROW_INSTANTS - 1)
    blocks = [(b"a", segment_number(7, n), block) for n, block in enumerate([full, full, last])]
    blocks += [(b"a", segment_number(8, 0), segment(1)), (b"b", segment_number(-1, 0), segment(2))]
    writer.write([RowWrites(1, segments=blocks)], MARK)
    reader = subject.reader()
    _, _, found = reader.read_with_segments(0, 1, [b"a", b"b", b"c"], [-1, 7])
    assert found == [{7: [full, full, last]}, {-1: [segment(2)]}, {}]
    writer.write([RowWrites(1, segments=[(b"a", segment_number(7, 2), None)])], MARK)
    assert reader.read_with_segments(0, 1, [b"a"], [7])[2] == [{7: [full, full]}]


@pytest.mark.parametrize("length", [1, 479, 480, 481, 511, 512, 1 << 16])
def test_keys_of_any_length_are_kept_apart(subject, writer, length):
    keys = [encode_key(("k" * (length - 1) + last,), ("string",)) for last in "abc"]
    writer.write([row(key, key[-3:]) for key in keys[:2]], MARK)
    rows = subject.reader().read(0, 1, keys)[1]
    assert rows == [(keys[0][-3:], None), (keys[1][-3:], None), (None, None)]


def test_writer_goes_on_where_one_of_its_incarnation_ended(subject, writer):
    writer.write([row(b"a")], MARK)
    writer.publish()
    assert subject.writer(1).mark() == MARK


def test_writer_of_a_new_incarnation_finds_no_mark_of_its_own(subject, writer):
    writer.write([row(b"a")], MARK)
    writer.publish()
    mark = subject.writer(2).mark()
    assert mark is None or mark.incarnation < 2


# A mirror over it.


class Place:
    """A shard's state, and the mirror of it in the store under test."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject
        self.folder = folder
        self.shapes = {1: SHAPE}
        self.feeder = Feeder(open_shard(folder / "state"), SHAPE)
        self.begin(1)

    def begin(self, incarnation: int) -> None:
        """Open the writer and a mirror over it, as an engine that starts."""
        self.writer = self.subject.writer(incarnation)
        self.mirror = Mirror(self.feeder.shard, self.writer, self.shapes)

    def restore(self, incarnation: int) -> None:
        """Have an empty state in place of this one, as from a checkpoint before all of it."""
        self.feeder.shard.abandon()
        folder = self.folder / f"restored-{incarnation}"
        self.feeder = Feeder(open_shard(folder, incarnation), SHAPE)
        self.begin(incarnation)

    def follow(self) -> None:
        """Bring the rows up to the state, as a step of the engine does that finds itself behind."""
        self.mirror.rebuild_missing()
        self.mirror.catch_up()
        self.writer.publish()

    def rows(self, *keys: bytes) -> list[list[tuple[int, int, int]] | None]:
        """What a server reads: tiles by key; None where the mark does not vouch for the build."""
        mark, rows = self.subject.reader().read(0, 1, keys)
        if mark is None or 1 not in mark.builds:
            return [None] * len(keys)
        return [tiles_of_row(SHAPE, one) for one in rows]

    def check(self, *keys: bytes) -> None:
        """The rows say what the state says."""
        assert self.rows(*keys) == [self.feeder.tiles(key) for key in keys]


@pytest.fixture
def place(subject: Subject, tmp_path: Path) -> Iterator[Place]:
    made = Place(subject, tmp_path)
    yield made
    made.feeder.shard.abandon()


def test_store_vouches_for_nothing_until_its_rows_are_whole(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    assert place.rows(b"a", b"b") == [None, None]
    place.follow()
    assert place.rows(b"a", b"b") == [[(NOON, 1, 1)], []]


def test_reader_while_the_mirror_is_behind_has_whole_rows_and_a_mark_that_says_so(place):
    place.feeder.commit([(b"a", NOON, 1.0)])
    place.follow()
    place.feeder.commit([(b"a", NOON, 1.0), (b"b", NOON, 1.0)])
    assert place.rows(b"a", b"b") == [[(NOON, 1, 1)], []]
    assert plain(place.subject.reader().mark(0)) == Mark(1, 1, (1,), {0: 1})
    assert place.feeder.shard.commit_number == 2
    place.follow()
    place.check(b"a", b"b")


def test_restored_older_state_leaves_no_newer_row_readable(place):
    """The state before the loss knew `a` and `lost`; the one restored has only ever seen `b`."""
    place.feeder.commit([(b"a", NOON, 1.0), (b"lost", NOON, 1.0)])
    place.follow()
    place.restore(incarnation=2)
    place.feeder.commit([(b"b", NOON, 1.0)])
    place.follow()
    place.check(b"a", b"b", b"lost")
    mark = place.subject.reader().mark(0)
    assert mark is not None
    assert (mark.incarnation, mark.commit) == (2, 1)


def test_rows_of_a_build_that_was_left_half_written_do_not_outlive_their_keys(place):
    """A rebuild ends in a crash; the key is swept, and its outbox row goes; it starts again."""
    place.feeder.commit([(b"a", NOON, 1.0), (b"b", GONE, 1.0)])
    place.mirror.rebuild_missing()
    place.writer.publish()
    place.writer.write([], Mark(1, 0, ()))  # as if build 1 had never been named
    place.begin(1)
    place.feeder.fold([b"a"], GONE)
    place.feeder.shard.clear_outbox(
        [number for number, _ in place.feeder.shard.outbox.read().entries]
    )
    place.follow()
    place.check(b"a", b"b")
    assert place.rows(b"a") == [[]]


# A store on another machine.


@pytest.fixture(params=["model", SERVICES[0]])
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
    for attempt in (lambda: older.write([row(b"n", b"old")], MARK), lambda: older.keep_builds({1})):
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
