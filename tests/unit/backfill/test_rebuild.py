"""Rebuilding: a key is what its events make it, the online store follows, all else stays."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tegula import agg, lifetime
from tegula.backfill.at_rest import reading, writing
from tegula.backfill.rebuild import rebuild as make_anew
from tegula.schemas.errors import HistoryIncomplete
from tegula.state.rows import BODY_SUFFIX, HEAD_SUFFIX
from tests.support.verifying import (
    CARDS,
    PAYMENTS,
    SALES,
    SPEND,
    Home,
    count_one_more,
    database_of,
    key_of,
    place_of,
    rebuild,
    verify,
)


@pytest.fixture(scope="module")
def lived(tmp_path_factory, seed) -> Home:
    home = Home(tmp_path_factory.mktemp("home"), np.random.default_rng(seed))
    home.live(rounds=14)
    home.rest()
    return home


@pytest.fixture
def home(lived, tmp_path) -> Home:
    return lived.copied(tmp_path / "home")


def answers(home: Home) -> tuple[object, object]:
    home.open()
    try:
        reply = home.driver.read(SPEND, {"card_id": CARDS})
        return reply.values, reply.statuses
    finally:
        home.rest()


@pytest.mark.parametrize("suffix", [BODY_SUFFIX, HEAD_SUFFIX])
def test_key_that_was_tampered_with_is_mended_and_reads_right(home, suffix):
    before = answers(home)
    card = count_one_more(home, suffix)
    assert verify(home, card).faults
    (done,) = rebuild(home, card)
    assert (done.keys, done.empty) == (1, 0)
    assert verify(home).faults == []
    assert answers(home) == before
    home.open()
    home.live(rounds=5)
    home.rest()
    assert verify(home).faults == []


def test_all_keys_made_anew_answer_as_before_online_too(home):
    before = answers(home)
    rebuild(home, *CARDS)
    rebuild(home, *CARDS)  # again, which changes nothing more
    assert verify(home).faults == []
    assert answers(home) == before


def test_view_that_was_moved_to_another_stream_keeps_both_its_builds(tmp_path, seed):
    refunds = replace(PAYMENTS, name="refunds")
    view = replace(SPEND, features={"events": agg.count().over(lifetime())})
    home = Home(tmp_path, np.random.default_rng(seed), view, SALES)
    home.live(rounds=2)
    home.driver.apply(replace(view, stream=refunds), SALES)
    home.driver.backfill("spend")
    home.driver.send("refunds", [home.event() for _ in range(30)])
    home.driver.settle()
    home.rest()
    assert len(rebuild(home, *CARDS)) == 2
    report = verify(home)
    assert report.faults == []
    assert sum(check.counts["values"] for check in report.checks) > len(CARDS)


def test_build_of_a_stream_that_is_gone_is_refused_by_name(tmp_path, seed):
    refunds = replace(PAYMENTS, name="refunds")
    view = replace(SPEND, features={"events": agg.count().over(lifetime())})
    home = Home(tmp_path, np.random.default_rng(seed), view)
    home.live(rounds=2)
    home.driver.apply(replace(view, stream=refunds))
    home.driver.settle()
    home.rest()
    with pytest.raises(HistoryIncomplete, match="stream 'payments' is not defined any more"):
        rebuild(home, *CARDS)


def test_rows_that_are_gone_come_back(home):
    before = answers(home)
    shard, base = place_of("c2")
    with database_of(home, shard) as database:
        for row in [row for row, _ in database.items() if row.startswith(base)]:
            database.delete(row)
    rebuild(home, "c2")
    assert verify(home).faults == []
    assert answers(home) == before


def test_rows_that_should_not_be_there_go(home):
    shard, base = place_of("c2")
    _, other = place_of("never seen")
    with database_of(home, shard) as database:
        database.put(base + b"s" + bytes(8), b"no segment")
        database.put(base + b"b" + bytes(7) + b"\x04", b"no part")
    with database_of(home, place_of("never seen")[0]) as database:
        database.put(other + HEAD_SUFFIX, b"no head")
    done = rebuild(home, "c2", "never seen")
    assert [(one.keys, one.empty) for one in done] == [(1, 1)]
    assert verify(home).faults == []


def test_positions_and_counts_do_not_move(home):
    with database_of(home, place_of("c1")[0]) as database:
        before = {row: value for row, value in database.items() if row.startswith(bytes(4) + b"p")}
    rebuild(home, "c1")
    with database_of(home, place_of("c1")[0]) as database:
        after = {row: value for row, value in database.items() if row.startswith(bytes(4) + b"p")}
    assert before == after != {}


def test_key_whose_events_nobody_has_is_refused_and_stays(home):
    shutil.rmtree(home.settings.lake_path / "log")
    shutil.rmtree(home.settings.home / "log")
    shard, base = place_of("c1")
    with database_of(home, shard) as database:
        before = [(row, value) for row, value in database.items() if row.startswith(base)]
    with pytest.raises(HistoryIncomplete, match="TG-509"):
        rebuild(home, "c1")
    with database_of(home, shard) as database:
        assert [(r, v) for r, v in database.items() if r.startswith(base)] == before


def test_events_after_a_crash_count_as_each_shard_has_applied_them(tmp_path, seed):
    home = Home(tmp_path, np.random.default_rng(seed))
    home.live(rounds=4)
    home.send([home.event() for _ in range(40)])

    def fail(*_: object) -> int:
        raise OSError("no space")

    home.driver.engine.shards[1].commit = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no space"):
        home.driver.settle()
    home.crash()
    rebuild(home, *CARDS)
    assert verify(home).faults == []
    home.open()
    home.live(rounds=3)
    home.rest()
    assert verify(home).faults == []


def unsure_rebuild(home: Home, card: str) -> None:
    """Rebuild a card; the write is made, and raises."""
    with writing(home.settings) as held:
        shard = held.shards[place_of(card)[0]]
        written = shard._write

        def unsure(batch: Any) -> None:
            written(batch)
            raise OSError("unsure")

        shard._write = unsure  # type: ignore[method-assign]
        builds = held.builds_of("spend")
        make_anew(held, builds, {build.id: [key_of(card)] for build in builds})


def test_write_that_failed_after_all_leaves_what_a_crash_would(home):
    shard = place_of("c1")[0]
    with reading(home.settings) as held:
        before = held.shards[shard].commit_number
    with pytest.raises(OSError, match="unsure"):
        unsure_rebuild(home, "c1")
    with reading(home.settings) as held:
        assert held.shards[shard].commit_number == before + 1
    assert verify(home).faults == []
