"""Folding: nothing a reader can see changes, and what no reader can see goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.outcomes import Status
from tegula.state.fold import HEAD_TILES_MAX, gather
from tegula.state.packing import unpack
from tegula.windows.geometry import Lifetime, Sliding
from tegula.windows.ladder import EVER, EVER_START_US, MINUTE, SECOND
from tegula.windows.tiles import NEVER_US
from tests.oracle import naive
from tests.support import shapes
from tests.support.shapes import facts, shape_of
from tests.support.stores import Feeder, open_shard

SECOND_US, MINUTE_US, HOUR_US, DAY_US = shapes.SECOND, shapes.MINUTE, shapes.HOUR, shapes.DAY
SHAPE = shape_of(["count", "sum", "last"], [Sliding(HOUR_US, MINUTE_US)])
EVERYTHING = shape_of(["count"], [Sliding(HOUR_US, MINUTE_US), Lifetime()])
NOON = 12 * HOUR_US


@pytest.fixture
def feeder(tmp_path: Path) -> Iterator[Feeder]:
    made = Feeder(open_shard(tmp_path / "shard"), SHAPE)
    yield made
    made.shard.abandon()


def stamps(feeder: Feeder, key: bytes) -> tuple[int, int, int]:
    """`folded_through`, horizon, newest event time of a key's head."""
    (stored,) = feeder.shard.read_keys(feeder.build, [key])
    assert stored.head is not None
    blocks = unpack(feeder.shape, [stored.head], stamped=True)
    numbers = blocks.stamps.folded_through, blocks.stamps.horizon_us, blocks.newest_us
    folded_through, horizon_us, newest_us = (int(number[0]) for number in numbers)
    return folded_through, horizon_us, newest_us


def sizes(feeder: Feeder, key: bytes) -> tuple[int, int, int]:
    """Tiles in head and body, and chunks."""
    (stored,) = feeder.shard.read_keys(feeder.build, [key])
    blocks = [
        0 if block is None else len(unpack(feeder.shape, [block], stamped=True).tiles)
        for block in (stored.head, stored.body)
    ]
    return blocks[0], blocks[1], len(stored.chunks)


def test_fold_takes_all_chunks_and_cuts_at_the_horizon(feeder):
    feeder.commit([(b"a", NOON - 1, 1.0), (b"a", NOON, 1.0)])
    feeder.commit([(b"a", NOON + SECOND_US, 1.0)])
    folded = feeder.fold([b"a"], NOON)
    assert sizes(feeder, b"a") == (2, 1, 0)
    assert stamps(feeder, b"a") == (folded.commit, NOON, NOON + SECOND_US)
    assert feeder.tiles(b"a") == [
        (NOON - MINUTE_US, MINUTE, 1),
        (NOON, SECOND, 1),
        (NOON + SECOND_US, SECOND, 1),
    ]


def test_fold_again_changes_nothing_but_its_number(feeder):
    feeder.commit([(b"a", NOON - 1, 1.0), (b"a", NOON, 1.0)])
    feeder.fold([b"a"], NOON)
    before = feeder.tiles(b"a"), sizes(feeder, b"a"), stamps(feeder, b"a")[1:]
    feeder.fold([b"a"], NOON)
    assert (feeder.tiles(b"a"), sizes(feeder, b"a"), stamps(feeder, b"a")[1:]) == before


def test_fold_leaves_keys_alone_that_it_was_not_given(feeder):
    feeder.commit([(b"a", NOON, 1.0), (b"b", NOON, 1.0)])
    feeder.fold([b"a"], NOON)
    assert sizes(feeder, b"b") == (0, 0, 1)


def test_fold_never_moves_a_horizon_back(feeder):
    feeder.commit([(b"a", NOON, 1.0)])
    feeder.fold([b"a"], NOON)
    feeder.fold([b"a"], NOON - HOUR_US)
    assert stamps(feeder, b"a")[1] == NOON


def test_fold_aligns_the_horizon_so_that_no_tile_is_cut(feeder):
    feeder.commit([(b"a", NOON, 1.0)])
    feeder.fold([b"a"], NOON + 999_999)
    assert stamps(feeder, b"a")[1] == NOON
    assert sizes(feeder, b"a") == (1, 0, 0)


def test_fold_without_a_watermark_moves_nothing_into_the_body(feeder):
    feeder.commit([(b"a", NOON - DAY_US, 1.0), (b"a", NOON, 1.0)])
    feeder.fold([b"a"], NEVER_US)
    assert stamps(feeder, b"a")[1] == NEVER_US
    assert sizes(feeder, b"a") == (2, 0, 0)


def test_fold_puts_a_late_event_where_it_belongs_and_it_counted_before(feeder):
    feeder.commit([(b"a", NOON, 1.0)])
    feeder.fold([b"a"], NOON + MINUTE_US)
    feeder.commit([(b"a", NOON + 1, 1.0)])
    at_us = NOON + 2 * MINUTE_US
    assert feeder.values(b"a", at_us)[0].values == [2]
    feeder.fold([b"a"], NOON + MINUTE_US)
    assert feeder.values(b"a", at_us)[0].values == [2]
    assert feeder.tiles(b"a") == [(NOON, MINUTE, 2)]


def test_fold_removes_a_key_of_which_nothing_is_left(feeder):
    feeder.commit([(b"a", NOON, 1.0)])
    folded = feeder.fold([b"a"], NOON + DAY_US)
    assert (folded.heads, folded.bodies) == ([None], [None])
    (stored,) = feeder.shard.read_keys(1, [b"a"])
    assert (stored.head, stored.body, stored.chunks) == (None, None, ())
    assert feeder.shard.scan_keys(1, b"", 10) == []


def test_fold_of_a_key_that_is_not_there_writes_nothing_of_it(feeder):
    folded = feeder.fold([b"nobody"], NOON)
    assert folded.heads == [None]
    assert feeder.shard.scan_keys(1, b"", 10) == []


def test_fold_takes_a_swept_key_back_with_its_next_event(feeder):
    feeder.commit([(b"a", NOON, 1.0)])
    feeder.fold([b"a"], NOON + DAY_US)
    feeder.commit([(b"a", NOON + DAY_US, 1.0)])
    feeder.fold([b"a"], NOON + DAY_US)
    assert feeder.tiles(b"a") == [(NOON + DAY_US, SECOND, 1)]


def test_head_past_its_bound_moves_its_own_horizon_on(feeder):
    over = 40
    events = [(b"a", NOON + n * SECOND_US, 1.0) for n in range(HEAD_TILES_MAX + over)]
    feeder.commit([*events, (b"b", NOON, 1.0)])
    depth_us = SHAPE.depth_us
    last_us = events[-1][1]
    feeder.fold([b"a", b"b"], last_us - depth_us)
    assert sizes(feeder, b"a")[0] <= HEAD_TILES_MAX
    assert stamps(feeder, b"a")[1] == max(NOON + over * SECOND_US, last_us - depth_us)
    assert stamps(feeder, b"b")[1] == last_us - depth_us
    assert feeder.values(b"a", last_us + 1)[0].values == [HEAD_TILES_MAX + over]


def test_head_past_its_bound_moves_on_no_further_than_the_watermark(feeder):
    """Events dated ahead lie past it: a horizon there would make every read coarse."""
    events = [(b"a", NOON + n * SECOND_US, 1.0) for n in range(3 * HEAD_TILES_MAX)]
    feeder.commit(events)
    watermark_us = NOON + 5 * SECOND_US
    feeder.fold([b"a"], watermark_us - SHAPE.depth_us)
    assert stamps(feeder, b"a")[1] == watermark_us
    (column, *_) = feeder.values(b"a", watermark_us)
    assert (column.values, column.statuses.tolist()) == ([5], [Status.PRESENT])


def test_reading_before_the_horizon_says_coarse_where_a_tile_is_cut(feeder):
    feeder.commit([(b"a", NOON + n * SECOND_US, 1.0) for n in range(2 * HEAD_TILES_MAX)])
    feeder.fold([b"a"], NOON + HOUR_US - SHAPE.depth_us)
    horizon_us = stamps(feeder, b"a")[1]
    assert feeder.values(b"a", horizon_us)[0].statuses.tolist() == [Status.PRESENT]
    before = feeder.values(b"a", horizon_us - 3 * MINUTE_US + SECOND_US)[0]
    assert before.statuses.tolist() == [Status.COARSE]


def test_fold_keeps_everything_where_a_window_reads_everything(tmp_path):
    feeder = Feeder(open_shard(tmp_path / "shard"), EVERYTHING)
    feeder.commit([(b"a", NOON, 1.0), (b"a", NOON + 900 * DAY_US, 1.0)])
    feeder.fold([b"a"], NOON + 901 * DAY_US)
    assert feeder.tiles(b"a") == [(EVER_START_US, EVER, 2)]
    assert feeder.values(b"a", NOON + 902 * DAY_US)[1].values == [2]
    feeder.shard.abandon()


def test_gather_merges_heads_bodies_and_chunks_of_many_keys(feeder):
    feeder.commit([(b"a", NOON, 1.0), (b"b", NOON, 1.0)])
    feeder.fold([b"a"], NOON + HOUR_US)
    feeder.commit([(b"a", NOON, 1.0), (b"c", NOON, 1.0)])
    keys = [b"c", b"nobody", b"a", b"b"]
    gathered = gather(SHAPE, keys, feeder.shard.read_keys(1, keys))
    rows = np.bincount(gathered.key, weights=gathered.tiles.tiles.rows, minlength=4)
    assert rows.tolist() == [1, 0, 2, 1]
    assert gathered.horizon_us.tolist() == [NEVER_US, NEVER_US, NOON + HOUR_US, NEVER_US]


times_us = st.integers(0, 600).map(lambda n: NOON + n * 7_300_000) | st.integers(0, 2 * DAY_US)
steps = st.one_of(
    st.lists(st.tuples(st.just(b"a"), times_us, st.integers(-9, 9).map(float)), max_size=6),
    times_us,
)


@given(steps=st.lists(steps, min_size=1, max_size=12), at_us=times_us)
def test_law_no_answer_from_the_horizon_on_depends_on_when_chunks_were_folded(
    tmp_path_factory, steps, at_us
):
    feeder = Feeder(open_shard(tmp_path_factory.mktemp("shard")), EVERYTHING)
    events, horizon_us = [], NEVER_US
    for step in steps:
        if isinstance(step, int):
            feeder.fold([b"a"], step)
            horizon_us = max(horizon_us, step)
        else:
            feeder.commit(step)
            events.extend(step)
    at_us = max(at_us, horizon_us, *(when + SECOND_US for _, when, _ in events), 0)
    raw = [naive.Event(when, 0, place, value) for place, (_, when, value) in enumerate(events)]
    for feature, column in zip(EVERYTHING.features, feeder.values(b"a", at_us), strict=True):
        assert column.values == [naive.value("count", facts(feature.window), raw, at_us)]
        assert Status.COARSE not in column.statuses
    feeder.shard.abandon()
