"""Segments: the instants behind coarse tiles, all of them, for as long as an edge may cut those."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.outcomes import Status
from tegula.state import segments as module
from tegula.state.packing import tile_count
from tegula.state.rows import segment_number
from tegula.windows.geometry import Lifetime, Sliding
from tegula.windows.ladder import HOUR, INSTANT, MINUTE, SECOND
from tegula.windows.tiles import NEVER_US
from tests.oracle import naive
from tests.support import shapes
from tests.support.shapes import facts, shape_of
from tests.support.stores import Feeder, instants_of, open_shard

SECOND_US, MINUTE_US, HOUR_US, DAY_US = shapes.SECOND, shapes.MINUTE, shapes.HOUR, shapes.DAY
SHAPE = shape_of(["count", "sum"], [Sliding(2 * HOUR_US, 1)])
EVERYTHING = shape_of(["count"], [Sliding(2 * HOUR_US, 1), Sliding(HOUR_US, MINUTE_US), Lifetime()])
NOON = 12 * HOUR_US


@pytest.fixture
def feeder(tmp_path: Path) -> Iterator[Feeder]:
    made = Feeder(open_shard(tmp_path / "shard"), SHAPE)
    yield made
    made.shard.abandon()


def instants(feeder: Feeder, key: bytes = b"a") -> dict[tuple[int, int], list[int]]:
    """Event times by hour and place of the segment."""
    return {
        place: instants_of(feeder.shape, [block]).tiles.start_us.tolist()
        for place, block in feeder.segments(key).items()
    }


def check(feeder: Feeder, key: bytes = b"a") -> None:
    """Segments of kept hours add up to the coarse tiles, second by second or coarser."""
    blocks = list(feeder.segments(key).values())
    found: Counter[int] = Counter()
    tiles = instants_of(feeder.shape, blocks).tiles
    for at_us, rows in zip(tiles.start_us.tolist(), tiles.rows.tolist(), strict=True):
        found[at_us // HOUR_US] += rows
    coarse: Counter[int] = Counter()
    for start_us, rung, rows in feeder.tiles(key):
        if rung in (SECOND, MINUTE, HOUR):
            coarse[start_us // HOUR_US] += rows
    assert {hour: coarse[hour] for hour in found} == dict(found)


def test_fold_keeps_seconds_in_the_head_and_the_instants_beside(feeder):
    feeder.commit([(b"a", NOON + 1, 1.0), (b"a", NOON + 2, 1.0), (b"b", NOON, 1.0)])
    assert [rung for _, rung, _ in feeder.tiles(b"a")] == [INSTANT, INSTANT]
    assert feeder.segments(b"a") == {}
    feeder.fold([b"a"], NOON)
    assert feeder.tiles(b"a") == [(NOON, SECOND, 2)]
    assert instants(feeder) == {(12, 0): [NOON + 1, NOON + 2]}
    assert feeder.segments(b"b") == {}


def test_fold_appends_to_the_segment_of_the_hour_in_order_of_time(feeder):
    feeder.commit([(b"a", NOON + 5, 1.0), (b"a", NOON + HOUR_US, 1.0)])
    feeder.fold([b"a"], NOON)
    feeder.commit([(b"a", NOON + 3, 1.0), (b"a", NOON + 9, 1.0)])
    feeder.fold([b"a"], NOON)
    assert instants(feeder) == {
        (12, 0): [NOON + 3, NOON + 5, NOON + 9],
        (13, 0): [NOON + HOUR_US],
    }
    check(feeder)


def test_the_same_instant_twice_is_one_with_both_rows(feeder):
    for _ in range(2):
        feeder.commit([(b"a", NOON + 5, 2.0)])
        feeder.fold([b"a"], NOON)
    (block,) = feeder.segments(b"a").values()
    tiles = instants_of(SHAPE, [block]).tiles
    assert (tiles.start_us.tolist(), tiles.rows.tolist()) == ([NOON + 5], [2])


def test_segment_that_is_full_is_left_as_it_is_and_the_next_one_begun(feeder, monkeypatch):
    monkeypatch.setattr(module, "ROW_INSTANTS", 4)
    feeder.commit([(b"a", NOON + n, 1.0) for n in range(3)])
    feeder.fold([b"a"], NOON)
    feeder.commit([(b"a", NOON + 10 + n, 1.0) for n in range(7)])
    feeder.fold([b"a"], NOON)
    full = feeder.segments(b"a")
    assert [(place, tile_count(block)) for place, block in full.items()] == [
        ((12, 0), 4),
        ((12, 1), 4),
        ((12, 2), 2),
    ]
    feeder.commit([(b"a", NOON + 4, 1.0)])
    feeder.fold([b"a"], NOON)
    after = feeder.segments(b"a")
    assert [after[place] == full[place] for place in full] == [True, True, False]
    assert instants(feeder)[12, 2] == [NOON + 4, NOON + 15, NOON + 16]
    check(feeder)


def test_segment_that_became_full_exactly_is_followed_by_a_next_one(feeder, monkeypatch):
    monkeypatch.setattr(module, "ROW_INSTANTS", 4)
    for begin in (0, 10):
        feeder.commit([(b"a", NOON + begin + n, 1.0) for n in range(4)])
        feeder.fold([b"a"], NOON)
    assert [place for place, _ in feeder.segments(b"a").items()] == [(12, 0), (12, 1)]


def test_late_event_behind_the_horizon_counts_from_its_chunk_and_then_from_its_segment(feeder):
    feeder.commit([(b"a", NOON + 7, 1.0)])
    feeder.fold([b"a"], NOON + HOUR_US)
    feeder.commit([(b"a", NOON + 3, 1.0)])
    edges = NOON + 2 * HOUR_US + np.array([3, 4, 7, 8])
    before = [feeder.values(b"a", int(at_us))[0].values for at_us in edges]
    feeder.fold([b"a"], NOON + HOUR_US)
    assert feeder.tiles(b"a") == [(NOON, HOUR, 2)]
    after = [feeder.values(b"a", int(at_us))[0].values for at_us in edges]
    assert before == after == [[2], [1], [1], [0]]


def test_segment_goes_once_no_edge_reaches_its_hour(feeder):
    feeder.commit([(b"a", NOON + 1, 1.0), (b"a", NOON + HOUR_US, 1.0)])
    feeder.fold([b"a"], NOON + 3 * HOUR_US - SECOND_US)
    assert list(instants(feeder)) == [(12, 0), (13, 0)]
    folded = feeder.fold([b"a"], NOON + 3 * HOUR_US)
    assert list(instants(feeder)) == [(13, 0)]
    assert folded.segments == [(b"a", segment_number(12, 0), None)]
    check(feeder)


def test_late_event_of_an_hour_that_no_edge_reaches_gets_no_segment(feeder):
    feeder.commit([(b"a", NOON + 3 * HOUR_US, 1.0)])
    feeder.fold([b"a"], NOON + 3 * HOUR_US)
    feeder.commit([(b"a", NOON + HOUR_US - 1, 1.0)])
    feeder.fold([b"a"], NOON + 3 * HOUR_US)
    assert list(instants(feeder)) == [(15, 0)]


def test_key_that_is_swept_leaves_no_segment(feeder):
    feeder.commit([(b"a", NOON, 1.0), (b"ab", NOON, 1.0)])
    feeder.fold([b"a", b"ab"], NOON)
    feeder.fold([b"a"], NOON + DAY_US)
    assert instants(feeder) == {}
    assert list(instants(feeder, b"ab")) == [(12, 0)]
    assert feeder.shard.scan_keys(1, b"", 10) == [b"ab"]


def test_builds_without_fine_edges_have_no_segments(tmp_path):
    feeder = Feeder(open_shard(tmp_path), shape_of(["count"], [Sliding(HOUR_US, MINUTE_US)]))
    feeder.commit([(b"a", NOON + 5, 1.0)])
    folded = feeder.fold([b"a"], NOON)
    assert (feeder.segments(b"a"), folded.segments) == ({}, [])
    feeder.shard.abandon()


def test_outbox_names_the_segments_that_a_fold_wrote_or_dropped(feeder):
    feeder.commit([(b"a", NOON, 1.0), (b"b", NOON, 1.0)])
    feeder.fold([b"nobody", b"a"], NOON)
    _, (_, touched) = feeder.shard.outbox.read().entries
    assert list(touched[0].segments) == [(), (segment_number(12, 0),)]
    feeder.fold([b"a"], NOON + 3 * HOUR_US)
    _, _, (_, touched) = feeder.shard.outbox.read().entries
    assert list(touched[0].segments) == [(segment_number(12, 0),)]


def test_drop_build_takes_segments_too(feeder):
    feeder.commit([(b"a", NOON, 1.0)])
    feeder.fold([b"a"], NOON)
    feeder.shard.drop_build(1)
    assert feeder.segments(b"a") == {}


def test_head_is_measured_in_seconds_and_not_in_instants(feeder):
    """Else a busy second would move the horizon on, past what `as_of` may ask for."""
    feeder.commit([(b"a", NOON + n, 1.0) for n in range(2000)])
    feeder.fold([b"a"], NOON - HOUR_US)
    assert feeder.tiles(b"a") == [(NOON, SECOND, 2000)]
    (column, _) = feeder.values(b"a", NOON + 1000)
    assert (column.values, column.statuses.tolist()) == ([1000], [Status.PRESENT])


times_us = st.one_of(
    st.integers(0, 40).map(lambda n: NOON + n * 700_000_001),
    st.integers(0, 40).map(lambda n: NOON + n * 300_000),
    st.integers(0, DAY_US),
)
steps = st.one_of(
    st.lists(st.tuples(st.just(b"a"), times_us, st.integers(-9, 9).map(float)), max_size=9),
    times_us,
)


@given(
    steps=st.lists(steps, min_size=1, max_size=12),
    at=st.lists(times_us, min_size=1, max_size=4),
    row_instants=st.sampled_from([2, 5, 4096]),
)
def test_law_exact_edges_stay_exact_whenever_chunks_were_folded(
    tmp_path_factory, steps, at, row_instants
):
    feeder = Feeder(open_shard(tmp_path_factory.mktemp("shard")), EVERYTHING)
    events, horizon_us = [], NEVER_US
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROW_INSTANTS", row_instants)
        for step in steps:
            if isinstance(step, int):
                feeder.fold([b"a"], step)
                horizon_us = max(horizon_us, step)
            else:
                feeder.commit(step)
                events.extend(step)
            check(feeder)
    raw = [naive.Event(when, 0, place, value) for place, (_, when, value) in enumerate(events)]
    edges = [when + 2 * HOUR_US + add for _, when, _ in events for add in (0, 1)]
    for at_us in [*at, *edges, *(when for _, when, _ in events)]:
        if at_us < horizon_us:
            continue
        for feature, column in zip(EVERYTHING.features, feeder.values(b"a", at_us), strict=True):
            assert column.values == [naive.value("count", facts(feature.window), raw, at_us)]
            assert Status.COARSE not in column.statuses
    feeder.shard.abandon()
