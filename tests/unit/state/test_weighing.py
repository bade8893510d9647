"""Weighing keys: a sample that goes round, and sizes that are those of the rows."""

from __future__ import annotations

import pytest

from tegula.state import bodies, weighing
from tegula.state.weighing import Scales, Weight, bytes_of
from tegula.windows.geometry import Sliding
from tests.support.shapes import DAY, HOUR, MINUTE, shape_of
from tests.support.stores import Feeder, open_shard

SHAPE = shape_of(["count", "sum"], [Sliding(HOUR, MINUTE)])


@pytest.fixture
def feeder(tmp_path):
    shard = open_shard(tmp_path)
    yield Feeder(shard, SHAPE)
    shard.close()


def test_a_build_without_keys_has_no_weight(feeder):
    scales = Scales()
    scales.turn([feeder.shard], [1])
    assert scales.weight(1) is None
    scales.turn([], [1])


def test_the_weight_of_keys_is_that_of_their_values(feeder):
    feeder.commit([(b"a", 1, 1.0), (b"b", 1, 1.0), (b"b", 2 * HOUR, 1.0)])
    sizes = [bytes_of(one) for one in feeder.shard.read_keys(1, [b"a", b"b"])]
    assert 0 < sizes[0] < sizes[1]
    scales = Scales()
    scales.turn([feeder.shard], [1])
    assert scales.weight(1) == Weight(2, round(sum(sizes) / 2), sizes[1])


def test_a_body_that_is_split_and_segments_weigh_too(tmp_path, monkeypatch):
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 0)
    exact = shape_of(["count", "sum"], [Sliding(HOUR, 1), Sliding(DAY, HOUR)])
    feeder = Feeder(open_shard(tmp_path / "exact"), exact)
    feeder.commit([(b"a", n * MINUTE, 1.0) for n in range(600)])
    feeder.fold([b"a"], 595 * MINUTE)
    (stored,) = feeder.shard.read_keys(1, [b"a"])
    assert len(stored.parts) == 2
    segments = [len(block) for block in feeder.segments(b"a").values()]
    expected = len(stored.head) + len(stored.body) + sum(map(len, stored.parts.values()))
    scales = Scales()
    scales.turn([feeder.shard], [1])
    assert scales.weight(1) == Weight(1, *[expected + sum(segments)] * 2)
    assert segments
    feeder.shard.close()


def test_a_turn_that_read_much_goes_on_where_it_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(weighing, "TURN_BYTES", 1)
    feeder = Feeder(open_shard(tmp_path / "exact"), shape_of(["count"], [Sliding(HOUR, 1)]))
    names = [b"a", b"b", b"c"]
    for place, name in enumerate(names):
        feeder.commit([(name, n, 1.0) for n in range(1 + place)])
    feeder.fold(names, MINUTE)
    scales, found = Scales(), []
    for _ in range(5):
        scales.turn([feeder.shard], [1])
        found.append((scales.weight(1).sampled, scales.weight(1).greatest_bytes))
    assert [sampled for sampled, _ in found] == [1, 2, 3, 4, 5]
    assert found[0][1] < found[1][1] < found[2][1] == found[3][1]
    feeder.shard.close()


def test_turns_go_round_all_keys(feeder, monkeypatch):
    monkeypatch.setattr(weighing, "TURN_KEYS", 2)
    feeder.commit([(name, 1, 1.0) for name in (b"a", b"b", b"c")])
    feeder.commit([(b"c", n * MINUTE, 1.0) for n in range(40)])
    scales = Scales()
    scales.turn([feeder.shard], [1])
    (light,) = {scales.weight(1).greatest_bytes}
    scales.turn([feeder.shard], [1])
    assert scales.weight(1).sampled == 3
    assert scales.weight(1).greatest_bytes > light


def test_a_build_that_is_gone_is_forgotten(feeder):
    feeder.commit([(b"a", 1, 1.0)])
    scales = Scales()
    scales.turn([feeder.shard], [1])
    scales.turn([feeder.shard], [])
    assert scales.weight(1) is None
