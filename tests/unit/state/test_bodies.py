"""Bodies that are split by rung: it decides what is written, and never what a key holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import StateCorrupt
from tegula.schemas.zones import periods
from tegula.state import bodies
from tegula.state.database import rows_of as rows_from
from tegula.state.fold import gather
from tegula.state.mirror import Mirror
from tegula.state.online.lmdb import LmdbWriter
from tegula.state.online.rows import Mark
from tegula.state.rows import BODY_SUFFIX, build_prefix, part_suffix
from tegula.state.shard import Shard
from tegula.windows.geometry import Calendar, Lifetime, Sliding
from tegula.windows.ladder import CIVIL, DAY, HOUR, MINUTE, SECOND
from tests.support import shapes
from tests.support.shapes import shape_of
from tests.support.stores import Feeder, open_shard

SECOND_US, MINUTE_US, HOUR_US, DAY_US = shapes.SECOND, shapes.MINUTE, shapes.HOUR, shapes.DAY
WINDOWS = [Sliding(HOUR_US, MINUTE_US), Sliding(DAY_US, HOUR_US), Sliding(5 * DAY_US, DAY_US)]
AGGREGATES = ["count", "approx_distinct", "approx_quantile", "last"]
SHAPE = shape_of(AGGREGATES, WINDOWS)
EXACT = shape_of(["count", "last"], [Sliding(HOUR_US, 1), *WINDOWS[1:]])
EVERYTHING = shape_of(["count", "approx_distinct"], [WINDOWS[0], Lifetime()])
ZONE = "Europe/Berlin"
CIVIL_YEAR = shape_of(
    ["count", "last"], [WINDOWS[0], Calendar(periods("year", ZONE), True, periods("day", ZONE))]
)
NOON = 20_000 * DAY_US + 12 * HOUR_US
NEVER = 1 << 40
"""A bound that no body reaches."""


@pytest.fixture
def feeder(tmp_path: Path) -> Iterator[Feeder]:
    made = Feeder(open_shard(tmp_path / "shard"), SHAPE)
    yield made
    made.shard.abandon()


def rows_of(shard: Shard, key: bytes) -> dict[bytes, bytes]:
    """All rows of a key in the state, by their suffix."""
    prefix = build_prefix(1) + key
    return {place[len(prefix) :]: block for place, block in rows_from(shard._database, prefix)}


def parts_of(feeder: Feeder, key: bytes) -> list[int]:
    (stored,) = feeder.shard.read_keys(1, [key])
    suffixes = [suffix for suffix in rows_of(feeder.shard, key) if suffix[:1] == b"b"]
    whole = [] if stored.body is None else [BODY_SUFFIX]
    assert sorted(suffixes) == sorted([*whole, *map(part_suffix, stored.parts)])
    return list(stored.parts)


def spread(key: bytes = b"a") -> list[tuple[bytes, int, float]]:
    """Events of days, hours, minutes and seconds before noon."""
    ages = [3 * DAY_US, 2 * DAY_US, 20 * HOUR_US, 5 * HOUR_US, 30 * MINUTE_US, 2 * MINUTE_US, 1]
    return [(key, NOON - age, float(place)) for place, age in enumerate(ages)]


def written(feeder: Feeder, monkeypatch: pytest.MonkeyPatch) -> dict[bytes, int]:
    """What folds put from now on: suffix and length of each row."""
    puts: dict[bytes, int] = {}
    write = feeder.shard.write_folded

    def write_folded(build, rows, *rest):
        many = list(rows)
        puts.clear()
        puts.update({key[-9:]: len(block) for key, block in many})
        return write(build, many, *rest)

    monkeypatch.setattr(feeder.shard, "write_folded", write_folded)
    return puts


def test_a_body_is_split_by_rung_where_it_is_large(feeder, monkeypatch):
    feeder.commit(spread())
    feeder.fold([b"a"], NOON)
    assert parts_of(feeder, b"a") == []
    before = feeder.tiles(b"a")
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 100)
    feeder.fold([b"a"], NOON)
    assert parts_of(feeder, b"a") == [1 + MINUTE, 1 + HOUR, 1 + DAY]
    assert feeder.tiles(b"a") == before
    assert {rung for _, rung, _ in before} == {MINUTE, HOUR, DAY}


def test_civil_days_are_parts_by_their_length(tmp_path, monkeypatch):
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 100)
    feeder = Feeder(open_shard(tmp_path / "shard"), CIVIL_YEAR)
    feeder.commit([(b"a", NOON + day * DAY_US, 1.0) for day in range(40)])
    feeder.fold([b"a"], NOON + 40 * DAY_US)
    assert parts_of(feeder, b"a") == [1 + CIVIL + 4 * 24, 1 + CIVIL + 4 * 25]
    assert len(feeder.tiles(b"a")) == 40
    feeder.shard.abandon()


def test_a_part_that_is_as_it_was_is_not_written_again(feeder, monkeypatch):
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 100)
    feeder.commit(spread())
    feeder.fold([b"a"], NOON)
    puts = written(feeder, monkeypatch)
    feeder.commit([(b"a", NOON + n * SECOND_US, 1.0) for n in range(9)])
    feeder.fold([b"a"], NOON + 5 * SECOND_US)
    assert sorted(puts) == sorted([BODY_SUFFIX, part_suffix(1 + SECOND), b"h" + bytes(8)])
    feeder.commit([(b"a", NOON - 2 * DAY_US, 1.0)])
    feeder.fold([b"a"], NOON + 6 * SECOND_US)
    assert part_suffix(1 + DAY) in puts
    assert part_suffix(1 + HOUR) not in puts
    feeder.fold([b"a"], NOON + MINUTE_US)
    assert part_suffix(1 + MINUTE) in puts
    assert parts_of(feeder, b"a") == [1 + MINUTE, 1 + HOUR, 1 + DAY]


def test_a_body_is_one_row_again_only_once_it_has_shrunk_to_half(feeder, monkeypatch):
    feeder.commit(spread())
    feeder.fold([b"a"], NOON)
    size = len(rows_of(feeder.shard, b"a")[BODY_SUFFIX]) - 56
    for bound, is_split in (
        (size, False),
        (size - 1, True),
        (size, True),
        (2 * size - 1, True),
        (2 * size, False),
        (size, False),
    ):
        monkeypatch.setattr(bodies, "SPLIT_BYTES", bound)
        feeder.fold([b"a"], NOON)
        assert bool(parts_of(feeder, b"a")) == is_split, bound


def test_a_key_that_is_gone_leaves_no_part(feeder, monkeypatch):
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 0)
    feeder.commit([*spread(), *spread(b"b")])
    feeder.fold([b"a", b"b"], NOON)
    feeder.fold([b"a"], NOON + 9 * DAY_US)
    assert rows_of(feeder.shard, b"a") == {}
    assert feeder.shard.scan_keys(1, b"", 9) == [b"b"]
    feeder.shard.drop_build(1)
    assert rows_of(feeder.shard, b"b") == {}


def test_a_body_without_tiles_is_never_split(feeder, monkeypatch):
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 0)
    feeder.commit([(b"a", NOON, 1.0)])
    feeder.fold([b"a"], NOON)
    assert parts_of(feeder, b"a") == []
    assert len(feeder.tiles(b"a")) == 1


@pytest.mark.parametrize("damage", ["gone", "another"])
def test_a_part_that_is_not_the_directorys_is_refused(feeder, monkeypatch, damage):
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 0)
    feeder.commit(spread())
    feeder.fold([b"a"], NOON)
    place = build_prefix(1) + b"a" + part_suffix(1 + DAY)
    if damage == "gone":
        feeder.shard._database.delete(place)
    else:
        other = rows_of(feeder.shard, b"a")[part_suffix(1 + MINUTE)]
        feeder.shard._database.put(place, other[:4] + b"\x07" + other[5:])
    with pytest.raises(StateCorrupt, match=f"part {1 + DAY}"):
        feeder.shard.read_keys(1, [b"a"])


def test_a_key_that_is_not_split_costs_no_get_more(feeder, monkeypatch):
    feeder.commit([*spread(), *spread(b"b")])
    feeder.fold([b"a", b"b"], NOON)
    gets: list[bytes] = []
    get = feeder.shard._database.get

    def counted(place: bytes) -> bytes | None:
        gets.append(place)
        return get(place)

    rows = feeder.shard._database.iter()
    feeder.shard._read(counted, rows, 1, [b"a", b"b"])
    assert len(gets) == 4
    monkeypatch.setattr(bodies, "SPLIT_BYTES", 0)
    feeder.fold([b"a"], NOON)
    gets.clear()
    feeder.shard._read(counted, feeder.shard._database.iter(), 1, [b"a", b"b"])
    assert len(gets) == 4 + 3


def bits(feeder: Feeder, key: bytes) -> list[object]:
    """All that the state holds of a key, as it is read in either way."""
    (stored,) = feeder.shard.read_keys(1, [key])
    _, (same,) = feeder.shard.read_with_commit(1, [key])
    assert (stored.head, stored.body, stored.parts) == (same.head, same.body, same.parts)
    gathered = gather(feeder.shape, [key], [stored])
    keyed = gathered.tiles
    columns = [
        column.to_pylist() if isinstance(column, pa.Array) else column.tobytes()
        for column in keyed.tiles.columns
    ]
    tiles = [keyed.tiles.start_us, keyed.tiles.rung, keyed.tiles.rows]
    return [
        *map(np.ndarray.tolist, tiles),
        *columns,
        keyed.newest_us.tolist(),
        gathered.horizon_us.tolist(),
        stored.head,
        feeder.segments(key),
    ]


keys = st.sampled_from([b"a", b"b"])
ages = st.sampled_from([0, SECOND_US, MINUTE_US, HOUR_US, 7 * HOUR_US, DAY_US, 4 * DAY_US]).flatmap(
    lambda span: st.integers(0, 40).map(lambda n: n * 1_300_000 + span)
)
steps = st.one_of(
    st.lists(st.tuples(keys, ages, st.integers(-9, 9).map(float)), min_size=1, max_size=9),
    st.tuples(
        st.sampled_from([0, SECOND_US, 20 * SECOND_US, MINUTE_US, HOUR_US, DAY_US, 7 * DAY_US]),
        st.sampled_from([0, 0, 150, 700, 3_000, NEVER]),
    ),
    st.just("crash"),
)


@given(
    steps=st.lists(steps, min_size=2, max_size=14),
    shape=st.sampled_from([SHAPE, SHAPE, EXACT, EVERYTHING, CIVIL_YEAR]),
)
def test_law_splitting_changes_no_bit_of_what_a_key_holds(tmp_path_factory, steps, shape):
    """Late events fall into old parts, retention drops them, bodies go forth and back."""
    root, now_us = tmp_path_factory.mktemp("shards"), NOON
    plain = Feeder(open_shard(root / "plain"), shape)
    split = Feeder(open_shard(root / "split"), shape)
    for step in steps:
        if step == "crash":
            split.shard.abandon()
            split.shard = open_shard(root / "split")
        elif isinstance(step, list):
            events = [(key, now_us - age_us, value) for key, age_us, value in step]
            for feeder in (plain, split):
                feeder.commit(events)
        else:
            later_us, bound = step
            now_us += later_us
            folded = []
            for feeder, of_feeder in ((plain, NEVER), (split, bound)):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(bodies, "SPLIT_BYTES", of_feeder)
                    folded.append(feeder.fold([b"a", b"b"], now_us - shape.depth_us))
            assert folded[0] == folded[1]
        for key in (b"a", b"b"):
            assert bits(plain, key) == bits(split, key)
            parts_of(split, key)
    plain.shard.abandon()
    split.shard.abandon()


@pytest.mark.parametrize("shape", [SHAPE, EXACT], ids=["coarse", "exact"])
def test_online_rows_are_those_of_bodies_that_were_never_split(tmp_path, monkeypatch, shape):
    """However they come about: by the fold, by the outbox, or all of them anew."""
    found = []
    for bound in (NEVER, 0):
        monkeypatch.setattr(bodies, "SPLIT_BYTES", bound)
        root = tmp_path / str(bound)
        feeder = Feeder(open_shard(root / "state"), shape)
        feeder.commit([*spread(), *spread(b"b"), (b"c", NOON, 1.0)])
        feeder.fold([b"a", b"b"], NOON)
        feeder.commit([(b"a", NOON + SECOND_US, 1.0)])
        offers = feeder.taken()
        for way in ("offered", "outbox", "anew"):
            writer = LmdbWriter(root / way, 0, 1, 1 << 24)
            mirror = Mirror(feeder.shard, writer, {1: shape})
            if way != "anew":
                writer.write([], Mark(1, 0, (1,)))
            mirror.rebuild_missing()
            if way == "offered":
                mirror.take(offers)
            else:
                mirror.catch_up()
            found.append((bound, way, writer.read(1, [b"a", b"b", b"c"])[1]))
            writer.abandon()
        feeder.shard.abandon()
    for (_, way, whole), (_, _, split) in zip(found[:3], found[3:], strict=True):
        assert whole == split, way
    bodies_online = {way: [body for _, body in rows] for _, way, rows in found}
    assert bodies_online["offered"] == bodies_online["anew"]
