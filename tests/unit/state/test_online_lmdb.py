"""The embedded online store: whole moments, published environments, keys of any length."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import FormatUnknown, OnlineStoreFull
from tegula.state.keys import encode_key
from tegula.state.online.lmdb import LOOK_US, LmdbReader, LmdbWriter, WritersAsReader, stored_key
from tegula.state.online.rows import Mark, RowWrites
from tegula.state.rows import build_prefix, segment_number
from tegula.state.segments import ROW_INSTANTS

MAP_BYTES = 1 << 24
KIB_64 = 1 << 16
MARK = Mark(1, 5, (1,), {0: 10, 3: 7})


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_us = 10**15

    def __call__(self) -> int:
        return self.at_us


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LmdbWriter]:
    made = LmdbWriter(tmp_path, 0, 1, MAP_BYTES)
    yield made
    made.abandon()


def row(key: bytes, head: bytes | None = b"H", body: bytes | None = None) -> RowWrites:
    return RowWrites(
        1,
        heads=[] if head is None else [(key, head)],
        bodies=[] if body is None else [(key, body)],
    )


def test_write_is_read_back_with_its_mark_as_one_moment(writer):
    writer.write([row(b"a", b"H", b"B"), row(b"b")], MARK)
    assert writer.read(1, [b"a", b"b", b"c"]) == (
        MARK,
        [(b"H", b"B"), (b"H", None), (None, None)],
    )
    assert writer.heads(1, [b"b", b"c"]) == [b"H", None]
    assert writer.mark() == MARK


def test_write_that_fails_changes_neither_rows_nor_mark(tmp_path):
    small = LmdbWriter(tmp_path, 0, 1, 1 << 16)
    small.write([row(b"a")], MARK)
    with pytest.raises(OnlineStoreFull, match="shard-00"):
        small.write([row(b"a", b"new"), row(b"b", bytes(1 << 17))], Mark(1, 6, ()))
    assert small.read(1, [b"a", b"b"]) == (MARK, [(b"H", None), (None, None)])
    small.abandon()


def test_write_deletes_before_it_puts_so_that_a_key_may_come_back(writer):
    writer.write([row(b"a", b"H", b"B")], MARK)
    writer.write([RowWrites(1, heads=[(b"a", b"new")], deletes=[b"a", b"nobody"])], MARK)
    assert writer.read(1, [b"a"])[1] == [(b"new", None)]


def test_rows_of_builds_lie_apart(writer):
    writer.write([row(b"a"), RowWrites(2, heads=[(b"a", b"other")])], MARK)
    assert writer.read(2, [b"a"])[1] == [(b"other", None)]
    writer.keep_builds({2})
    assert writer.read(1, [b"a"])[1] == [(None, None)]
    assert writer.read(2, [b"a"])[1] == [(b"other", None)]
    assert writer.mark() == MARK


def test_keep_builds_deletes_every_build_between_and_around_those_it_keeps(writer):
    for build in range(1, 8):
        writer.write([RowWrites(build, heads=[(b"k%d" % n, b"H") for n in range(3)])], MARK)
    writer.keep_builds({2, 5})
    assert [b for b in range(1, 8) if writer.read(b, [b"k1"])[1] != [(None, None)]] == [2, 5]
    writer.keep_builds(frozenset())
    assert writer.mark() == MARK


def segment(count: int, label: bytes = b"") -> bytes:
    """What the store looks at of a segment, and a label."""
    return struct.pack("<4xI", count) + label


def test_segments_are_read_by_hour_with_the_rows_of_the_same_moment(writer):
    one, other = segment(3, b"one"), segment(1, b"other")
    rows = [(b"a", segment_number(-1, 0), one), (b"b", segment_number(5, 0), other)]
    writer.write([RowWrites(1, heads=[(b"a", b"H")], segments=rows)], MARK)
    assert writer.read_with_segments(1, [b"a", b"b", b"c"], [-1, 5]) == (
        MARK,
        [(b"H", None), (None, None), (None, None)],
        [{-1: [one]}, {5: [other]}, {}],
    )
    assert writer.read(1, [b"a"]) == (MARK, [(b"H", None)])


def test_segments_of_an_hour_are_read_on_as_long_as_one_is_full(writer):
    full, last, beyond = segment(ROW_INSTANTS), segment(ROW_INSTANTS - 1), segment(1)
    rows = [(b"a", segment_number(7, n), row) for n, row in enumerate([full, full, last])]
    rows.append((b"a", segment_number(8, 0), beyond))
    writer.write([RowWrites(1, segments=rows)], MARK)
    assert writer.read_with_segments(1, [b"a"], [7])[2] == [{7: [full, full, last]}]
    writer.write([RowWrites(1, segments=[(b"a", segment_number(7, 2), None)])], MARK)
    assert writer.read_with_segments(1, [b"a"], [7])[2] == [{7: [full, full]}]


def test_keep_builds_deletes_segments_too(writer):
    rows = [(b"a", segment_number(7, 0), segment(1))]
    writer.write([RowWrites(build, segments=rows) for build in (1, 2)], MARK)
    writer.keep_builds({2})
    assert writer.read_with_segments(1, [b"a"], [7])[2] == [{}]
    assert writer.read_with_segments(2, [b"a"], [7])[2] == [{7: [segment(1)]}]


@pytest.mark.parametrize("length", [470, 479, 480, 481, 511, KIB_64])
def test_segments_of_keys_of_any_length_are_kept_apart(writer, length):
    keys = [encode_key(("k" * (length - 3) + last,), ("string",)) for last in "ab"]
    rows = [(key, segment_number(7, 0), segment(n)) for n, key in enumerate(keys)]
    writer.write([RowWrites(1, heads=[(keys[0], b"H")], segments=rows)], MARK)
    _, heads, found = writer.read_with_segments(1, keys, [7])
    assert heads == [(b"H", None), (None, None)]
    assert found == [{7: [segment(0)]}, {7: [segment(1)]}]


@pytest.mark.parametrize("length", [1, 400, 416, 478, 479, 480, 481, 511, 512, KIB_64])
def test_keys_of_any_length_are_kept_apart(writer, length):
    """LMDB takes keys up to 511 bytes; an entity key may have 64 KiB."""
    keys = [encode_key(("k" * (length - 1) + last,), ("string",)) for last in "abc"]
    writer.write([row(key, key[-3:]) for key in keys[:2]], MARK)
    rows = writer.read(1, keys)[1]
    assert rows == [(keys[0][-3:], None), (keys[1][-3:], None), (None, None)]
    writer.write([RowWrites(1, deletes=[keys[0]])], MARK)
    assert writer.read(1, keys[:2])[1] == [(None, None), (keys[1][-3:], None)]


keys = st.binary(max_size=600) | st.integers(470, 520).map(lambda n: b"k" * n)


@given(keys, keys)
def test_law_stored_keys_are_short_and_differ_where_the_keys_do(one, other):
    prefix = build_prefix(7)
    stored = [stored_key(prefix, key) + b"h" for key in (one, other)]
    assert all(len(at) <= 511 for at in stored)
    assert (stored[0] == stored[1]) == (one == other)


def test_no_short_key_can_be_the_stored_form_of_a_long_one():
    """Else whoever may choose keys could read another key's features under his own."""
    prefix = build_prefix(1)
    long = encode_key(("k" * KIB_64,), ("string",))
    forged = stored_key(prefix, long)[len(prefix) :]
    assert stored_key(prefix, forged) != stored_key(prefix, long)


def test_reader_finds_nothing_before_an_environment_is_published(tmp_path, writer):
    writer.write([row(b"a")], MARK)
    reader = LmdbReader(tmp_path, Clock())
    assert reader.read(0, 1, [b"a"]) == (None, [(None, None)])
    assert reader.mark(0) is None
    reader.close()


ELSEWHERE = """
import sys
from pathlib import Path
from tegula.state.online.lmdb import LmdbReader
at_us = 0
reader = LmdbReader(Path(sys.argv[1]), lambda: at_us)
for line in sys.stdin:
    at_us = int(line)
    mark, rows = reader.read(0, 1, [b"a"])
    print(mark.encode().decode(), rows[0][0].decode(), sep="\\t", flush=True)
reader.close()
"""


class Elsewhere:
    """A reader in a process of its own, as servers are."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self, at_us: int) -> tuple[Mark, str]:
        """The mark, and the head of `a`, at a time on the reader's clock."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{at_us}\n")
        self._process.stdin.flush()
        mark, head = self._process.stdout.readline().rstrip("\n").split("\t")
        return Mark.decode(mark.encode()), head

    def close(self) -> None:
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0


def test_reader_of_another_process_follows_writes_and_a_new_incarnation(tmp_path):
    now_us = 10**15
    writer = LmdbWriter(tmp_path, 0, 1, MAP_BYTES)
    writer.write([row(b"a", b"1")], MARK)
    writer.publish()
    elsewhere = Elsewhere(tmp_path)
    assert elsewhere.read(now_us) == (MARK, "1")
    writer.write([row(b"a", b"2")], Mark(1, 6, (1,)))
    assert elsewhere.read(now_us) == (Mark(1, 6, (1,)), "2")

    following = LmdbWriter(tmp_path, 0, 2, MAP_BYTES)
    following.write([row(b"a", b"3")], Mark(2, 1, (1,)))
    writer.abandon()
    following.publish()
    assert sorted(path.name for path in (tmp_path / "shard-00").iterdir()) == ["2", "current"]
    # The old environment is unlinked, and stays readable for those who have it open.
    assert elsewhere.read(now_us + LOOK_US - 1) == (Mark(1, 6, (1,)), "2")
    assert elsewhere.read(now_us + LOOK_US) == (Mark(2, 1, (1,)), "3")
    following.write([], Mark(2, 9, (1,)))
    assert elsewhere.read(now_us + LOOK_US) == (Mark(2, 9, (1,)), "3")
    elsewhere.close()
    following.abandon()


def test_reader_looks_again_when_what_current_names_is_gone(tmp_path):
    """The engine may publish between a reader's look and its opening."""
    shard = tmp_path / "shard-00"
    shard.mkdir()
    (shard / "current").write_text("7")
    reader = LmdbReader(tmp_path, Clock())
    assert reader.read(0, 1, [b"a"]) == (None, [(None, None)])
    writer = LmdbWriter(tmp_path, 0, 8, MAP_BYTES)
    writer.write([row(b"a")], MARK)
    writer.publish()
    writer.close()
    assert reader.read(0, 1, [b"a"]) == (MARK, [(b"H", None)])
    reader.close()


def test_reader_takes_up_what_was_made_anew_under_the_same_name(tmp_path):
    """As after `online/` was deleted, and the engine started, between two requests."""
    clock = Clock()
    first = LmdbWriter(tmp_path, 0, 1, MAP_BYTES)
    first.write([row(b"a", b"1")], MARK)
    first.publish()
    first.close()
    elsewhere = Elsewhere(tmp_path)
    assert elsewhere.read(clock()) == (MARK, "1")
    shutil.rmtree(tmp_path / "shard-00")
    again = LmdbWriter(tmp_path, 0, 1, MAP_BYTES)
    again.write([row(b"a", b"2")], Mark(1, 6, (1,)))
    again.publish()
    assert elsewhere.read(clock() + LOOK_US) == (Mark(1, 6, (1,)), "2")
    elsewhere.close()
    again.close()


def test_writer_goes_on_with_a_published_environment_and_begins_others_anew(tmp_path):
    first = LmdbWriter(tmp_path, 0, 1, MAP_BYTES)
    first.write([row(b"a")], MARK)
    first.publish()
    first.close()
    again = LmdbWriter(tmp_path, 0, 1, MAP_BYTES)
    assert again.mark() == MARK
    again.abandon()
    unpublished = LmdbWriter(tmp_path, 0, 2, MAP_BYTES)
    unpublished.write([row(b"a")], MARK)
    unpublished.abandon()
    afresh = LmdbWriter(tmp_path, 0, 2, MAP_BYTES)
    assert afresh.mark() is None
    assert afresh.read(1, [b"a"])[1] == [(None, None)]
    afresh.abandon()


def test_writers_read_for_their_own_process(tmp_path):
    writers = [LmdbWriter(tmp_path, shard, 1, MAP_BYTES) for shard in range(2)]
    writers[1].write([row(b"a")], MARK)
    reader = WritersAsReader(writers)
    assert (reader.mark(0), reader.mark(1)) == (None, MARK)
    assert reader.read(1, 1, [b"a"]) == (MARK, [(b"H", None)])
    reader.close()
    for writer in writers:
        writer.abandon()


def test_check_readers_frees_nothing_where_nobody_was_killed(writer):
    assert writer.check_readers() == 0


@given(
    st.builds(
        Mark,
        st.integers(0, 2**62),
        st.integers(0, 2**62),
        st.lists(st.integers(1, 2**31), max_size=3).map(tuple),
        st.dictionaries(st.integers(0, 2**31), st.integers(0, 2**62), max_size=3),
    )
)
def test_law_mark_is_read_back(mark):
    assert Mark.decode(mark.encode()) == mark


def test_mark_of_a_later_version_is_refused():
    later = MARK.encode().replace(b'"version":1', b'"version":2')
    with pytest.raises(FormatUnknown, match="version 2"):
        Mark.decode(later)
