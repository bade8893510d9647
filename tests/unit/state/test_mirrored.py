"""What was left in an online store is known again, and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tegula.schemas.errors import FormatUnknown
from tegula.state.mirrored import Left, Mirrored
from tegula.state.online.rows import Mark
from tegula.state.shard import Shard
from tests.support.stores import Feeder, open_shard
from tests.support.subjects import NOON, SHAPE


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[Shard]:
    made = open_shard(tmp_path)
    Feeder(made, SHAPE).commit([(b"a", NOON, 1.0)])
    yield made
    made.abandon()


def left_by(shard: Shard, writes: int, known: int) -> Mark:
    """The last mark of a session of so many writes, of which the state knows the first."""
    left, mark = Left(shard), Mark(1, 0, (1,))
    for number in range(1, writes + 1):
        mark = left.next(replace(mark, commit=1))
        taken = left.taken(mark)
        if number == known:
            shard.put_mirrored(taken)
    return mark


def test_mark_of_the_session_before_is_taken_if_nothing_is_missing(shard):
    mark = left_by(shard, writes=5, known=3)
    for writes, taken in ((2, False), (3, True), (5, True)):
        assert Left(shard).take(replace(mark, writes=writes)) == taken


def test_mark_of_a_session_that_nobody_heard_of_is_never_taken(shard):
    mark = left_by(shard, writes=2, known=2)
    for session in (mark.session + 1, 0):
        assert not Left(shard).take(replace(mark, session=session, writes=99))


def test_mark_of_a_session_that_ended_before_the_state_heard_of_a_write_is_taken(shard):
    before = left_by(shard, writes=2, known=2)
    began = left_by(shard, writes=1, known=0)
    assert Left(shard).take(began)
    assert Left(shard).take(before)


def test_state_that_knows_of_no_mirror_takes_nothing(shard):
    assert not Left(shard).take(Mark(1, 1, (1,)))


def test_mark_of_another_incarnation_or_of_a_commit_to_come_is_not_taken(shard):
    mark = left_by(shard, writes=1, known=1)
    assert not Left(shard).take(replace(mark, incarnation=2))
    assert not Left(shard).take(replace(mark, commit=2))


def test_two_marks_may_be_there_after_a_write_that_was_not_answered(shard):
    left = Left(shard)
    first = left.next(Mark(1, 1, ()))
    left.taken(first)
    second = left.next(first)
    assert [left.is_there(mark) for mark in (first, second, None)] == [True, True, False]
    left.taken(second)
    assert [left.is_there(mark) for mark in (first, second)] == [False, True]
    left.lose()
    assert not left.is_there(second)
    assert not left.take(second)


def test_row_of_another_version_is_refused():
    with pytest.raises(FormatUnknown, match="version 2"):
        Mirrored.decode(b"\x02" + Mirrored(1, 2, 3).encode()[1:])
