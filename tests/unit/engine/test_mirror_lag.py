"""Mirror lag: every row is counted once, as late as it became readable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.cli.status import readable_after
from tegula.engine.runtime import mirror_lag
from tegula.engine.runtime.clock import ScriptedClock
from tegula.engine.runtime.ingest import Ingest, Work
from tegula.engine.runtime.mirror_lag import EDGES_S, MirrorLag
from tegula.engine.steps.standing import Standing
from tests.support.ingesting import NOON_US, admitted, build_of, event, open_shards

MS = 1_000
SECOND = 1_000 * MS


class Measured:
    """A histogram, and the clock that it goes by."""

    def __init__(self) -> None:
        self.clock = ScriptedClock(NOON_US)
        self.lag = MirrorLag(self.clock)

    def commit(self, log_us: Sequence[int], *commits: int) -> None:
        self.lag.gathered(np.array(log_us, np.int64))
        self.lag.committed(commits)

    def wait(self, us: int) -> None:
        self.clock.advance_to(self.clock() + us)

    def rows(self) -> list[int]:
        """Rows in each bucket."""
        return np.diff(self.lag.report()["rows"], prepend=0).tolist()


@pytest.fixture
def measured():
    return Measured()


def bucket(lag_s: float) -> int:
    return next((n for n, edge in enumerate(EDGES_S) if lag_s <= edge), len(EDGES_S))


def expected(*lags_s: float) -> list[int]:
    rows = [0] * (len(EDGES_S) + 1)
    for lag_s in lags_s:
        rows[bucket(lag_s)] += 1
    return rows


def test_rows_count_by_the_time_from_their_log_timestamp_to_the_mark(measured):
    measured.commit([NOON_US - 400 * MS, NOON_US, NOON_US], 1, 1)
    measured.wait(50 * MS)
    measured.lag.readable([1, 1])
    assert measured.rows() == expected(0.45, 0.05, 0.05)
    assert measured.lag.report()["sum_s"] == pytest.approx(0.55)


def test_rows_wait_until_every_shard_has_come_to_their_commit(measured):
    measured.commit([NOON_US], 5, 7)
    measured.commit([NOON_US], 6, 8)
    measured.lag.readable([6, 6])
    assert sum(measured.rows()) == 0
    measured.wait(SECOND)
    measured.lag.readable([6, 7])
    assert measured.rows() == expected(1.0)
    measured.wait(SECOND)
    measured.lag.readable([6, 8])
    assert measured.rows() == expected(1.0, 2.0)
    measured.lag.readable([9, 9])
    assert measured.rows() == expected(1.0, 2.0)


def test_rows_from_the_future_are_readable_at_once_and_old_ones_overflow_nothing(measured):
    measured.commit([NOON_US + 3_600 * SECOND, *[0] * 100_000], 1)
    measured.lag.readable([1])
    rows = expected(0.0)
    rows[-1] = 100_000
    assert measured.rows() == rows
    assert measured.lag.report()["sum_s"] == pytest.approx(100_000 * NOON_US / 1e6)


def test_a_commit_without_live_rows_waits_for_nothing(measured):
    measured.commit([], 1)
    assert not measured.lag._waiting


def test_a_mirror_that_stands_for_days_costs_little_and_loses_no_row(measured, monkeypatch, seed):
    monkeypatch.setattr(mirror_lag, "INSTANTS_MAX", 1_000)
    chance, sent = np.random.default_rng(seed), []
    for commit in range(500):
        log_us = measured.clock() - chance.integers(0, SECOND, 40)
        sent.extend(log_us.tolist())
        measured.commit(log_us, commit)
        assert measured.lag._instants <= 1_000
        measured.wait(300 * SECOND)
    measured.lag.readable([500])
    lags_s = [(measured.clock() - at_us) / 1e6 for at_us in sent]
    assert sum(measured.rows()) == len(sent)
    assert measured.lag.report()["sum_s"] == pytest.approx(sum(lags_s), rel=0.05)
    assert measured.lag._instants == 0
    measured.commit([measured.clock()], 501)
    measured.lag.readable([501])
    assert measured.rows()[0] == 1


@given(st.lists(st.lists(st.integers(0, 90_000), max_size=30), min_size=1, max_size=8))
def test_law_histogram_is_that_of_each_row_by_itself(batches):
    measured, lags_s = Measured(), []
    for number, ages_ms in enumerate(batches):
        for half in (ages_ms[::2], ages_ms[1::2]):
            measured.lag.gathered(np.array([NOON_US - ms * MS for ms in half], np.int64))
        measured.lag.committed([number])
        lags_s.extend(ms / 1e3 for ms in ages_ms)
    measured.lag.readable([len(batches)])
    assert measured.rows() == expected(*lags_s)
    assert measured.lag.report()["sum_s"] == pytest.approx(sum(lags_s))


def test_quantiles_are_edges_of_the_histogram():
    assert readable_after({}) is None
    assert readable_after({"le_s": [1.0], "rows": [0, 0]}) is None
    lag: dict[str, Any] = {"le_s": [0.1, 1.0], "rows": [1, 2, 2]}
    assert readable_after(lag) == {"p50": 0.1, "p99": 1.0}
    assert readable_after({**lag, "rows": [0, 0, 1]}) == {"p50": None, "p99": None}


def test_only_rows_that_come_live_and_for_the_first_time_are_measured(tmp_path):
    build = build_of()
    shards = open_shards(tmp_path, 2)
    ingest = Ingest(Standing(shards), [build])

    def lifted(first: int, count: int, *, live: bool = True, builds: tuple[int, ...] = (1,)) -> Any:
        at_us = [NOON_US + first + n for n in range(count)]
        batch = admitted([event("a", us) for us in at_us], first_offset=first, log_us=at_us)
        work = Work(0, batch, builds, batch.running_max_us, live=live)
        return ingest.lift(work)[0]

    assert lifted(0, 5, live=False).log_us.tolist() == []
    assert lifted(0, 5, builds=()).log_us.tolist() == []
    first = lifted(0, 5)
    assert first.log_us.tolist() == [NOON_US + n for n in range(5)]
    ingest.add(first)
    ingest.commit()
    assert lifted(3, 4).log_us.tolist() == [NOON_US + 5, NOON_US + 6]
    for shard in shards:
        shard.abandon()
