"""Sorting events, finding instants among them, and pairs for which there is little to find."""

from __future__ import annotations

import numpy as np
import pytest

import tegula as tg
from tegula import agg
from tegula.schemas.outcomes import Status
from tegula.windows.algebra import Column, Order
from tegula.windows.instants import Asked, EventRows, values_at
from tegula.windows.instants.rows import in_order
from tegula.windows.instants.timeline import Timeline
from tests.support.instants import build_of, drawn

BUILD = build_of({"n": agg.count().over(tg.sliding("1h")), "s": agg.sum("x").over(tg.last(2))})


def int64s(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize("keys", [3, 2**40])
@pytest.mark.parametrize("span_us", [4, 2**58])
def test_oracle_rows_are_sorted_by_key_and_the_in_order(keys, span_us, seed):
    rng = np.random.default_rng(seed)
    key, event_us = rng.integers(0, keys, 200), rng.integers(-span_us, span_us, 200)
    if rng.random() < 0.5:
        event_us.sort()
    places = Order(event_us, rng.integers(0, 2, 200), rng.permutation(200))
    found = in_order(EventRows(key, places, (Column(np.arange(200)),)))
    wanted = sorted(
        range(200), key=lambda i: (key[i], event_us[i], places.ordinal[i], places.offset[i])
    )
    assert found.inputs[0].values.tolist() == wanted
    assert found.key.tolist() == key[wanted].tolist()
    assert found.order.offset.tolist() == places.offset[wanted].tolist()


@pytest.mark.parametrize("keys", [3, 2**40])
@pytest.mark.parametrize("span_us", [4, 2**58])
def test_oracle_timeline_finds_the_first_row_at_or_after_an_edge(keys, span_us, seed):
    rng = np.random.default_rng(seed)
    drawn_rows = zip(rng.integers(0, keys, 50), rng.integers(-4, span_us, 50), strict=True)
    rows = sorted((int(key), int(at)) for key, at in drawn_rows)
    key, event_us = (int64s(*one) for one in zip(*rows, strict=True))
    asked = int64s(*rng.choice([*key, -1, keys, keys + 5], 40))
    edges = int64s(*rng.choice([*event_us, *event_us + 1, -(2**63), 2**63 - 1, 0], 40))
    found = Timeline.of(key, event_us).before(asked, edges)
    for one, edge, place in zip(asked, edges, found, strict=True):
        mine = [row for row in rows if row[0] == one]
        assert [row for row in rows[:place] if row[0] == one] == [r for r in mine if r[1] < edge]


def test_nothing_is_found_of_no_events():
    rows = drawn(BUILD, np.random.default_rng(0), 0, 1, 1)
    exact, count, total = values_at(BUILD.shape, rows, Asked(int64s(0, -1), int64s(5, 9)))
    assert count.values.to_pylist() == exact.values.to_pylist() == [0, 0]
    assert total.values.to_pylist() == [0.0, 0.0]
    assert count.statuses.tolist() == [Status.NOT_FOUND] * 2


def test_no_pairs_are_answered_with_columns_of_no_rows():
    rows = drawn(BUILD, np.random.default_rng(0), 9, 2, 100)
    columns = values_at(BUILD.shape, rows, Asked(int64s(), int64s()))
    assert [len(column) for column in columns] == [0, 0, 0]
    assert [column.values.type for column in columns] == [
        f.output.arrow for f in BUILD.shape.features
    ]


def test_pairs_are_answered_in_the_order_in_which_they_were_asked():
    one = int64s(1, 1, 7)
    rows = EventRows(one, Order(int64s(10, 30, 20), one * 0, int64s(0, 1, 2)), ())
    build = build_of({"n": agg.count().over(tg.lifetime())})
    asked = Asked(int64s(7, 1, 3, 1, 1, 1), int64s(99, 99, 99, 10, 11, 99))
    _, count = values_at(build.shape, rows, asked)
    assert count.values.to_pylist() == [1, 2, 0, 0, 1, 2]
    assert count.newest_us.tolist() == [20, 30, -(2**63), -(2**63), 10, 30]


def test_default_stands_where_there_is_no_value():
    build = build_of({"m": agg.mean("x").over(tg.sliding("1h"), default=-1.0)})
    rows = drawn(build, np.random.default_rng(0), 0, 1, 1)
    _, mean = values_at(build.shape, rows, Asked(int64s(0), int64s(5)))
    assert mean.values.to_pylist() == [-1.0]
