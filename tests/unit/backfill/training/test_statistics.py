"""What is told of each column, added up piece by piece."""

from __future__ import annotations

import math
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.backfill.training.statistics import Statistics, as_frame

numbers = st.none() | st.floats(-1e6, 1e6) | st.just(math.inf)


@given(pieces=st.lists(st.lists(numbers, max_size=8), min_size=1, max_size=5))
def test_law_pieces_add_up_to_the_whole(pieces):
    told = Statistics()
    for piece in pieces:
        told.add(pl.DataFrame({"x": pl.Series(piece, dtype=pl.Float64)}), {})
    (one,) = told.as_list()
    whole = [x for piece in pieces for x in piece]
    finite = pl.Series([x for x in whole if x is not None and math.isfinite(x)], dtype=pl.Float64)
    assert (one["rows"], one["nulls"]) == (len(whole), whole.count(None))
    if len(finite):
        assert one["mean"] == pytest.approx(finite.mean(), rel=1e-9, abs=1e-6)
    if len(finite) > 1:
        assert one["stddev"] == pytest.approx(finite.std(), rel=1e-6, abs=1e-3)


def test_statuses_and_bounds_are_told():
    told = Statistics()
    frame = pl.DataFrame({"v:n": [1, 3], "v:n|status": ["PRESENT", "EMPTY"], "word": ["a", None]})
    told.add(frame, {"v:n": Counter(PRESENT=1, EMPTY=1)})
    told.add(frame, {"v:n": Counter(PRESENT=2)})
    first, second = told.as_list()
    assert first["statuses"] == {"EMPTY": 1, "PRESENT": 3}
    assert (first["min"], first["max"], first["mean"]) == (1, 3, 2.0)
    assert second == {"column": "word", "type": "String", "rows": 4, "nulls": 2}
    assert as_frame(told.as_list())["max"].to_list() == ["3", None]
