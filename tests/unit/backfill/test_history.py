"""Events once more: each as it was judged, up to the positions of the state, from either source."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from tegula.backfill.at_rest import reading
from tegula.backfill.history import History, ends_of
from tegula.backfill.recompute import recompute
from tegula.backfill.sample import Chosen, Sample, named
from tegula.windows.tiles import NEVER_US
from tests.support.verifying import START_US, Home, key_of


@pytest.fixture(scope="module")
def lived(tmp_path_factory, seed) -> Home:
    home = Home(tmp_path_factory.mktemp("home"), np.random.default_rng(seed))
    home.live(rounds=6)
    home.rest()
    return home


@contextmanager
def history_of(home: Home) -> Iterator[History]:
    with reading(home.settings) as held:
        stream = held.deployed.streams["payments"]
        yield History(stream, home.settings, held.registry, held.shards)


def rows(history: History, ends: dict[int, list[int]]) -> dict[int, list[tuple[int, ...]]]:
    """By ordinal: offset, event time, watermark, whether a copy, of every good row."""
    found: dict[int, list[tuple[int, ...]]] = {ordinal: [] for ordinal in ends}
    for piece in history.read(ends):
        batch = piece.batch
        copies = np.zeros(len(batch.offsets)) if batch.is_copy is None else batch.is_copy
        columns = (batch.offsets, batch.event_us, batch.watermark_us, copies)
        found[piece.ordinal].extend(zip(*(c.tolist() for c in columns), strict=True))
    return found


def whole(history: History) -> dict[int, list[int]]:
    return {o: [history.bounds[name].end] for name, o in history.ordinals.items()}


def test_archive_and_log_tell_the_same_events(lived, tmp_path):
    with history_of(lived) as history:
        from_archive = rows(history, whole(history))
    without = lived.copied(tmp_path / "home")
    shutil.rmtree(without.settings.lake_path / "log")
    with history_of(without) as history:
        assert rows(history, whole(history)) == from_archive
    assert sum(map(len, from_archive.values())) == 6 * 30


def test_pieces_end_where_they_are_asked_to(lived):
    with history_of(lived) as history:
        ordinal = max(history.ordinals.values(), key=lambda o: whole(history)[o][0])
        ends = {ordinal: [3, 7, 20]}
        pieces = list(history.read(ends))
    assert [piece.batch.next_offset for piece in pieces] == [3, 7, 20]
    assert [piece.read for piece in pieces] == [3, 7, 20]
    assert pieces[-1].watermark_us > pieces[0].watermark_us


def test_partition_that_begins_later_begins_with_the_maximum_that_it_had(lived):
    with history_of(lived) as history:
        partition = next(name for name, one in history.bounds.items() if one.archived)
        assert history.begins_us(partition) == NEVER_US
        history._kept._bounds[partition] = replace(history.bounds[partition], first=1)
        begins_us = history.begins_us(partition)
    assert begins_us <= START_US + 3_600_000_000
    assert begins_us > START_US - 2 * 86_400_000_000


def test_recomputing_takes_the_named_keys_and_no_others(lived, tmp_path):
    with reading(lived.settings) as held:
        (build,) = held.builds_of("spend")
        stream = held.deployed.streams["payments"]
        history = History(stream, lived.settings, held.registry, held.shards)
        chosen = named({build.id: [key_of("c1"), key_of("never")]})
        read = 0

        def count(records: int) -> None:
            nonlocal read
            read += records

        made = recompute(
            tmp_path / "made",
            history,
            [build],
            chosen,
            held.shards,
            lambda _, keys: np.full(len(keys), NEVER_US),
            count,
        )
        assert made.keys == {build.id: {key_of("c1")}}
        assert made.shard.scan_keys(build.id, b"", 9) == [key_of("c1")]
        assert read == 6 * 31
        for ordinal in history.ordinals.values():
            for end in ends_of(held.shards, build.id, ordinal).tolist():
                assert (ordinal, end) in made.counted
        made.shard.abandon()


def test_sample_is_the_same_wherever_keys_are_met():
    keys = [f"k{number}".encode() for number in range(500)]
    one, other = Sample(20, seed=3), Sample(20, seed=3)
    for key in keys:
        one.offer(1, key)
    for key in reversed(keys):
        other.offer(1, key)
    chosen = one.of(1)
    assert chosen == other.of(1)
    assert [k for k, is_in in zip(keys, chosen.of(keys), strict=True) if is_in] == sorted(
        chosen.keys, key=keys.index
    )
    again = Sample(20, seed=4)
    for key in keys:
        again.offer(1, key)
    assert again.of(1).keys != chosen.keys


def test_sample_of_few_keys_is_all_there_are_also_unseen_ones():
    sample = Sample(5, seed=1)
    sample.offer(1, b"a")
    assert sample.of(1).of([b"a", b"b"]).tolist() == [True, True]
    assert Sample(0, seed=1).of(1) == Chosen(seed=1)
