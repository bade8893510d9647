"""Covers: what stands for a tile that an edge cuts, and when nothing may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.cover import Cover, cover
from tegula.windows.geometry import Sliding
from tegula.windows.ladder import EVER, EVER_START_US, HOUR, INSTANT, SECOND, WIDTH_US
from tegula.windows.tiles import KeyedTiles, Tiles, concat_tiles
from tests.support import shapes
from tests.support.shapes import lift_events, shape_of

SHAPE = shape_of(["count"], [Sliding(shapes.HOUR, 1)])
NOON = 12 * shapes.HOUR


def instants(*events: tuple[int, int]) -> KeyedTiles:
    """Instants of two keys, from (key, time)."""
    return lift_events(SHAPE, [b"a", b"b"], [(key, at_us, 1.0) for key, at_us in events])


def coarse(keyed: KeyedTiles, rung: int) -> KeyedTiles:
    """One tile of each key that has instants, of the rung, at noon, with all their rows."""
    tiles = keyed.tiles
    first = keyed.bounds[:-1][np.diff(keyed.bounds) > 0]
    starts = np.full(len(first), EVER_START_US if rung == EVER else NOON)
    one = Tiles(
        starts,
        np.full(len(first), rung, np.uint8),
        np.add.reduceat(tiles.rows, first),
        tuple(np.add.reduceat(column, first) for column in tiles.columns),
    )
    bounds = np.concatenate(([0], np.cumsum(np.diff(keyed.bounds) > 0)))
    return KeyedTiles(keyed.keys, bounds, keyed.newest_us, one)


def of(keyed: KeyedTiles, beside: KeyedTiles | None, older_us: int, newer_us: int) -> Cover:
    return cover(keyed, beside, np.full(2, older_us), np.full(2, newer_us))


def rows(found: Cover) -> list[int]:
    return np.bincount(found.key, weights=found.tiles.rows, minlength=2).astype(int).tolist()


ONE = instants((0, NOON + 5), (0, NOON + 20), (1, NOON + 9))


def test_tile_that_the_older_edge_cuts_gives_way_to_its_instants():
    found = of(coarse(ONE, HOUR), ONE, NOON + 6, NOON + shapes.DAY)
    assert (rows(found), found.coarse.tolist()) == ([1, 1], [False, False])
    assert found.start_us.tolist() == [NOON + 6] * 2


def test_tile_that_both_edges_cut_gives_way_to_the_instants_between_them():
    found = of(coarse(ONE, HOUR), ONE, NOON + 6, NOON + 20)
    assert (rows(found), found.coarse.tolist()) == ([0, 1], [False, False])
    assert found.end_us.tolist() == [NOON + 20] * 2


def test_tile_that_the_newer_edge_cuts_gives_way_only_where_something_lies_past_it():
    found = of(coarse(ONE, HOUR), ONE, NOON, NOON + 15)
    assert (rows(found), found.coarse.tolist()) == ([1, 1], [False, False])
    assert found.tiles.rung.tolist() == [INSTANT, HOUR]


def test_tile_whose_instants_are_not_all_there_is_coarse_and_not_counted_in_part():
    """A segment that was dropped, or is not there yet, must never make a number too small."""
    keyed = coarse(ONE, HOUR)
    lacking = instants((0, NOON + 20), (1, NOON + 9))
    found = of(keyed, lacking, NOON + 6, NOON + shapes.DAY)
    assert (rows(found), found.coarse.tolist()) == ([0, 1], [True, False])
    assert found.start_us.tolist() == [NOON + shapes.HOUR, NOON + 6]
    assert found.touched.tolist() == [True, False]


def test_without_instants_a_cut_tile_is_coarse():
    found = of(coarse(ONE, HOUR), None, NOON + 6, NOON + shapes.DAY)
    assert (rows(found), found.coarse.tolist()) == ([0, 0], [True, True])


def test_instants_of_tiles_that_no_edge_cuts_add_nothing():
    found = of(coarse(ONE, HOUR), ONE, NOON, NOON + shapes.HOUR)
    assert rows(found) == [2, 1]


def test_the_ever_tile_is_cut_by_nothing():
    found = of(coarse(ONE, EVER), ONE, EVER_START_US, NOON + 7)
    assert rows(found) == [2, 1]


def test_tiles_that_overlap_are_not_refined_because_nothing_tells_whose_the_instants_are():
    keyed, twice = coarse(ONE, HOUR), coarse(ONE, SECOND)
    order = np.array([0, 2, 1, 3])
    both = concat_tiles([keyed.tiles, twice.tiles]).take(order)
    overlapping = KeyedTiles(keyed.keys, np.array([0, 2, 4]), keyed.newest_us, both)
    assert of(overlapping, ONE, NOON + 6, NOON + shapes.DAY).coarse.tolist() == [True, True]


@given(
    events=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40)), min_size=1, max_size=20),
    older=st.integers(-2, 42),
    newer=st.integers(-2, 42) | st.just(shapes.DAY),
    rung=st.sampled_from([SECOND, HOUR]),
)
def test_law_a_cover_with_all_instants_counts_what_lies_between_the_edges(
    events, older, newer, rung
):
    beside = instants(*((key, NOON + at) for key, at in events))
    found = of(coarse(beside, rung), beside, NOON + older, NOON + newer)
    expected = [sum(key == one and older <= at < newer for one, at in events) for key in (0, 1)]
    assert rows(found) == expected
    assert not found.coarse.any()
    assert (found.tiles.start_us + WIDTH_US[found.tiles.rung] > NOON + older).all()


@pytest.mark.parametrize("older_us", [NOON - shapes.HOUR, NOON])
def test_keys_stay_in_order_where_instants_of_some_are_put_in(older_us):
    found = of(coarse(ONE, HOUR), ONE, older_us, NOON + 9)
    assert found.key.tolist() == sorted(found.key.tolist())
