"""Positions and counts against log and archive: what cannot be, and what is no longer there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tegula.backfill.history import History
from tegula.backfill.kept import Bounds
from tegula.backfill.positions import UNKNOWN_US, conservation, positions, wholeness
from tegula.backfill.recompute import Counted
from tegula.engine.plan import compile_view
from tegula.schemas.errors import SourceError
from tegula.state.rows import Applied
from tegula.state.shard import Shard
from tegula.windows.tiles import NEVER_US
from tests.support.verifying import PAYMENTS, SALES, SPEND

BUILD = compile_view(SALES, 1)
FOR_EVER = compile_view(SPEND, 1)
SECOND_US = 1_000_000


@dataclass
class Log:
    """What `History` tells of a stream with one partition, of ordinal 0."""

    bounds: Mapping[str, Bounds]
    other_log: str | None = None
    log_fault: SourceError | None = None
    begins: int = NEVER_US
    knows_copies: bool = True
    ordinals: Mapping[str, int] = field(default_factory=lambda: {"0": 0})
    homes: Mapping[int, int] = field(default_factory=lambda: {0: 0})
    stream: Any = field(
        default_factory=lambda: SimpleNamespace(name="payments", ahead_us=600 * SECOND_US)
    )

    def begins_us(self, partition: str) -> int:
        return self.begins


def log(*bounds: int | None, **more: Any) -> History:
    return cast("History", Log({"0": Bounds(*bounds)}, **more))  # type: ignore[arg-type]


def shards(*positions: int, **counts: int) -> list[Shard]:
    """Shards at these positions; the counts are the partition's, all in its own shard."""
    made = []
    for number, at in enumerate(positions):
        mine = counts if number == 0 else {}
        applied = {(1, 0): Applied(at, 0, **mine)} if at else {}
        made.append(SimpleNamespace(number=number, applied=applied))
    return cast("list[Shard]", made)


def odd(history: History, at: list[Shard], live: tuple[int, ...] = (1,)) -> list[str]:
    return [one.cause for one in positions(history, [BUILD], live, at)]


@pytest.mark.parametrize(
    ("bounds", "at", "said"),
    [
        ((0, 9, 0, 9), (9, 9), []),
        ((0, 5, 0, 9), (7, 9), []),
        ((0, 9, 5, 9), (9, 9), []),
        ((0, 5, 0, 8), (9, 9), ["TG-305", "TG-305"]),
        ((0, 9, 8, 9), (7, 9), ["TG-304"]),
        ((0, 9, None, None), (9, 9), ["no such partition"]),
        ((0, 0, 0, 0), (0, 0), []),
    ],
)
def test_positions_fit_log_and_archive_or_are_named(bounds, at, said):
    causes = odd(log(*bounds), shards(*at))
    assert len(causes) == len(said)
    assert all(part in cause for part, cause in zip(said, causes, strict=True))


def test_build_that_catches_up_reads_the_archive_where_the_log_has_forgotten():
    assert odd(log(0, 9, 8, 9), shards(7, 9), live=()) == []


def test_log_that_was_made_anew_is_named_and_nothing_else():
    causes = odd(log(0, 5, 0, 5, other_log="another"), shards(9, 9))
    assert [cause for cause in causes if "TG-303" not in cause] == []
    assert len(causes) == 1


def test_log_that_does_not_answer_is_held_against_the_archive_alone():
    fault = SourceError("away")
    assert odd(log(0, 9, None, None, log_fault=fault), shards(9, 9)) == []
    assert len(odd(log(0, 8, None, None, log_fault=fault), shards(9, 9))) == 2


def test_counts_add_up_where_all_shards_stand_at_one_position():
    right = {"read": 9, "folded": 4, "filtered": 3, "expired": 1, "dead_lettered": 1, "late": 2}
    assert [(n, o.cause) for n, o in conservation([BUILD], shards(9, 9, **right))] == [(1, "")]
    wrong = {**right, "folded": 5}
    ((added, one),) = conservation([BUILD], shards(9, 9, **wrong))
    assert (added, one.stored, one.recomputed) == (1, "9", "10")
    assert [(n, o.cause) for n, o in conservation([BUILD], shards(7, 9, **wrong))] == [(0, "")]


def test_history_is_whole_where_all_records_are_there():
    at = shards(9, 9, read=9, dead_lettered=2)
    whole = wholeness(log(0, 9, 0, 9), BUILD, at, {(0, 9): Counted(9, 2)})
    assert (whole.odd, whole.gone_until_us) == ([], None)
    assert whole.covers(FOR_EVER, NEVER_US)


@pytest.mark.parametrize("there", [Counted(8, 2), Counted(10, 2), Counted(9, 1)])
def test_counts_that_archive_and_log_do_not_have_are_odd(there):
    at = shards(9, 9, read=9, dead_lettered=2)
    whole = wholeness(log(0, 9, 0, 9), BUILD, at, {(0, 9): there})
    assert len(whole.odd) == 1
    assert not whole.covers(BUILD, 10**18)


def test_records_that_are_gone_matter_as_long_as_windows_reach_them():
    at, begins_us = shards(9, 9, read=9), 1_000_000 * SECOND_US
    history = log(4, 9, 4, 9, begins=begins_us)
    whole = wholeness(history, BUILD, at, {(0, 9): Counted(5, 0)})
    assert (whole.odd, len(whole.notes)) == ([], 1)
    retention_us = BUILD.shape.retention_us
    assert retention_us is not None
    free_us = begins_us + 600 * SECOND_US + retention_us
    assert not whole.covers(BUILD, free_us)
    assert whole.covers(BUILD, free_us + 1)
    assert not whole.covers(BUILD, NEVER_US)
    assert not whole.covers(FOR_EVER, 10**18)


def test_records_that_are_gone_from_a_log_without_archive_may_be_of_any_time():
    whole = wholeness(log(0, 0, 4, 9), BUILD, shards(9, 9, read=9), {(0, 9): Counted(5, 0)})
    assert whole.gone_until_us == UNKNOWN_US
    assert not whole.covers(BUILD, 10**18)


def test_where_copies_are_not_known_nothing_is_compared():
    at = shards(9, 9, read=9)
    whole = wholeness(log(0, 9, 0, 9, knows_copies=False), BUILD, at, {(0, 9): Counted(9, 0)})
    assert (whole.odd, len(whole.notes)) == ([], 1)
    assert not whole.covers(BUILD, 10**18)


def test_stream_of_the_support_has_the_bound_that_is_used_here():
    assert PAYMENTS.ahead == "10m"
