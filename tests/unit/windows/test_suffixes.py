"""Suffix merges: each is what merging its tiles one by one gives, whatever lies beside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.geometry import Sliding
from tegula.windows.suffixes import STRIDE, small_slots, strided_suffixes, suffix_merges, totals
from tests.support.shapes import HOUR, MINUTE, SECOND, lift_events, shape_of

SHAPE = shape_of(
    ["count", "sum", "mean", "min", "max", "variance", "first", "last", "approx_distinct"],
    [Sliding(HOUR, MINUTE)],
)
WHOLE = shape_of(["count", "sum", "max", "stddev"], [Sliding(HOUR, MINUTE)], "int")
KEYS = [b"a", b"", b"ccc"]
times = st.integers(0, 40).map(lambda n: n * SECOND)
numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
events = st.lists(st.tuples(st.integers(0, 2), times, numbers), max_size=60)
whole = st.lists(st.tuples(st.integers(0, 2), times, st.integers(-(2**63), 2**63 - 1)), max_size=60)


def expected(shape, keyed, begin, end):
    """The merge of tiles `[begin, end)`, each small slot's by its own reduction."""
    fields = []
    for number in small_slots(shape):
        states = tuple(
            c[begin:end].tolist() for c in keyed.tiles.columns[shape.field_ranges[number]]
        )
        fields.extend(shape.slots[number].monoid.reduce_one(states))
    return fields


def check(shape, keyed):
    suffixes, whole_keys = suffix_merges(shape, keyed), totals(shape, keyed)
    for key, (begin, end) in enumerate(zip(keyed.bounds[:-1], keyed.bounds[1:], strict=True)):
        assert [column[key] for column in whole_keys] == pytest.approx(
            expected(shape, keyed, begin, end), rel=1e-12, abs=1e-9
        )
        for tile in range(begin, end):
            assert [column[tile] for column in suffixes] == pytest.approx(
                expected(shape, keyed, tile, end), rel=1e-12, abs=1e-9
            )


@given(events)
def test_law_a_suffix_is_the_merge_of_its_tiles_one_by_one(events):
    check(SHAPE, lift_events(SHAPE, KEYS, events))


@given(whole)
def test_law_a_suffix_of_integers_is_exact(events):
    keyed = lift_events(WHOLE, KEYS, events)
    suffixes = suffix_merges(WHOLE, keyed)
    for begin, end in zip(keyed.bounds[:-1], keyed.bounds[1:], strict=True):
        for tile in range(begin, end):
            assert [c[tile] for c in suffixes] == expected(WHOLE, keyed, tile, end)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 100), numbers), min_size=1, max_size=150)
)
def test_law_a_strided_suffix_is_every_32nd_of_the_suffixes(events):
    keyed = lift_events(SHAPE, KEYS, [(key, n * SECOND, value) for key, n, value in events])
    bounds, rows, merges = strided_suffixes(SHAPE, keyed)
    suffixes, tiles = suffix_merges(SHAPE, keyed), keyed.tiles.rows
    for key, (begin, end) in enumerate(zip(keyed.bounds[:-1], keyed.bounds[1:], strict=True)):
        places = range(begin, end, STRIDE)
        assert bounds[key + 1] - bounds[key] == len(places)
        for record, tile in enumerate(places, start=bounds[key]):
            assert rows[record] == tiles[tile:end].sum()
            assert [c[record] for c in merges] == pytest.approx(
                [c[tile] for c in suffixes], rel=1e-12, abs=1e-9
            )


def test_no_tiles_have_no_strided_suffixes():
    bounds, rows, merges = strided_suffixes(SHAPE, lift_events(SHAPE, KEYS, []))
    assert (bounds.tolist(), rows.tolist()) == ([0, 0, 0, 0], [])
    assert [len(column) for column in merges] == [0] * len(merges)


def test_states_of_bytes_have_no_suffix_merges():
    names = [SHAPE.slots[number].monoid.name for number in small_slots(SHAPE)]
    assert "sum_float" in names
    assert not any("distinct" in name for name in names)


def test_suffix_merges_leave_the_tiles_as_they_are():
    keyed = lift_events(SHAPE, KEYS, [(0, n * SECOND, float(n)) for n in range(9)])
    before = [np.array(c) for c in keyed.tiles.columns if isinstance(c, np.ndarray)]
    suffix_merges(SHAPE, keyed)
    after = [c for c in keyed.tiles.columns if isinstance(c, np.ndarray)]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
