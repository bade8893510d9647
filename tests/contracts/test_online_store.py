"""What every online store keeps, wherever it lies: one suite over all of its implementations.

A subject is a store of one shard's rows: a writer for an incarnation, and a reader. The first part
asks the store itself, the second a mirror over it, whose state is the truth. The third is for
stores on other machines, which may be wiped, restored or out of reach while the engine runs: here a
model of one, so that the mirror is right whatever the store is made of.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tegula.schemas.errors import SinkError
from tegula.state.keys import encode_key
from tegula.state.mirror import Mirror
from tegula.state.online.lmdb import LmdbWriter, WritersAsReader
from tegula.state.online.rows import Mark, OnlineReader, OnlineWriter, RowWrites
from tegula.state.rows import segment_number
from tegula.state.segments import ROW_INSTANTS
from tegula.windows.geometry import Sliding
from tests.support.remote_store import RemoteStore, RemoteWriter
from tests.support.shapes import DAY, HOUR, MINUTE, shape_of
from tests.support.stores import Feeder, open_shard, tiles_of_row

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
    def __init__(self, _: Path) -> None:
        self.store = RemoteStore()

    def writer(self, incarnation: int) -> RemoteWriter:
        return self.store.open_writer(Path(), 0, incarnation)

    def reader(self) -> OnlineReader:
        return self.store

    def close(self) -> None:
        return


SUBJECTS: dict[str, Callable[[Path], Subject]] = {"lmdb": LmdbSubject, "model": ModelSubject}


@pytest.fixture(params=sorted(SUBJECTS))
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    made = SUBJECTS[request.param](tmp_path / "online")
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
    assert place.subject.reader().mark(0) == Mark(1, 1, (1,), {0: 1})
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


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Place]:
    made = Place(ModelSubject(tmp_path), tmp_path)
    made.feeder.commit([(b"a", NOON, 1.0), (b"b", GONE, 1.0)])
    made.follow()
    made.feeder.taken()
    yield made
    made.feeder.shard.abandon()


@pytest.fixture
def store(far: Place) -> RemoteStore:
    assert isinstance(far.subject, ModelSubject)
    return far.subject.store


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
    older = store.held(0).copy()
    far.feeder.commit([(b"c", GONE, 1.0)])
    far.feeder.fold([b"a"], GONE)
    far.mirror.take(far.feeder.taken())
    far.check(b"a", b"b", b"c")
    store.shards[0] = older
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
    made = RemoteWriter.write

    def unheard(*given: object) -> None:
        made(*given)
        raise SinkError("the reply was lost", where="a model")

    far.feeder.commit([(b"c", GONE, 1.0)])
    with monkeypatch.context() as patch:
        patch.setattr(RemoteWriter, "write", unheard)
        with pytest.raises(SinkError):
            far.mirror.take(far.feeder.taken())
    assert far.mirror.is_followed()
    scanned = []
    monkeypatch.setattr(far.feeder.shard, "scan_keys", lambda *given: scanned.append(given) or [])
    far.follow()
    assert scanned == []
    far.check(b"a", b"b", b"c")


def test_store_out_of_reach_at_start_costs_nothing_but_the_rows(far, store):
    store.is_down = True
    far.begin(1)
    with pytest.raises(SinkError):
        far.follow()
    assert far.mirror.mark == Mark(1, 0, ())
    store.is_down = False
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
