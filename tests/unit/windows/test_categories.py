"""States by category: the laws of merging, the bound that absorbs, and what is served apart."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import Column, Order, Runs, StateNeed, States, concat, take
from tegula.windows.categories import CATEGORIES_MAX, OTHER, Categories, categories

KINDS = {
    "string": st.sampled_from([b"", b"a", b"a\x00", b"b", "é".encode(), b"__other__", b"x" * 40]),
    "int": st.sampled_from([0, -1, 7, 2**63 - 1, -(2**63)]),
}
BOUND = 4
"""The bound of states in these tests, where six or more different categories are drawn."""


def made(kind: str, *aggregates: str, most: int = CATEGORIES_MAX) -> Categories:
    """The states of some aggregates of integers by a category."""
    needs = [need for name in aggregates for need in AGGREGATES[name].needs("int", {})]
    return categories(needs, kind == "string", most)[0]


INNER = [("sum",), ("count",), ("mean", "max"), ("first", "time_since_last"), ("variance",)]
MONOIDS = [(kind, made(kind, *names, most=BOUND)) for kind in KINDS for names in INNER]
each = pytest.mark.parametrize(
    ("kind", "monoid"), MONOIDS, ids=lambda one: getattr(one, "name", one)
)


@st.composite
def rows_of(draw, kind):
    """Rows `(event_us, offset, part, run, value, category)`, in the order of the runs."""
    category = st.none() | KINDS[kind]
    row = st.tuples(
        st.integers(0, 9), st.integers(0, 3), st.integers(0, 1), st.integers(-9, 9), category
    )
    drawn = draw(st.lists(row, max_size=24))
    found = [(at, offset, *rest) for offset, (at, *rest) in enumerate(drawn)]
    return sorted(found, key=lambda one: (one[3], one[:2]))


def lift(monoid: Categories, rows: list[tuple[object, ...]], runs: Runs | None = None) -> States:
    """The state of all rows as one run, or as the runs that are given."""
    if not rows:
        return monoid.zero(1)
    at, offset, _, _, values, named = zip(*rows, strict=True)
    zeros = np.zeros(len(rows), np.int64)
    order = Order(np.array(at), zeros, np.array(offset))
    valid = np.array([one is not None for one in named])
    garbage = b"garbage" if monoid.has_texts else 99
    shown = [garbage if one is None else one for one in named]
    beside = pa.array(shown, pa.large_binary()) if monoid.has_texts else np.array(shown, np.int64)
    column = Column(np.array(values), None if valid.all() else valid, beside)
    return monoid.lift(column, order, runs or Runs(np.zeros(1, np.int64), len(rows)))


def merged(monoid: Categories, *parts: States) -> States:
    return monoid.reduce(concat(parts), Runs(np.zeros(1, np.int64), len(concat(parts)[0])))


def plain(state: States) -> list[list[bytes]]:
    return [field.to_pylist() for field in state]


@each
@given(data=st.data())
def test_law_a_state_is_a_function_of_the_set_of_rows(kind, monoid, data):
    rows = sorted(data.draw(rows_of(kind)), key=lambda one: one[:2])
    order = data.draw(st.permutations(range(4)))
    split = data.draw(st.integers(1, 3))
    whole = lift(monoid, rows)
    parts = [lift(monoid, [row for row in rows if row[2] == part]) for part in range(4)]
    sides = [merged(monoid, *(parts[i] for i in side)) for side in (order[:split], order[split:])]
    assert plain(merged(monoid, *sides)) == plain(whole)
    assert plain(merged(monoid, *reversed(sides))) == plain(whole)
    assert plain(merged(monoid, whole, monoid.zero(1))) == plain(whole)
    assert list(monoid.reduce_one(concat(tuple(parts)))) == [one[0] for one in plain(whole)]
    is_past = len({row[5] for row in rows} - {None}) > BOUND
    assert monoid.chosen(whole, 3).passed.tolist() == [is_past]
    if is_past:  # all states past their bound are one state, and stay it
        assert len(whole[0][0].as_py()) == 8 * (1 + monoid.width)
        assert plain(merged(monoid, whole, parts[0])) == plain(whole)


@each
@given(data=st.data())
def test_law_a_run_does_not_feel_its_neighbours(kind, monoid, data):
    rows = data.draw(rows_of(kind))
    if not rows:
        return
    runs = Runs.of_changes(np.array([row[3] for row in rows]))
    together = lift(monoid, rows, runs)
    alone = [lift(monoid, [r for r in rows if r[3] == run]) for run in sorted({r[3] for r in rows})]
    assert plain(together) == plain(concat(tuple(alone)))
    twice = take(together, np.repeat(np.arange(runs.count), 2))
    pairs = Runs(np.arange(0, 2 * runs.count, 2), 2 * runs.count)
    doubled = [merged(monoid, one, one) for one in alone]
    assert plain(monoid.reduce(twice, pairs)) == plain(concat(tuple(doubled)))


def test_inner_states_are_those_of_the_rows_of_each_category():
    sums, place = categories(AGGREGATES["sum"].needs("int", {}), has_texts=True)
    rows = [
        (0, 0, 0, 0, 5, b"b"),
        (1, 1, 0, 0, 7, b"a"),
        (2, 2, 0, 0, 2, b"b"),
        (3, 3, 0, 0, 9, None),
    ]
    chosen = sums.chosen(lift(sums, rows), 10)
    assert chosen.names.to_pylist() == [b"b", b"a"]
    (counts,), (_, totals) = chosen.inner[0], chosen.inner[place[0]]
    assert (counts.tolist(), totals.tolist()) == ([2, 1], [7, 7])


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), cap=st.integers(1, 8))
def test_the_most_frequent_are_chosen_and_the_rest_is_merged(kind, data, cap):
    monoid = made(kind, "sum")
    rows = [row for row in data.draw(rows_of(kind)) if row[5] is not None]
    often = Counter(row[5] for row in rows)
    ranked = sorted(often, key=lambda one: (one == OTHER.encode(), -often[one], one))
    apart = [one for one in ranked if one != OTHER.encode()][:cap]
    expected = defaultdict(int)
    for row in rows:
        expected[row[5] if row[5] in apart else OTHER.encode()] += row[4]
    chosen = monoid.chosen(lift(monoid, rows), cap)
    totals = chosen.inner[1][1].view(np.int64).tolist()
    texts = [one if isinstance(one, bytes) else str(one).encode() for one in expected]
    assert dict(zip(chosen.names.to_pylist(), totals, strict=True)) == dict(
        zip(texts, expected.values(), strict=True)
    )
    shown = [one if isinstance(one, bytes) else str(one).encode() for one in apart]
    assert chosen.names.to_pylist()[: len(apart)] == shown


def test_bytes_of_a_state_are_those_of_the_format():
    def words(*of):
        return b"".join(one.to_bytes(8, "little", signed=True) for one in of)

    rows = [(0, 0, 0, 0, 5, b"b"), (1, 1, 0, 0, -7, b"ab"), (2, 2, 0, 0, 2, b"b")]
    state = lift(made("string", "sum"), rows)
    assert plain(state) == [[words(3, 1, -1, -7, 2, 2, 0, 7, 1)], [b"abb"]]
    numbered = [(*row[:5], place) for place, row in enumerate(rows)]
    assert plain(lift(made("int", "count"), numbered)) == [[words(2, 1, 0, 1, 1, 1, 2)]]
    assert plain(lift(made("int", "count", most=2), numbered)) == [[words(2, -1, 0)]]


def test_bools_are_served_as_json_spells_them():
    monoid = made("int", "count")
    rows = [(0, 0, 0, 0, 1, 1), (1, 1, 0, 0, 1, 0), (2, 2, 0, 0, 1, 1)]
    assert monoid.chosen(lift(monoid, rows), 5, is_bool=True).names.to_pylist() == [
        b"true",
        b"false",
    ]


def test_the_bound_holds_as_many_as_it_says_and_not_one_more():
    monoid = made("int", "count")
    rows = [(n, n, 0, 0, 1, n) for n in range(CATEGORIES_MAX + 1)]
    full, more = lift(monoid, rows[:-1]), lift(monoid, rows)
    assert not monoid.chosen(full, 5).passed[0]
    assert monoid.chosen(more, 5).passed[0]
    assert len(full[0][0].as_py()) == 8 * (1 + 2 * CATEGORIES_MAX)
    assert plain(merged(monoid, full, lift(monoid, rows[-1:]))) == plain(more)
    assert not monoid.chosen(merged(monoid, full, full), 5).passed[0]


def test_many_categories_under_one_key_stay_small_and_take_time_in_proportion():
    monoid = made("string", "sum")
    count, step = 100_000, 5_000
    names = pa.array([b"merchant-%d" % n for n in range(count)], pa.large_binary())

    def spent(batch: int) -> float:
        """CPU time of folding all of them into one state, in batches of some size."""
        begin_s, state, largest = time.process_time(), monoid.zero(1), 0
        for first in range(0, count, batch):
            rows = np.arange(first, first + batch)
            column = Column(rows, None, names[first : first + batch])
            new = monoid.lift(column, Order(rows, rows * 0, rows), Runs(np.zeros(1, int), batch))
            state = merged(monoid, state, new)
            largest = max(largest, sum(len(field[0].as_py()) for field in state))
        assert monoid.chosen(state, 5).passed[0]
        assert largest <= 1024 * (8 * monoid.width + 20)
        return time.process_time() - begin_s

    spent(step)
    # Twenty times as many steps over as many rows: quadratic growth would make it far dearer.
    assert spent(step // 20) < 10 * spent(step) + 1


def test_states_of_equal_needs_are_one_whatever_their_order():
    needs = [*AGGREGATES["mean"].needs("float", {}), *AGGREGATES["max"].needs("float", {})]
    one, places = categories(needs, has_texts=True)
    other, back = categories(reversed(needs), has_texts=True)
    assert one == other
    assert places == tuple(reversed(back))
    assert one.name.startswith("by_bytes_1024_count_values_1_")
    rows = StateNeed(AGGREGATES["count"].needs(None, {})[0].monoid, takes_input=False)
    assert categories([rows], has_texts=True)[0] == made("string", "count")
