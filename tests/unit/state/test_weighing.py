"""Weighing keys: a sample that goes round, and sizes that are those of the rows."""

from __future__ import annotations

import pytest

from tegula.state import weighing
from tegula.state.weighing import Scales, Weight, bytes_of
from tegula.windows.geometry import Sliding
from tests.support.shapes import HOUR, MINUTE, shape_of
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
