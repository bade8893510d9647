"""Spines are cut evenly, whatever holds them."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.backfill.training import intake
from tegula.backfill.training.fingerprint import bytes_of
from tegula.schemas.errors import BadSpine


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_law_pieces_are_even_and_hold_the_same_rows(sizes):
    whole = pl.DataFrame({"a": range(sum(sizes))}, schema={"a": pl.Int64})
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    cut = [whole[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "PIECE_ROWS", 4)
        pieces = list(intake.even(iter(cut)))
    assert pl.concat(pieces).equals(whole)
    assert all(piece.height == 4 for piece in pieces[:-1])
    assert len(pieces) == max(1, -(-whole.height // 4))


def test_columns_that_change_half_way_are_refused():
    first, second = pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["x"]})
    with pytest.raises(BadSpine, match="change half-way"):
        list(intake.even(iter([first, second])))
    small = pl.DataFrame({"a": [2]}, schema={"a": pl.Int8})
    assert pl.concat(intake.even(iter([first, small])))["a"].to_list() == [1, 2]


def test_law_the_hash_of_rows_depends_on_their_values_alone():
    frame = pl.DataFrame(
        {
            "s": ["a", None, "ähre"],
            "x": [0.5, None, 2.0],
            "b": [True, None, False],
            "l": [[1], [], None],
        }
    )
    twice = pl.concat([frame, frame])
    assert bytes_of(twice[3:]) == bytes_of(frame)
    assert bytes_of(frame[1:]) != bytes_of(frame[:2])
    assert bytes_of(frame.rename({"s": "t"})) != bytes_of(frame)
    assert bytes_of(pl.DataFrame({"s": ["ab", "c"]})) != bytes_of(pl.DataFrame({"s": ["a", "bc"]}))
