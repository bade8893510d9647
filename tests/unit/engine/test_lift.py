"""Lifting: one outcome a row, and tiles that hold exactly the rows that were folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tegula.engine.plan import Build
from tegula.engine.steps import judge as judging
from tegula.engine.steps import lift as lifting
from tegula.engine.steps.lift import Lifted, Lifter
from tegula.schemas import agg
from tegula.schemas import types as t
from tegula.schemas.definitions import Entity
from tegula.schemas.time import HOUR_US, MINUTE_US, SECOND_US
from tegula.schemas.windows import lifetime, sliding
from tegula.state.keys import decode_key, encode_key, shard_of
from tegula.windows.finish import finish
from tegula.windows.ladder import INSTANT, SECOND
from tegula.windows.tiles import NEVER_US
from tests.support.ingesting import COUNT_1H, NOON_US, admitted, build_of, event

SHARDS = 4


def lift(
    build: Build,
    events: Sequence[Mapping[str, Any] | bytes | None],
    *,
    applied: Sequence[int] = (0,) * SHARDS,
    counted_from: int = 0,
    ordinal: int = 0,
    **batch: Any,
) -> Lifted:
    lifter = Lifter(build, SHARDS)
    return lifter.lift(admitted(events, **batch), ordinal, np.array(applied), counted_from)


def keys_of(lifted: Lifted, kinds: Sequence[str] = ("string",)) -> list[tuple[Any, ...]]:
    return [decode_key(key, kinds) for key in lifted.tiles.keys.to_pylist()]


def rows_by_key(lifted: Lifted) -> dict[Any, int]:
    keyed = lifted.tiles
    rows = np.bincount(keyed.key_of_tile, weights=keyed.tiles.rows, minlength=len(keyed))
    return {key[0]: int(n) for key, n in zip(keys_of(lifted), rows, strict=True)}


def values(build: Build, lifted: Lifted, at_us: int) -> dict[Any, list[Any]]:
    horizon_us = np.full(len(lifted.tiles), NEVER_US)
    columns = finish(build.shape, lifted.tiles, at_us, horizon_us)
    return {
        key[0]: [column.values[i] for column in columns] for i, key in enumerate(keys_of(lifted))
    }


def test_lift_folds_each_key_into_tiles_of_a_second():
    build = build_of()
    lifted = lift(build, [event("a", NOON_US), event("b", NOON_US), event("a", NOON_US + 999_999)])
    assert rows_by_key(lifted) == {"a": 2, "b": 1}
    assert lifted.tiles.tiles.start_us.tolist() == [NOON_US, NOON_US]
    assert lifted.tiles.tiles.rung.tolist() == [SECOND, SECOND]
    assert lifted.tiles.newest_us.tolist() == [NOON_US + 999_999, NOON_US]
    assert lifted.folded.sum() == 3


def test_lift_counts_folded_by_the_shard_of_the_key():
    names = [f"k{i}" for i in range(20)]
    lifted = lift(build_of(), [event(name, NOON_US) for name in names])
    shards = [shard_of(encode_key((name,), ("string",)), SHARDS) for name in names]
    assert lifted.folded.tolist() == np.bincount(shards, minlength=SHARDS).tolist()


def test_lift_filters_what_where_is_not_true_for_null_among_it():
    build = build_of(where=pl.col("x") > 0)
    events = [event("a", NOON_US, x) for x in (1.0, 0.0, -1.0, None)]
    lifted = lift(build, events)
    assert (lifted.filtered, lifted.folded.sum()) == (3, 1)


def test_lift_filters_a_null_key():
    lifted = lift(build_of(), [event(None, NOON_US), event("a", NOON_US)])
    assert (lifted.filtered, rows_by_key(lifted)) == (1, {"a": 1})


RETENTION_US = build_of().shape.retention_us or 0
WATERMARK_US = NOON_US - 30 * SECOND_US


def test_lift_expires_a_row_older_than_its_own_watermark_less_retention():
    oldest_us = WATERMARK_US - RETENTION_US
    events = [event("a", NOON_US), event("a", oldest_us), event("a", oldest_us - 1)]
    lifted = lift(build_of(), events)
    assert (lifted.expired, lifted.folded.sum(), lifted.late.sum()) == (1, 2, 1)


def test_lift_expires_by_allowed_lateness_where_that_is_stricter():
    build = build_of(allowed_lateness="1m")
    oldest_us = WATERMARK_US - MINUTE_US
    events = [event("a", NOON_US), event("a", oldest_us), event("a", oldest_us - 1)]
    assert lift(build, events).expired == 1
    loose = build_of(allowed_lateness="300d")
    events = [event("a", NOON_US), event("a", WATERMARK_US - RETENTION_US - 1)]
    assert lift(loose, events).expired == 1


def test_lift_never_expires_where_a_window_reads_everything():
    build = build_of({"all": agg.count().over(lifetime())})
    lifted = lift(build, [event("a", NOON_US), event("a", -HOUR_US)])
    assert (lifted.expired, lifted.folded.sum(), lifted.late.sum()) == (0, 2, 1)


def test_lift_expires_before_it_filters():
    """One outcome a row: a row that is both counts as expired."""
    build = build_of(where=pl.col("x") > 0)
    events = [event("a", NOON_US), event(None, WATERMARK_US - RETENTION_US - 1, -1.0)]
    lifted = lift(build, events)
    assert (lifted.expired, lifted.filtered) == (1, 0)


def test_late_is_before_the_watermark_of_the_rows_own_place_in_the_log():
    at_watermark = lift(build_of(), [event("a", NOON_US), event("a", WATERMARK_US)])
    before_it = lift(build_of(), [event("a", NOON_US), event("a", WATERMARK_US - 1)])
    sooner = lift(build_of(), [event("a", WATERMARK_US - 1), event("a", NOON_US)])
    assert [one.late.sum() for one in (at_watermark, before_it, sooner)] == [0, 1, 0]


def test_lift_keeps_what_is_dated_ahead_of_its_log_timestamp_as_an_instant():
    times_us = [NOON_US + n for n in (100, 200, 300, 200)]
    lifted = lift(build_of(), [event("a", at) for at in times_us], log_us=NOON_US + 199)
    tiles = lifted.tiles.tiles
    assert list(
        zip(tiles.start_us.tolist(), tiles.rung.tolist(), tiles.rows.tolist(), strict=True)
    ) == [(NOON_US, SECOND, 1), (NOON_US + 200, INSTANT, 2), (NOON_US + 300, INSTANT, 1)]
    assert lifted.tiles.newest_us.tolist() == [NOON_US + 300]


def test_lift_merges_a_second_whose_rows_stand_around_an_instant():
    logged = [NOON_US + 900_000, NOON_US, NOON_US + 900_000]
    times_us = [NOON_US + 100_000, NOON_US + 200_000, NOON_US + 300_000]
    lifted = lift(build_of(), [event("a", at) for at in times_us], log_us=logged)
    tiles = lifted.tiles.tiles
    assert list(zip(tiles.rung.tolist(), tiles.rows.tolist(), strict=True)) == [
        (SECOND, 2),
        (INSTANT, 1),
    ]


def test_lift_floors_toward_minus_infinity_before_the_epoch():
    lifted = lift(build_of(), [event("a", -1), event("a", -SECOND_US - 1)])
    assert lifted.tiles.tiles.start_us.tolist() == [-2 * SECOND_US, -SECOND_US]


def test_lift_of_no_good_row_adds_nothing():
    for events in ([], [b"nonsense", None], [event(None, NOON_US)]):
        lifted = lift(build_of(), events)
        assert len(lifted.tiles) == len(lifted.tiles.tiles) == lifted.folded.sum() == 0


def test_lift_leaves_out_rows_that_their_shard_has_applied():
    names = [f"k{i}" for i in range(12)]
    shards = [shard_of(encode_key((name,), ("string",)), SHARDS) for name in names]
    applied = [3, 12, 0, 7]
    lifted = lift(build_of(), [event(name, NOON_US) for name in names], applied=applied)
    expected = {n for i, (n, s) in enumerate(zip(names, shards, strict=True)) if i >= applied[s]}
    assert set(rows_by_key(lifted)) == expected
    assert lifted.folded.sum() == len(expected)


def test_lift_counts_other_outcomes_from_where_the_partitions_own_shard_stands():
    build = build_of(where=pl.col("x") > 0)
    events = [event("a", NOON_US, -1.0)] * 5 + [event("a", 0)]
    assert lift(build, events).filtered == 5
    lifted = lift(build, events, counted_from=3)
    assert (lifted.filtered, lifted.expired) == (2, 1)
    assert lift(build, events, counted_from=6).expired == 0


INPUTS = {
    "sum_x": agg.sum("x").over(sliding("1h")),
    "count_x": agg.count("x").over(sliding("1h")),
    "sum_n": agg.sum("n").over(sliding("1h")),
    "last_k": agg.last("k").over(sliding("1h")),
    "max_at": agg.max("at").over(sliding("1h")),
    "any_yes": agg.max("yes").over(sliding("1h")),
    "twice": agg.sum(pl.col("x") * 2).over(sliding("1h")),
}


def test_lift_evaluates_each_input_and_skips_its_nulls():
    build = build_of(INPUTS)
    lifted = lift(
        build,
        [
            event("a", NOON_US, 1.5, n=2, yes=True),
            event("a", NOON_US + 1, None, n=None, yes=None),
            event("a", NOON_US + 2, 2.0, n=2**62, yes=False),
        ],
    )
    expected = [3.5, 2, 2**62 + 2, "a", NOON_US + 2, True, 7.0]
    assert values(build, lifted, NOON_US + MINUTE_US)["a"] == expected


def test_lift_takes_what_is_not_finite_for_null():
    build = build_of({"n": agg.count(pl.col("x") / pl.col("n")).over(sliding("1h"))})
    events = [event("a", NOON_US, x, n=n) for x, n in ((1.0, 0), (0.0, 0), (1.0, 1), (-1.0, 0))]
    lifted = lift(build, events)
    assert values(build, lifted, NOON_US + MINUTE_US)["a"] == [1]
    assert lifted.folded.sum() == 4


MANY_KEYS = Entity("many", {"k": t.String, "n": t.Int64, "yes": t.Bool, "at": t.Timestamp.of("us")})
MANY_KINDS = ("string", "int", "bool", "time")


def test_lift_tells_keys_of_many_columns_apart():
    events = [
        event("a", NOON_US, n=-1, yes=True),
        event("a", NOON_US, n=-1, yes=False),
        event("a", NOON_US + 1, n=-1, yes=True),
        event("a", NOON_US, n=-1, yes=True),
    ]
    lifted = lift(build_of(COUNT_1H, entity=MANY_KEYS), events)
    assert sorted(keys_of(lifted, MANY_KINDS)) == [
        ("a", -1, False, NOON_US),
        ("a", -1, True, NOON_US),
        ("a", -1, True, NOON_US + 1),
    ]
    assert lifted.folded.sum() == 4


def test_lift_tells_keys_apart_though_the_columns_product_does_not_fit_in_64_bits(monkeypatch):
    """5 columns of 65 536 distinct values each have 2**80 combinations."""
    events = [
        event(f"k{i % 7}", NOON_US + i % 11, n=i % 5, yes=bool(i % 2)) for i in range(7 * 11 * 10)
    ]
    build = build_of(COUNT_1H, entity=MANY_KEYS)
    expected = set(keys_of(lift(build, events), MANY_KINDS))
    monkeypatch.setattr(judging, "_CODES_MAX", 20)
    few = lift(build, events)
    assert set(keys_of(few, MANY_KINDS)) == expected
    assert len(few.tiles) == 7 * 11 * 10


key_times = st.lists(
    st.tuples(st.integers(0, 2**20), st.integers(-(2**62), 2**62)), min_size=1, max_size=40
)


@given(rows=st.one_of(key_times, st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9)))))
def test_law_rows_are_sorted_by_key_then_time_then_position(rows):
    """Whether or not the three fit into one integer."""
    codes = np.array([code for code, _ in rows], dtype=np.int64)
    event_us = np.array([at_us for _, at_us in rows], dtype=np.int64)
    order = lifting._by_key_and_time(codes, event_us)
    assert order.tolist() == sorted(range(len(rows)), key=lambda i: (*rows[i], i))


def test_lift_counts_values_that_are_not_finite_by_input_and_only_in_folded_rows():
    quotient = 1 / pl.col("x")
    build = build_of(
        {
            "sum": agg.sum(quotient).over(sliding("1h")),
            "max": agg.max(quotient).over(sliding("1h")),
            "x": agg.sum("x").over(sliding("1h")),
            "many": agg.sum(quotient, where=pl.col("x") > -1).over(sliding("1h")),
        },
        where=pl.col("yes"),
    )
    rows = [(0.0, True), (2.0, True), (None, True), (0.0, True), (0.0, False)]
    events = [event("a", NOON_US + i, x, yes=yes) for i, (x, yes) in enumerate(rows)]
    lifted = lift(build, events)
    names = {name for name, _, _ in build.inputs}
    assert set(lifted.not_finite) < names
    assert sorted(lifted.not_finite.values()) == [2, 2]
    assert lift(build, events[1:3]).not_finite == {}
    again = lift(build, events, applied=(3,) * SHARDS)
    assert set(again.not_finite.values()) == {1}, "applied rows are not lifted again"


def test_lift_counts_what_is_not_finite_in_either_value_of_a_pair():
    features = {"c": agg.covariance(1 / pl.col("x"), 2 / pl.col("n")).over(sliding("1h"))}
    rows = [(0.0, 0), (1.0, 0), (0.0, 1), (1.0, 1)]
    events = [event("a", NOON_US + i, x, n=n) for i, (x, n) in enumerate(rows)]
    build = build_of(features)
    lifted = lift(build, events)
    assert list(lifted.not_finite.values()) == [4]
