"""Committing: every row once into the state, whatever the batches, the crashes and the shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.engine.runtime.housekeeping import outcomes
from tegula.engine.runtime.ingest import Ingest, Work
from tegula.engine.steps.commit import FOLD_EVERY, FOLD_TILES
from tegula.engine.steps.standing import Standing
from tegula.state.fold import Folded
from tegula.state.keys import encode_key
from tegula.state.shard import Shard
from tegula.windows.tiles import NEVER_US
from tests.support.ingesting import (
    NOON_US,
    admitted,
    build_of,
    event,
    open_shards,
    rows_of,
)

BUILD = build_of()
SWEEP_ROUNDS = 64
"""A shard sweeps in one of so many rounds, at least."""

KEYS = [f"k{i}" for i in range(8)]


class Stop(Exception):
    """The process that dies in the middle of a commit."""


def feed(ingest: Ingest, events: Sequence[Mapping[str, Any]], begin: int, end: int) -> None:
    """Lift and gather events `[begin, end)` of partition 0, as one batch."""
    batch = admitted(events[begin:end], first_offset=begin, running_max_us=NEVER_US)
    ingest.add(*ingest.lift(Work(0, batch, (BUILD.id,), batch.running_max_us)))


def many(count: int) -> list[dict[str, Any]]:
    return [event(KEYS[i % len(KEYS)], NOON_US + i) for i in range(count)]


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[list[Shard]]:
    opened = open_shards(tmp_path, 3)
    yield opened
    for shard in opened:
        shard.abandon()


def torn(shards: list[Shard], events: Sequence[Mapping[str, Any]], place: int) -> None:
    """Commit `events` in the shards before `place` only: what a crash in between leaves."""
    ingest = Ingest(Standing(shards), [BUILD])
    feed(ingest, events, 0, len(events))
    broken = shards[place]

    def refuse(*_: object) -> int:
        raise Stop

    broken.commit = refuse  # type: ignore[method-assign]
    with pytest.raises(Stop):
        ingest.commit()
    del broken.commit


def test_commit_keeps_positions_of_shards_that_are_ahead_when_others_read_again(shards):
    events = many(40)
    torn(shards, events, place=2)
    ingest = Ingest(Standing(shards), [BUILD])
    feed(ingest, events, 0, 10)
    ingest.commit()
    assert [shard.applied[BUILD.id, 0].next_offset for shard in shards] == [40, 40, 10]
    assert shards[0].applied[BUILD.id, 0].running_max_us == NOON_US + 39


@given(
    place=st.integers(0, 3),
    cuts=st.lists(st.integers(1, 59), max_size=6),
    commits=st.lists(st.booleans(), min_size=7, max_size=7),
)
def test_law_every_row_counts_once_whatever_was_committed_before_a_crash(
    tmp_path_factory, place, cuts, commits
):
    shards = open_shards(tmp_path_factory.mktemp("state"), 3)
    events = many(60)
    if place < 3:
        torn(shards, events[:40], place)
    ingest = Ingest(Standing(shards), [BUILD])
    edges = sorted({0, *cuts, 60})
    for begin, end, commit in zip(edges[:-1], edges[1:], commits, strict=False):
        feed(ingest, events, begin, end)
        if commit:
            ingest.commit()
    ingest.commit()
    expected = {key: sum(e["k"] == key for e in events) for key in KEYS}
    assert rows_of(shards, BUILD, KEYS) == expected
    counts = outcomes(shards, BUILD.id)
    assert (counts["read"], counts["folded"]) == (60, 60)
    for shard in shards:
        shard.close()


def test_commit_folds_a_key_at_once_when_it_gains_many_tiles(shards):
    """A replay brings weeks of a key in one commit; its head must not hold them until its turn."""
    build = build_of()
    seconds = 3 * FOLD_TILES
    events = [{"k": "hot", "at": NOON_US + s * 1_000_000} for s in range(seconds)]
    events.append({"k": "cold", "at": NOON_US + seconds * 1_000_000})
    ingest = Ingest(Standing(shards), [build])
    feed(ingest, events, 0, len(events))
    folded = [
        key
        for done in ingest.commit()
        for offer in done.offers
        if isinstance(offer, Folded)
        for key in offer.keys
    ]
    assert encode_key(("hot",), ("string",)) in folded


def test_commit_records_every_batchs_end_in_every_shard(shards):
    """A quiet shard must never hold back the point to resume from."""
    ingest = Ingest(Standing(shards), [BUILD])
    feed(ingest, [event("only", NOON_US)], 0, 1)
    ingest.commit()
    assert [shard.applied[BUILD.id, 0].next_offset for shard in shards] == [1, 1, 1]
    assert sum(shard.applied[BUILD.id, 0].folded for shard in shards) == 1


def test_commit_counts_each_record_once_whatever_became_of_it(shards):
    build = build_of(where=pl.col("x") > 0)
    ingest = Ingest(Standing(shards), [build])
    old_us = NOON_US - 30 * 24 * 3_600_000_000
    events = [
        event("a", NOON_US),
        event("b", NOON_US, -1.0),
        event(None, NOON_US),
        None,
        b"nonsense",
        event("a", old_us),
        event("a", NOON_US - 60_000_000),
    ]
    batch = admitted(events, first_offset=0)
    ingest.add(*ingest.lift(Work(7, batch, (build.id,), batch.running_max_us, home=1)))
    ingest.commit()
    assert outcomes(shards, build.id) == {
        "read": 7,
        "folded": 2,
        "filtered": 3,
        "duplicate": 0,
        "expired": 1,
        "dead_lettered": 1,
        "late": 1,
    }
    own = shards[1].applied[build.id, 7]
    assert (own.read, own.filtered, own.expired, own.dead_lettered) == (7, 3, 1, 1)


def test_commit_merges_what_gathered_into_one_chunk_a_key(shards):
    ingest = Ingest(Standing(shards), [BUILD])
    events = [event("a", NOON_US + n) for n in range(6)]
    for begin in range(0, 6, 2):
        feed(ingest, events, begin, begin + 2)
    assert ingest.committer.pending_rows == 6
    assert ingest.committer.pending_bytes > 6 * 8
    ingest.commit()
    assert not ingest.committer.has_pending
    stored = [shard.read_keys(BUILD.id, [A_KEY])[0] for shard in shards]
    assert sorted(len(rows.chunks) for rows in stored) == [0, 0, 1]
    assert rows_of(shards, BUILD, ["a"]) == {"a": 6}


def test_commit_writes_nothing_of_a_build_that_went_meanwhile(shards):
    other = build_of(number=2)
    ingest = Ingest(Standing(shards), [BUILD, other])
    batch = admitted(many(4), first_offset=0)
    ingest.add(*ingest.lift(Work(0, batch, (BUILD.id, other.id), batch.running_max_us)))
    ingest.set_builds([BUILD])
    ingest.commit()
    assert {build for shard in shards for build, _ in shard.applied} == {BUILD.id}
    assert rows_of(shards, other, KEYS) == dict.fromkeys(KEYS, 0)


A_KEY = encode_key(("a",), ("string",))


def run(ingest: Ingest, rounds: int, name: str, *, first: int = 0) -> int:
    """One commit a round, each with one event of `name`, a second after the other."""
    for offset in range(first, first + rounds):
        batch = admitted([event(name, NOON_US + offset * 1_000_000)], first_offset=offset)
        ingest.add(*ingest.lift(Work(0, batch, (BUILD.id,), batch.running_max_us)))
        ingest.commit()
    return first + rounds


def test_key_that_every_commit_touches_is_folded_about_once_in_32(shards):
    ingest, longest = Ingest(Standing(shards), [BUILD]), 0
    offset = 0
    for _ in range(6):
        offset = run(ingest, 16, "a", first=offset)
        stored = [shard.read_keys(BUILD.id, [A_KEY])[0] for shard in shards]
        longest = max(longest, *(len(rows.chunks) for rows in stored))
    assert longest <= FOLD_EVERY
    assert rows_of(shards, BUILD, ["a"]) == {"a": 96}
    assert any(rows.head is not None for rows in stored)


def test_key_that_gains_many_tiles_at_once_is_folded_at_once(shards):
    ingest = Ingest(Standing(shards), [BUILD])
    events = [event("a", NOON_US + n * 1_000_000) for n in range(2000)]
    feed(ingest, events, 0, 2000)
    commits = ingest.commit()
    assert any(isinstance(offer, Folded) for commit in commits for offer in commit.offers)
    assert rows_of(shards, BUILD, ["a"]) == {"a": 2000}


def test_sweep_drops_an_idle_key_once_retention_no_longer_reaches_it(shards):
    ingest = Ingest(Standing(shards), [BUILD])
    feed(ingest, [event("a", NOON_US)], 0, 1)
    ingest.commit()
    day_us = 24 * 3_600_000_000
    for offset in range(1, 2 * SWEEP_ROUNDS):
        later = admitted([event("b", NOON_US + day_us + offset)], first_offset=offset)
        ingest.add(*ingest.lift(Work(0, later, (BUILD.id,), later.running_max_us)))
        ingest.commit()
    assert rows_of(shards, BUILD, ["a", "b"]) == {"a": 0, "b": 2 * SWEEP_ROUNDS - 1}


def test_sweep_loses_nothing_of_a_stream_whose_watermark_is_not_known_yet(shards):
    """As after a restart, while another stream has events."""
    other = build_of(number=2)
    before = Ingest(Standing(shards), [BUILD, other])
    feed(before, many(8), 0, 8)
    before.commit()
    after = Ingest(Standing(shards), [BUILD, other])
    for offset in range(2 * SWEEP_ROUNDS):
        batch = admitted([event("b", NOON_US + offset)], first_offset=offset)
        after.add(*after.lift(Work(1, batch, (other.id,), batch.running_max_us)))
        after.commit()
    assert rows_of(shards, BUILD, KEYS) == dict.fromkeys(KEYS, 1)
    assert rows_of(shards, other, ["b"]) == {"b": 2 * SWEEP_ROUNDS}
