"""Replacing keys by what was made elsewhere: all their rows, in one commit, told to the mirror."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tegula.state import bodies
from tegula.state.mending import replace_keys
from tegula.state.rows import HEAD_SUFFIX, build_prefix, segment_number, segment_suffix
from tegula.windows.geometry import Sliding
from tests.support.shapes import HOUR, MINUTE, shape_of
from tests.support.stores import Feeder, open_shard

SHAPE = shape_of(["count", "sum"], [Sliding(HOUR, 1)])
NOON = 12 * HOUR
LATER = NOON + 3 * HOUR


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Feeder]:
    feeder = Feeder(open_shard(tmp_path / "made", incarnation=1), SHAPE)
    feeder.commit([(b"a", NOON + i * MINUTE, 1.0) for i in range(90)])
    feeder.fold([b"a"], NOON + HOUR)
    yield feeder
    feeder.shard.abandon()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Feeder]:
    feeder = Feeder(open_shard(tmp_path / "home", incarnation=5), SHAPE)
    feeder.commit([(key, NOON + i * MINUTE, 9.0) for i in range(50) for key in (b"a", b"b")])
    feeder.fold([b"a", b"b"], NOON + HOUR)
    feeder.commit([(b"a", NOON, 9.0), (b"b", NOON, 9.0)])
    yield feeder
    feeder.shard.abandon()


@pytest.mark.parametrize("split", [1 << 16, 64])
def test_replaced_key_is_what_was_made_and_others_stay(made, home, split, monkeypatch):
    monkeypatch.setattr(bodies, "SPLIT_BYTES", split)
    made.fold([b"a"], NOON + HOUR)
    home.fold([b"a", b"b"], NOON + HOUR)
    others = home.tiles(b"b"), home.segments(b"b")
    replace_keys(home.shard, 1, [b"a"], made.shard)
    assert home.tiles(b"a") == made.tiles(b"a")
    assert home.segments(b"a") == made.segments(b"a")
    assert home.values(b"a", LATER)[0].values == made.values(b"a", LATER)[0].values
    assert (home.tiles(b"b"), home.segments(b"b")) == others


def test_replacing_is_one_commit_that_the_outbox_names(made, home):
    before, applied = home.shard.commit_number, dict(home.shard.applied)
    number = replace_keys(home.shard, 1, [b"a", b"gone"], made.shard)
    assert number == before + 1 == home.shard.commit_number
    assert home.shard.applied == applied
    commit, ((touched),) = home.shard.outbox.read().entries[-1]
    assert (commit, touched.build, touched.rewrite) == (number, 1, True)
    assert list(touched.keys) == [b"a", b"gone"]
    assert {segment_number(*at) for at in home.segments(b"a")} <= set(touched.segments[0])


def test_chunks_that_come_later_count(made, home):
    replace_keys(home.shard, 1, [b"a"], made.shard)
    before = sum(rows for _, _, rows in home.tiles(b"a"))
    home.commit([(b"a", NOON + HOUR, 1.0)])
    assert sum(rows for _, _, rows in home.tiles(b"a")) == before + 1
    home.fold([b"a"], NOON + 2 * HOUR)
    assert home.values(b"a", NOON + HOUR + MINUTE)[0].values


def test_rows_that_nothing_should_have_go(made, home):
    stray = build_prefix(1) + b"a" + segment_suffix(segment_number(0, 0))
    home.shard._database.put(stray, b"stray")
    replace_keys(home.shard, 1, [b"a"], made.shard)
    assert stray not in {row for row, _ in home.shard.rows_of(1, b"a")}


def test_key_that_was_not_made_is_gone(made, home):
    replace_keys(home.shard, 1, [b"b"], made.shard)
    assert list(home.shard.rows_of(1, b"b")) == []
    assert home.shard._database.get(build_prefix(1) + b"a" + HEAD_SUFFIX) is not None
