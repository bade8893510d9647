"""The dead letter: found, shown, counted; never twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tegula.state.dead_letter import DeadLetter, DeadRecord


def record(offset: int, *, partition: str = "0", code: str = "TG-201", at: int = 0) -> DeadRecord:
    return DeadRecord(partition, offset, 1_000 + offset, at, code, "torn", b"\x00\xff{")


@pytest.fixture
def letter(tmp_path: Path) -> DeadLetter:
    return DeadLetter(tmp_path, "payments")


def test_dead_letter_is_empty_before_anything_was_rejected(
    letter: DeadLetter, tmp_path: Path
) -> None:
    assert letter.list() == ()
    assert letter.show("0", 1) is None
    assert letter.counts() == {}
    assert letter.append([], {}) == 0
    assert not list(tmp_path.iterdir())


def test_dead_letter_keeps_the_record_byte_for_byte(letter: DeadLetter) -> None:
    letter.append([record(5)], {"0": 10})
    assert letter.show("0", 5) == record(5)
    assert letter.show("0", 6) is None
    assert letter.show("1", 5) is None


def test_dead_letter_leaves_out_what_it_has_when_appended_again(
    letter: DeadLetter, tmp_path: Path
) -> None:
    assert letter.append([record(1), record(5)], {"0": 10}) == 2
    assert letter.append([record(5)], {"0": 10}) == 0
    again = DeadLetter(tmp_path, "payments")
    assert again.append([record(1), record(11), record(3, partition="1")], {"0": 12, "1": 4}) == 2
    assert sorted((r.partition, r.offset) for r in again.list()) == [
        ("0", 1),
        ("0", 5),
        ("0", 11),
        ("1", 3),
    ]


def test_dead_letter_lists_the_latest_first(letter: DeadLetter) -> None:
    letter.append([record(1, at=10), record(2, at=10)], {"0": 3})
    letter.append([record(3, at=20), record(4, at=20, code="TG-209")], {"0": 5})
    letter.append([record(1, at=30, partition="1")], {"1": 2})
    assert [(r.partition, r.offset) for r in letter.list(limit=4)] == [
        ("1", 1),
        ("0", 4),
        ("0", 3),
        ("0", 2),
    ]
    assert [r.offset for r in letter.list(code="TG-209")] == [4]
    assert [r.offset for r in letter.list(partition="0", limit=1)] == [4]
    assert letter.counts() == {"TG-201": 4, "TG-209": 1}
