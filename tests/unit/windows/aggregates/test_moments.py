"""Moments and aggregates of pairs against exact fractions, and where they end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import BadParameter, UnsupportedInput
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import OVERFLOWED
from tests.oracle import naive
from tests.oracle.naive_values import VALUES, Held
from tests.support.aggregates import finished

SINGLE = ("skew", "kurtosis", "slope")
PAIRED = ("covariance", "correlation", "weighted_mean", "ratio")
NOW_US = 1_714_567_890_123_456

numbers = {
    "float": st.floats(1e-4, 1e6) | st.floats(-1e6, -1e-4) | st.just(0.0),
    "int": st.integers(-9, 9) | st.integers(-(2**62), 2**62),
    "bool": st.integers(0, 1),
}
kinds = st.sampled_from(list(numbers))


def naive_value(name: str, present: list[tuple[int, Any]]) -> Any:
    times_us, values = [at for at, _ in present], [value for _, value in present]
    return VALUES[name](Held(values, times_us, {}, 0, 0, 0)) if present else None


@pytest.mark.parametrize("name", SINGLE)
@given(data=st.data(), kind=kinds, gaps_us=st.lists(st.integers(0, 10**7), max_size=20))
def test_oracle_moment_is_within_its_bound(name, data, kind, gaps_us):
    at_us = [NOW_US + sum(gaps_us[:i]) for i in range(len(gaps_us))]
    values = [data.draw(st.none() | numbers[kind]) for _ in at_us]
    cut = data.draw(st.integers(0, max(len(values) - 1, 0)))
    present = [(at, value) for at, value in zip(at_us, values, strict=True) if value is not None]
    value = finished(name, kind, values, cut=cut, at_us=at_us)
    assert naive.same(value, naive_value(name, present))


@pytest.mark.parametrize("name", PAIRED)
@given(data=st.data(), first=kinds, second=kinds)
def test_oracle_pair_is_within_its_bound(name, data, first, second):
    pair = st.tuples(st.none() | numbers[first], st.none() | numbers[second])
    values = data.draw(st.lists(pair, max_size=20))
    cut = data.draw(st.integers(0, max(len(values) - 1, 0)))
    present = [(0, one) for one in values if None not in one]
    value = finished(name, f"{first},{second}", values, cut=cut)
    expected = naive_value(name, present)
    assert naive.same(value, expected)


@pytest.mark.parametrize(
    ("name", "kind", "values", "expected"),
    [
        ("skew", "float", [1.0, 2.0, 3.0], 0.0),
        ("kurtosis", "int", [1, 2, 3, 4], -1.36),
        ("skew", "float", [0.1] * 7, None),
        ("kurtosis", "float", [7.5], None),
        ("skew", "float", [1e110, -1e110, 0.0], OVERFLOWED),
        ("kurtosis", "float", [1e80, -1e80, 0.0], OVERFLOWED),
        ("slope", "float", [3.0], None),
        ("covariance", "float,int", [(1.0, 1)], None),
        ("covariance", "float,float", [(1e200, 1e200), (0.0, 0.0)], OVERFLOWED),
        ("correlation", "float,int", [(1.0, 1), (1.0, 2)], None),
        ("correlation", "float,int", [(0.5, -1), (0.25, -2), (0.0, -3)], 1.0),
        ("correlation", "float,float", [(1e150, 1e-150), (-1e150, -1e-150)], 1.0),
        ("correlation", "float,float", [(1e200, 1.0), (0.0, 0.0)], OVERFLOWED),
        ("weighted_mean", "float,int", [(1.0, 1), (2.0, -1)], None),
        ("weighted_mean", "float,float", [(1e-300, 1e308), (1e-300, 1e308)], OVERFLOWED),
        ("weighted_mean", "float,bool", [(1.0, 1), (2.0, 0), (4.0, 1), (None, 1)], 2.5),
        ("ratio", "float,int", [(1.0, 2), (2.0, -2)], None),
        ("ratio", "float,int", [], None),
        ("ratio", "float,int", [(9.0, None), (None, 3)], None),
        ("ratio", "float,int", [(0.0, 3)], 0.0),
        ("ratio", "int,int", [(3, 2), (None, 100), (4, None), (1, -10)], -0.5),
        ("ratio", "bool,bool", [(1, 1), (0, 1), (0, 1), (1, 1)], 0.5),
        ("ratio", "float,float", [(1.0, 1e308), (1.0, 1e308)], OVERFLOWED),
        ("ratio", "float,float", [(1e308, 1.0), (1e308, 1.0)], OVERFLOWED),
        ("ratio", "float,float", [(1e300, 1e-300)], OVERFLOWED),
    ],
)
def test_moment_at_the_edges_of_its_meaning(name, kind, values, expected):
    value = finished(name, kind, values, cut=len(values) // 2)
    assert value == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_slope_holds_over_a_few_microseconds():
    at_us = [NOW_US, NOW_US + 1, NOW_US + 2]
    assert finished("slope", "int", [7, 9, 11], {"per": "1us"}, at_us=at_us) == pytest.approx(
        2.0, rel=1e-10
    )


@pytest.mark.parametrize("kind", [None, "float", "float,string", "time,float"])
def test_pair_of_other_columns_is_refused(kind):
    for name in PAIRED:
        with pytest.raises(UnsupportedInput, match="two columns"):
            AGGREGATES[name].needs(kind, {})


def test_covariance_refuses_a_ddof_that_is_no_count():
    with pytest.raises(BadParameter, match="ddof"):
        AGGREGATES["covariance"].needs("float,float", {"ddof": -1})
