"""The greatest fall: exact of few values, near beyond, and the same however states met."""

from __future__ import annotations

import struct
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.aggregates import AGGREGATES, drawdowns
from tegula.windows.algebra import OVERFLOWED, Column, Order, Runs, States, concat, take
from tests.support.aggregates import finished

SMALLEST = 5e-324
NUMBERS = {
    "float": st.one_of(
        st.sampled_from([0.0, -0.0, SMALLEST, -SMALLEST, 1.0, -1.0, 1e308, -1e308]),
        st.integers(-40, 40).map(lambda quarters: quarters / 4),
        st.floats(-1e300, 1e300),
    ),
    "int": st.integers(-9, 9) | st.integers(-5000, 5000) | st.integers(-(2**63), 2**63 - 1),
}


def greatest_fall(values: list[Any]) -> Any:
    return max([values[0] - values[0], *(a - b for a, b in combinations(values, 2))])


@pytest.mark.parametrize("kind", NUMBERS)
@given(data=st.data())
def test_oracle_fall_of_few_values_is_exact(kind, data):
    values = data.draw(st.lists(st.none() | NUMBERS[kind], max_size=30))
    cut = data.draw(st.integers(0, max(len(values) - 1, 0)))
    present, expected = [one for one in values if one is not None], None
    if present:
        expected = greatest_fall(present)
        if expected >= (np.inf if kind == "float" else 2**63):
            expected = OVERFLOWED
    assert finished("drawdown", kind, values, cut=cut) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([None], None),
        ([7.5], 0.0),
        ([1.0, 2.0, 3.0], 0.0),
        ([3.0, 9.0, 5.0, 8.0, 4.5, 10.0], 4.5),
        ([10.0, 1.0, 100.0, 92.0], 9.0),
        ([1e308, -1e308], OVERFLOWED),
    ],
)
def test_fall_at_the_edges_of_its_meaning(values, expected):
    assert finished("drawdown", "float", values) == expected


def test_equal_event_times_are_no_tie():
    assert finished("drawdown", "int", [5, 9, 2], at_us=[3, 3, 3]) == 7
    assert finished("drawdown", "int", [2, 5, 9], at_us=[3, 3, 3]) == 0


def lifted(kind: str, values: Any, runs: Runs, rows: Any = None) -> States:
    """States of values at places that are as theirs; `rows` are those to take, in order."""
    (need,) = AGGREGATES["drawdown"].needs(kind, {})
    rows = np.arange(len(values)) if rows is None else rows
    column = Column(np.asarray(values, "f8" if kind == "float" else "i8")[rows])
    return need.monoid.lift(column, Order(rows // 3, rows % 2, rows), runs)


def plain(state: States) -> list[Any]:
    return [
        field.to_pylist() if hasattr(field, "to_pylist") else field.tobytes() for field in state
    ]


@pytest.mark.parametrize("kind", NUMBERS)
@given(data=st.data())
def test_coarse_state_is_the_same_however_it_was_put_together(kind, data):
    """With so small a bound that most unions pass it; parts lie between each other."""
    values = data.draw(st.lists(NUMBERS[kind], min_size=1, max_size=30))
    owners = np.array(data.draw(st.lists(st.integers(0, 3), min_size=30, max_size=30)))
    order = data.draw(st.permutations(range(4)))
    places = in_total_order(len(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawdowns, "EXACT_MAX", 3)
        patch.setattr(drawdowns, "_STEP_BITS", 2)
        (need,) = AGGREGATES["drawdown"].needs(kind, {})
        whole = lifted(kind, values, Runs(np.array([0]), len(values)), places)
        mixed = need.monoid.zero(1)
        for part in order:
            rows = places[owners[places] == part]
            if not len(rows):
                continue
            state = lifted(kind, values, Runs(np.array([0]), len(rows)), rows)
            mixed = need.monoid.reduce(concat((mixed, state)), Runs(np.array([0]), 2))
        assert plain(mixed) == plain(whole)


def in_total_order(count: int) -> Any:
    rows = np.arange(count)
    return rows[np.lexsort((rows, rows % 2, rows // 3))]


@pytest.mark.parametrize("kind", NUMBERS)
def test_fall_of_many_values_is_within_a_share_of_their_range(kind, seed):
    chance = np.random.default_rng(seed)
    for scale in (1.0, 1e4, 1e-200 if kind == "float" else 1e15):
        walk = np.cumsum(chance.normal(scale=scale, size=20_000)) + 7 * scale
        if kind == "int":
            walk = walk.astype(np.int64)
        state = lifted(kind, walk, Runs(np.array([0]), len(walk)), np.arange(len(walk)))
        found = AGGREGATES["drawdown"].finish((state,), {})[0][0]  # type: ignore[union-attr]
        exact, spread = (np.maximum.accumulate(walk) - walk).max(), walk.max() - walk.min()
        assert found <= exact
        assert exact - found < spread / 256
        if spread < 1024 and kind == "int":
            assert found == exact


@pytest.mark.parametrize("kind", NUMBERS)
def test_values_that_only_rise_take_no_more_than_the_stated_bytes(kind):
    values = np.arange(50_000) * (1.5 if kind == "float" else 3) - 1000
    state = lifted(kind, values, Runs(np.array([0]), len(values)), np.arange(len(values)))
    stored = state[3][0].as_py()
    assert 32 * 512 < len(stored) < 66_000
    assert AGGREGATES["drawdown"].finish((state,), {})[0].tolist() == [0]  # type: ignore[union-attr]


def test_states_beside_each_other_do_not_feel_it(seed):
    chance = np.random.default_rng(seed)
    values = chance.normal(size=6000)
    runs = Runs(np.array([0, 2, 3000, 3001, 4500]), 6000)
    together = lifted("float", values, runs, np.arange(6000))
    for place, (begin, end) in enumerate(zip(runs.starts, runs.ends, strict=True)):
        rows = np.arange(begin, end)
        alone = lifted("float", values, Runs(np.array([0]), len(rows)), rows)
        assert plain(take(together, np.array([place]))) == plain(alone)


def test_golden_state_is_laid_out_as_described():
    values = [2.0, -1.0, 5.0, 4.0, 3.0, 9.0, 8.0]
    order = Order(np.arange(7) + 10, np.ones(7, np.int64), np.arange(7))
    (need,) = AGGREGATES["drawdown"].needs("float", {})
    state = need.monoid.lift(Column(np.array(values)), order, Runs(np.array([0]), 7))
    assert [field[0] for field in state[:3]] == [7, -1.0, 9.0]
    kept = [(10 + i, 1, i, values[i]) for i in (0, 1, 2, 4, 5, 6)]
    assert state[3][0].as_py() == struct.pack("<Q", 1) + b"".join(
        struct.pack("<3qd", *one) for one in kept
    )
