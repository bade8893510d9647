"""What every online store keeps, wherever it lies: one suite over all of its implementations.

A subject is a store of one shard's rows: a writer for an incarnation, and a reader. The first part
asks the store itself, the second a mirror over it, whose state is the truth. What stores on other
machines promise besides is in `test_online_store_far.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tegula.state.keys import encode_key
from tegula.state.online.rows import Mark, OnlineWriter, RowWrites
from tegula.state.rows import segment_number
from tegula.state.segments import ROW_INSTANTS
from tests.support.stores import plain
from tests.support.subjects import (
    GONE,
    NOON,
    LmdbSubject,
    ModelSubject,
    Place,
    RedisSubject,
    Subject,
)

MARK = Mark(1, 5, (1,), {0: 10, 3: 7})
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
