"""Comparing two states: the same however they were folded, and told apart by one event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tegula.backfill.comparing import Difference, compare, side_of
from tegula.backfill.tilewise import Settled, counts_differ, states_differ, tile_name
from tegula.windows.geometry import Lifetime, Sliding
from tegula.windows.ladder import CIVIL, EVER, EVER_START_US
from tegula.windows.tiles import NEVER_US
from tests.support.shapes import HOUR, MINUTE, SECOND, shape_of
from tests.support.stores import Feeder, open_shard

SHAPE = shape_of(["count", "sum", "last"], [Sliding(HOUR, MINUTE), Lifetime()])
EXACT = shape_of(["count", "sum"], [Sliding(HOUR, 1)])
NOON = 12 * HOUR
Event = tuple[bytes, int, float]


@pytest.fixture(params=[SHAPE, EXACT], ids=["tiles", "segments"])
def shape(request):
    return request.param


@pytest.fixture
def pair(tmp_path: Path, shape) -> Iterator[tuple[Feeder, Feeder]]:
    made = [Feeder(open_shard(tmp_path / name), shape) for name in ("one", "two")]
    yield made[0], made[1]
    for feeder in made:
        feeder.shard.abandon()


def events(count: int, seed: int) -> list[Event]:
    chance = np.random.default_rng(seed)
    return [
        (b"ab"[n % 2 : n % 2 + 1], NOON + int(at), float(chance.uniform(-1e6, 1e6)))
        for n, at in enumerate(chance.integers(0, 3 * HOUR, count))
    ]


def differences(
    pair: Sequence[Feeder], keys: Sequence[bytes] = (b"a", b"b"), latest_us: int = NEVER_US
) -> list[Difference]:
    sides = [side_of(one.shape, 1, keys, one.shard.read_keys(1, keys), one.shard) for one in pair]
    return list(compare(pair[0].shape, sides[0], sides[1], 3, latest_us))


def test_how_a_state_was_folded_makes_no_difference(pair, seed):
    one, two = pair
    many = events(300, seed)
    one.commit(many)
    one.fold([b"a", b"b"], NOON + 2 * HOUR)
    for first in range(0, 300, 37):
        two.commit(many[first : first + 37])
        if first % 2:
            two.fold([b"a"], NOON + first * SECOND)
    assert differences(pair) == []
    assert differences((two, one)) == []


@pytest.mark.parametrize("shape", [SHAPE])
def test_coarse_tile_that_is_kept_longer_than_a_finer_one_makes_no_difference(pair):
    """Within the minute no window ends any more; the whole minute goes when its end is past."""
    one, two = pair
    for feeder in pair:
        feeder.commit([(b"a", NOON + 5 * SECOND, 1.0), (b"b", NOON, 1.0)])
    two.fold([b"a"], NOON + HOUR // 2)
    for feeder in pair:
        feeder.fold([b"a", b"b"], NOON + HOUR + MINUTE + 30 * SECOND)
    assert differences(pair) == []
    assert differences((two, one)) == []


@pytest.mark.parametrize("shape", [shape_of(["count", "sum"], [Sliding(HOUR, MINUTE)]), EXACT])
def test_key_that_a_fold_left_nothing_of_is_compared_from_its_new_events_on(pair):
    """No row tells its horizon any more; that it may have been folded, all other keys tell."""
    one, _ = pair
    late = NOON + 10 * HOUR
    for feeder in pair:
        feeder.commit([(b"a", NOON, 1.0)])
    one.fold([b"a"], late)
    for feeder in pair:
        feeder.commit([(b"a", late, 2.0)])
    assert len(differences(pair)) == 1
    assert differences(pair, latest_us=late) == []


def test_one_event_more_is_found_and_told_where(pair, seed):
    one, two = pair
    many = events(200, seed)
    one.commit([*many, (b"a", NOON + 3 * HOUR - 1, 5.0)])
    two.commit(many)
    for feeder in pair:
        feeder.fold([b"a", b"b"], NOON + HOUR)
    found = differences(pair)
    assert {one.place for one in found} == {0}
    assert all("events stored" in one.cause for one in found)
    assert any(one.feature is not None and one.at_us is not None for one in found)


def test_another_value_that_counts_the_same_is_found(pair, seed):
    one, two = pair
    many = events(200, seed)
    newest = max(many, key=lambda event: event[1])
    changed = [(key, at, value + (at == newest[1])) for key, at, value in many]
    one.commit(changed)
    two.commit(many)
    for feeder in pair:
        feeder.fold([b"a", b"b"], NOON + 2 * HOUR)
    found = differences(pair)
    assert found
    assert {one.place for one in found} == {b"ab".index(newest[0])}


def test_key_that_one_side_has_not_is_named_so(pair):
    one, two = pair
    one.commit([(b"a", NOON, 1.0)])
    two.commit([(b"b", NOON, 1.0)])
    causes = {found.place: found.cause for found in differences(pair)}
    assert "rows of this key, of which there are no events" in causes[0]
    assert "no row of this key" in causes[1]


def test_states_are_told_apart_tile_by_tile(pair, shape):
    one, two = pair
    one.commit([(b"a", NOON, 1.0), (b"a", NOON + MINUTE, 2.0)])
    two.commit([(b"a", NOON, 1.0), (b"a", NOON + MINUTE, 2.5)])
    sides = [
        side_of(shape, 1, [b"a"], feeder.shard.read_keys(1, [b"a"]), feeder.shard)
        for feeder in pair
    ]
    horizon = np.array([NOON])
    settled = [Settled.of(shape, side.gathered, horizon) for side in sides]
    assert counts_differ(settled[0], settled[1], 1) == {}
    others = list(states_differ(shape, settled[0], settled[1], horizon + HOUR))
    assert {one.place for one in others} == {0}
    assert {one.tile for one in others} == {tile_name(NOON + MINUTE, 1)}
    assert (others[0].stored, others[0].made) == ("2.0", "2.5")


def test_tiles_have_names_that_people_read():
    assert tile_name(EVER_START_US, EVER) == "the tile of all before"
    assert tile_name(NOON, CIVIL + 96).endswith("(1d)")
