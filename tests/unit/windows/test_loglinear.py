"""Log-linear buckets: the shift is that of the whole, however it was cut and merged."""

from __future__ import annotations

import math

import datasketches
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows import loglinear
from tegula.windows.aggregates import AGGREGATES, MONOIDS
from tegula.windows.algebra import Column, Order, Runs
from tegula.windows.loglinear import BUCKETS_MAX

BUCKETS = MONOIDS["buckets"]
MODES = ("wide", "narrow", "signed", "zeros", "heavy", "extreme")


def drawn(mode: str, count: int, chance: np.random.Generator) -> np.ndarray:
    """Values of some distribution."""
    return {
        "wide": lambda: 10.0 ** chance.uniform(-3, 9, count),
        "narrow": lambda: chance.normal(1e6, 1.0, count),
        "signed": lambda: chance.standard_cauchy(count),
        "zeros": lambda: np.where(chance.random(count) < 0.3, 0.0, chance.lognormal(3, 1, count)),
        "heavy": lambda: np.round(chance.pareto(1.0, count), 1),
        "extreme": lambda: np.ldexp(
            chance.uniform(-1, 1, count), chance.integers(-1074, 1024, count)
        ),
    }[mode]()


def state_of(values: np.ndarray) -> bytes:
    places = np.arange(len(values))
    runs = Runs(np.array([0]), len(values))
    (state,) = BUCKETS.lift(Column(values), Order(places, places, places), runs)
    return state.to_pylist()[0]


def octaves(values: np.ndarray) -> float:
    """In how many doublings values lie, those below zero apart."""
    sizes = [values[values > 0], -values[values < 0]]
    return sum(math.log2(part.max() / part.min()) + 1 for part in sizes if len(part))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_places_ascend_as_values_do(values):
    array = np.array(values, np.float64)
    places = loglinear.places_of(array)
    assert (loglinear.values_at(places) == array).all()
    order = np.argsort(places, kind="stable")
    assert (np.diff(array[order]) >= 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_state_is_that_of_the_whole_however_parts_meet(mode, seed):
    chance = np.random.default_rng(seed)
    for _ in range(20):
        values = drawn(mode, int(chance.integers(1, 4000)), chance)
        cuts = np.sort(chance.integers(0, len(values) + 1, chance.integers(1, 9)))
        parts = [state_of(part) for part in np.split(values, cuts) if len(part)] + [b""]
        whole = state_of(chance.permutation(values))
        while len(parts) > 1:  # in any grouping
            chosen = chance.permutation(len(parts))[: chance.integers(2, len(parts) + 1)]
            column = pa.array([parts[i] for i in chosen], pa.large_binary())
            merged = BUCKETS.reduce((column,), Runs(np.array([0]), len(chosen)))[0].to_pylist()
            assert BUCKETS.reduce_one((column,)) == tuple(merged)
            parts = [one for i, one in enumerate(parts) if i not in chosen] + merged
        assert parts == [whole]
        assert len(whole) <= 8 + 16 * BUCKETS_MAX


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "extreme"])
def test_oracle_quantile_is_within_its_bound_of_the_exact_one(mode, seed):
    chance = np.random.default_rng(seed)
    for count in (7, 512, 5_000, 60_000):
        values = drawn(mode, count, chance)
        states = ((pa.array([state_of(values)], pa.large_binary()),),)
        bound = 0.0
        if len(np.unique(values)) > BUCKETS_MAX:
            bound = octaves(values) / (BUCKETS_MAX - 1)
        for q in (0.0, 0.01, 0.25, 0.5, 0.9, 0.999, 1.0):
            exact = np.quantile(values, q, method="inverted_cdf")
            found, _ = AGGREGATES["approx_quantile"].finish(states, {"q": q})
            assert abs(found[0] - exact) <= bound * abs(exact)


def test_oracle_quantile_agrees_with_another_sketch(seed):
    """KLL is random and bounds the rank, 1.7 % with k = 200; ours must fall into its bounds."""
    values = np.random.default_rng(seed).lognormal(3, 2, 50_000)
    kll = datasketches.kll_doubles_sketch(200)
    kll.update(values)
    states = ((pa.array([state_of(values)], pa.large_binary()),),)
    for q in (0.1, 0.5, 0.9, 0.99):
        found, _ = AGGREGATES["approx_quantile"].finish(states, {"q": q})
        assert abs(kll.get_rank(found[0]) - q) < 0.04


@pytest.mark.parametrize(("q", "expected"), [(0.07, 7), (0.1, 10), (0.7, 70), (0.0, 1), (1, 100)])
def test_quantile_of_a_hundred_is_the_one_that_people_count(q, expected):
    state = state_of(np.arange(1.0, 101.0))
    assert AGGREGATES["approx_quantile"].finish_one(((state,),), {"q": q}) == expected


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 2**32))
def test_many_runs_are_coarsened_each_for_itself(crowds, seed):
    chance = np.random.default_rng(seed)
    sizes = [(1, 600, 3, 2000)[crowd] for crowd in crowds]
    parts = [chance.lognormal(0, 1 + i, size) for i, size in enumerate(sizes)]
    runs, places = Runs.of_lengths(np.array(sizes)), np.arange(sum(sizes))
    (states,) = BUCKETS.lift(Column(np.concatenate(parts)), Order(places, places, places), runs)
    assert states.to_pylist() == [state_of(part) for part in parts]
