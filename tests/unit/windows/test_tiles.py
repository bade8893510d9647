"""Tiles as columns: sorting, merging and taking them, whatever their order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tegula.windows import tiles as module
from tegula.windows.algebra import Runs
from tegula.windows.geometry import Sliding
from tegula.windows.ladder import DAY, EVER, EVER_START_US, INSTANT, MINUTE, SECOND
from tegula.windows.tiles import (
    NEVER_US,
    KeyedTiles,
    Tiles,
    bounds_of,
    concat_tiles,
    empty_tiles,
    group,
    merge_keyed,
    reduce_tiles,
    sort_order,
    take_column,
)
from tests.support.shapes import DAY as DAY_US
from tests.support.shapes import HOUR as HOUR_US
from tests.support.shapes import MINUTE as MINUTE_US
from tests.support.shapes import SECOND as SECOND_US
from tests.support.shapes import lift_events, shape_of

SHAPE = shape_of(["count", "sum", "last", "approx_distinct"], [Sliding(HOUR_US, MINUTE_US)])
COUNTS = shape_of(["count"], [Sliding(HOUR_US, MINUTE_US)])
FAR_US = 2**61

Place = tuple[int, int, int]
"""Key number, start, rung."""


def counted(places: list[Place]) -> tuple[np.ndarray, Tiles]:
    """One tile a place, each with as many rows as its number (from 1 on)."""
    rows = np.arange(1, len(places) + 1)
    key, start_us, rung = (np.array([p[i] for p in places], np.int64) for i in range(3))
    return key, Tiles(start_us, rung.astype(np.uint8), rows, (rows.copy(),))


def read(tiles: Tiles) -> list[tuple[int, int, int]]:
    parts = tiles.start_us.tolist(), tiles.rung.tolist(), tiles.rows.tolist()
    return list(zip(*parts, strict=True))


starts = st.one_of(
    st.tuples(st.integers(-50, 50).map(lambda n: n * SECOND_US), st.just(SECOND)),
    st.tuples(st.integers(-9, 9), st.just(INSTANT)),
    st.tuples(st.integers(-3, 3).map(lambda n: n * MINUTE_US), st.just(MINUTE)),
    st.tuples(st.integers(-3, 3).map(lambda n: n * DAY_US), st.just(DAY)),
    st.just((EVER_START_US, EVER)),
    st.tuples(st.sampled_from([-FAR_US, FAR_US]), st.just(INSTANT)),
)
places = st.lists(
    st.tuples(st.integers(0, 3) | st.integers(0, 2**40), starts).map(lambda p: (p[0], *p[1])),
    max_size=25,
)


@settings(print_blob=True)
@given(places)
def test_law_sort_order_is_by_key_then_start_then_rung(places):
    """Packed into one integer where that fits, and by a lexicographic sort where it does not."""
    key, tiles = counted(places)
    order = sort_order(key, tiles.start_us, tiles.rung)
    assert sorted(order.tolist()) == list(range(len(places)))
    assert [places[i] for i in order.tolist()] == sorted(places)


@pytest.mark.parametrize(
    ("places", "is_packed"),
    [
        ([(0, 0, SECOND), (1, SECOND_US, SECOND)], True),
        ([(0, EVER_START_US, EVER), (2**30, FAR_US, SECOND)], True),
        ([(0, -FAR_US, INSTANT), (0, FAR_US, INSTANT)], False),
        ([(2**61, 0, SECOND), (0, 1000 * SECOND_US, SECOND)], False),
    ],
)
def test_sort_order_falls_back_where_one_integer_cannot_hold_all_three(
    places, is_packed, monkeypatch
):
    calls = []
    lexsort = np.lexsort
    monkeypatch.setattr(module.np, "lexsort", lambda keys: (calls.append(1), lexsort(keys))[1])
    key, tiles = counted(places)
    order = sort_order(key, tiles.start_us, tiles.rung)
    assert [places[i] for i in order.tolist()] == sorted(places)
    assert bool(calls) != is_packed


def test_sort_order_of_ever_tiles_alone_is_by_key():
    key, tiles = counted([(2, EVER_START_US, EVER), (0, EVER_START_US, EVER)])
    assert sort_order(key, tiles.start_us, tiles.rung).tolist() == [1, 0]


def test_group_merges_equal_tiles_and_leaves_others_apart():
    second = (0, 0, SECOND)
    key, tiles = counted([second, (1, 0, SECOND), second, (0, 0, MINUTE), (0, 0, INSTANT)])
    keys, merged = group(COUNTS, key, tiles)
    assert keys.tolist() == [0, 0, 0, 1]
    assert read(merged) == [(0, INSTANT, 5), (0, SECOND, 1 + 3), (0, MINUTE, 4), (0, SECOND, 2)]


events = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-3 * SECOND_US, 3 * SECOND_US), st.floats(-9, 9)),
    min_size=1,
    max_size=30,
)
KEYS = [b"a", b"b", b"c"]


def same(one: Tiles, other: Tiles) -> bool:
    columns = zip(one.columns, other.columns, strict=True)
    return read(one) == read(other) and all(
        (a == b).all() if isinstance(a, np.ndarray) else a.equals(b) for a, b in columns
    )


@settings(print_blob=True, deadline=None)
@given(events, st.randoms(use_true_random=False))
def test_law_group_does_not_depend_on_the_order_of_its_tiles(events, chance):
    keyed = lift_events(SHAPE, KEYS, events * 2)
    order = list(range(len(keyed.tiles)))
    chance.shuffle(order)
    shuffled = np.array(order, np.int64)
    key, tiles = group(SHAPE, keyed.key_of_tile[shuffled], keyed.tiles.take(shuffled))
    assert key.tolist() == keyed.key_of_tile.tolist()
    assert same(tiles, keyed.tiles)


@settings(print_blob=True, deadline=None)
@given(events, events)
def test_law_group_gives_what_reducing_all_of_them_gives(events, others):
    """Though of tiles with states of bytes only those are reduced that others are equal to."""
    one, other = lift_events(SHAPE, KEYS, events), lift_events(SHAPE, KEYS, others)
    key = np.concatenate((one.key_of_tile, other.key_of_tile))
    tiles = concat_tiles([one.tiles, other.tiles])
    order = sort_order(key, tiles.start_us, tiles.rung)
    runs = Runs.of_changes(key[order], tiles.start_us[order])
    keys, grouped = group(SHAPE, key, tiles)
    assert keys.tolist() == key[order][runs.starts].tolist()
    assert same(grouped, reduce_tiles(SHAPE, tiles.take(order), runs))


@settings(print_blob=True, deadline=None)
@given(events, st.integers(0, 30))
def test_law_merging_two_parts_is_lifting_them_together(events, cut):
    """But for the last bits of a float's low word: so the sums are of quarters here."""
    events = [(key, at_us, round(x * 4) / 4) for key, at_us, x in events]
    cut = min(cut, len(events))
    parts = [
        lift_events(SHAPE, KEYS, part, first_offset=begin)
        for begin, part in ((0, events[:cut]), (cut, events[cut:]))
    ]
    merged, whole = merge_keyed(SHAPE, parts), lift_events(SHAPE, KEYS, events)
    assert merged.keys.to_pylist() == KEYS
    assert merged.bounds.tolist() == whole.bounds.tolist()
    assert merged.newest_us.tolist() == whole.newest_us.tolist()
    assert same(merged.tiles, whole.tiles)


def test_merge_keyed_knows_keys_by_their_bytes_and_keeps_the_newest_event():
    one = lift_events(COUNTS, [b"a", b"b"], [(0, 5, 1.0), (1, 9, 1.0)])
    other = lift_events(COUNTS, [b"b", b"c"], [(0, 7, 1.0), (1, 1, 1.0)])
    merged = merge_keyed(COUNTS, [one, other])
    assert merged.keys.to_pylist() == [b"a", b"b", b"c"]
    assert merged.newest_us.tolist() == [5, 9, 1]
    assert read(merged.tiles) == [(0, SECOND, 1), (0, SECOND, 2), (0, SECOND, 1)]


def test_merge_keyed_of_one_part_is_that_part():
    one = lift_events(COUNTS, [b"a"], [(0, 5, 1.0)])
    assert merge_keyed(COUNTS, [one]) is one


def test_take_repeats_and_reorders_keys_with_their_tiles():
    keyed = lift_events(SHAPE, KEYS, [(0, 0, 1.0), (0, SECOND_US, 2.0), (2, 0, 3.0)])
    taken = keyed.take(np.array([2, 0, 0, 1]))
    assert taken.keys.to_pylist() == [b"c", b"a", b"a", b"b"]
    assert taken.bounds.tolist() == [0, 1, 3, 5, 5]
    assert taken.newest_us.tolist() == [0, SECOND_US, SECOND_US, NEVER_US]
    assert taken.key_of_tile.tolist() == [0, 1, 1, 2, 2]
    assert taken.tiles.start_us.tolist() == [0, 0, SECOND_US, 0, SECOND_US]


def test_slice_is_take_of_neighbours():
    keyed = lift_events(SHAPE, KEYS, [(0, 0, 1.0), (1, SECOND_US, 2.0), (1, 0, 3.0), (2, 0, 1.0)])
    sliced, taken = keyed.slice(1, 3), keyed.take(np.array([1, 2]))
    assert sliced.keys.to_pylist() == taken.keys.to_pylist()
    assert sliced.bounds.tolist() == taken.bounds.tolist()
    assert same(sliced.tiles, taken.tiles)
    assert len(keyed.slice(1, 1)) == len(keyed.slice(1, 1).tiles) == 0


def test_end_of_a_tile_is_its_start_and_width_and_of_the_ever_tile_its_start():
    _, tiles = counted([(0, -MINUTE_US, MINUTE), (0, 7, INSTANT), (0, EVER_START_US, EVER)])
    assert tiles.end_us.tolist() == [0, 8, EVER_START_US]


def test_empty_tiles_have_every_column_and_join_with_others():
    nothing = empty_tiles(SHAPE)
    assert len(nothing) == 0
    assert len(nothing.columns) == len(SHAPE.fields)
    some = lift_events(SHAPE, KEYS, [(0, 0, 1.0)]).tiles
    assert same(concat_tiles([nothing, some, nothing]), some)
    assert concat_tiles([some]) is some
    key, merged = group(SHAPE, np.empty(0, np.int64), nothing)
    assert len(key) == len(merged) == 0


def test_bounds_of_gives_keys_without_tiles_an_empty_range():
    assert bounds_of(np.array([1, 1, 3]), 5).tolist() == [0, 0, 2, 2, 3, 3]
    assert bounds_of(np.empty(0, np.int64), 2).tolist() == [0, 0, 0]


def test_take_column_takes_numbers_and_bytes_alike():
    indices = np.array([1, 1, 0])
    assert take_column(np.array([5, 6]), indices).tolist() == [6, 6, 5]
    column = pa.array([b"x", b""], pa.large_binary())
    assert take_column(column, indices).to_pylist() == [b"", b"", b"x"]


def test_key_of_tile_numbers_each_tile_by_its_key():
    keyed = KeyedTiles(
        pa.array([b"a", b"b"], pa.large_binary()),
        np.array([0, 0, 2]),
        np.array([NEVER_US, 0]),
        counted([(1, 0, SECOND), (1, SECOND_US, SECOND)])[1],
    )
    assert keyed.key_of_tile.tolist() == [1, 1]
