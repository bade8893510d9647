"""Every aggregate against a naive recomputation in Python's own exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import BadParameter, UnsupportedInput
from tegula.schemas.types import Bool, DataType, Float64, Int64, String, Timestamp
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import OVERFLOWED, Order, Reading, Runs
from tegula.windows.ladder import EVER_START_US
from tests.support.aggregates import finished, takes

TYPES = {"float": Float64, "int": Int64, "bool": Bool, "time": Timestamp, "string": String}
VALUES = {
    "float": st.floats(1e-4, 1e8) | st.floats(-1e8, -1e-4) | st.just(0.0),
    "int": st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    "bool": st.integers(0, 1),
    "time": st.integers(0, 2 * 10**15),
    "string": st.text().map(str.encode),
}
INT64 = range(-(2**63), 2**63)


def naive_sum(values: list[Any], ddof: int) -> Any:
    if any(isinstance(value, float) for value in values):
        return math.fsum(values)
    return sum(values) if sum(values) in INT64 else OVERFLOWED


def naive_variance(values: list[Any], ddof: int) -> Fraction | None:
    if len(values) <= ddof or not values:
        return None
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    return sum((value - mean) ** 2 for value in exact) / (len(exact) - ddof)


def naive_range(values: list[Any]) -> Any:
    if not values:
        return None
    spread = max(values) - min(values)
    return spread if isinstance(spread, float) or spread in INT64 else OVERFLOWED


NAIVE = {
    "count": lambda values, ddof: len(values),
    "sum": naive_sum,
    "mean": lambda values, ddof: sum(map(Fraction, values)) / len(values) if values else None,
    "min": lambda values, ddof: min(values, default=None),
    "max": lambda values, ddof: max(values, default=None),
    "variance": naive_variance,
    "stddev": naive_variance,
    "first": lambda values, ddof: values[0] if values else None,
    "last": lambda values, ddof: values[-1] if values else None,
    "approx_distinct": lambda values, ddof: len(set(values)),
    "count_if": lambda values, ddof: sum(values),
    "any": lambda values, ddof: max(values, default=None),
    "all": lambda values, ddof: min(values, default=None),
    "range": lambda values, ddof: naive_range(values),
}
DECAYED = ("decayed_sum", "decayed_count")
ZERO_OVER_NOTHING = ("count", "count_if", "rate", "sum", "approx_distinct", *DECAYED)
NO_INPUT = [name for name in AGGREGATES if takes(name, None)]


CASES = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in NAIVE
    for kind in TYPES
    if takes(name, kind)
]


@pytest.mark.parametrize(("name", "kind"), CASES)
@given(data=st.data(), ddof=st.integers(0, 2))
def test_oracle_value_equals_the_naive_one(name, kind, data, ddof):
    values = data.draw(st.lists(st.none() | VALUES[kind], max_size=30))
    cut = data.draw(st.integers(0, max(len(values) - 1, 0)))
    present = [value for value in values if value is not None]
    expected = NAIVE[name](present, ddof)
    value = finished(name, kind, values, {"ddof": ddof}, cut)
    if name in ("variance", "stddev") and expected is not None:
        squares = sum(Fraction(item) ** 2 for item in present) if kind == "float" else Fraction(0)
        bound = expected / 2**51 + squares / (len(present) - ddof) / 2**95
        variance = Fraction(value) if name == "variance" else Fraction(value) ** 2
        root_bound = variance / 2**51 if name == "stddev" else 0
        assert abs(variance - expected) <= bound + root_bound
    elif name == "mean" and expected is not None:
        assert value == pytest.approx(float(expected), rel=2**-52, abs=0)
    else:
        assert value == expected


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("values", [[], [None, None]])
def test_empty_window_gives_nothing_or_zero(kind, values):
    for name in AGGREGATES:
        if takes(name, kind):
            nothing = [0, 0] if name == "histogram" else 0 if name in ZERO_OVER_NOTHING else None
            assert finished(name, kind, values) == nothing


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "string") for name in ("sum", "mean", "variance", "stddev")]
    + [(name, "time") for name in ("sum", "mean", "variance", "stddev")]
    + [(name, None) for name in AGGREGATES if name not in NO_INPUT],
)
def test_needs_refuses_an_input_without_meaning(name, kind):
    with pytest.raises(UnsupportedInput) as refused:
        AGGREGATES[name].needs(kind, {})
    assert f"`{name}`" in refused.value.message
    assert refused.value.expected


@pytest.mark.parametrize("ddof", [-1, 1.0, True, "1", None])
def test_spread_refuses_a_ddof_that_is_no_count(ddof):
    with pytest.raises(BadParameter, match="ddof"):
        AGGREGATES["stddev"].needs("float", {"ddof": ddof})


@pytest.mark.parametrize("kind", TYPES)
def test_output_is_the_type_of_the_value(kind):
    given_type: DataType = TYPES[kind]
    for name in ("min", "max", "first", "last"):
        assert AGGREGATES[name].output(given_type, {}) == given_type
    for name in ("count", "approx_distinct"):
        assert AGGREGATES[name].output(given_type, {}) == Int64
    for name in ("mean", "variance", "stddev"):
        assert AGGREGATES[name].output(given_type, {}) == Float64
    assert AGGREGATES["sum"].output(given_type, {}) == (Float64 if kind == "float" else Int64)


def test_count_of_rows_counts_rows_without_a_value():
    aggregate = AGGREGATES["count"]
    (need,) = aggregate.needs(None, {})
    assert not need.takes_input
    places = np.arange(3)
    states = need.monoid.lift(None, Order(places, places, places), Runs(np.array([0, 2]), 3))
    assert aggregate.finish((states,), {})[0].tolist() == [2, 1]


RUNNING = Reading(at_us=90_000_000, start_us=60_000_000, end_us=90_000_000)


@pytest.mark.parametrize(
    ("reading", "per", "expected"),
    [
        (RUNNING, "1s", 4 / 30),
        (RUNNING, "1m", 8.0),
        (Reading(at_us=60_000_000, start_us=60_000_000, end_us=60_000_000), "1m", None),
        (Reading(at_us=0, start_us=EVER_START_US, end_us=0), "1m", None),
    ],
)
def test_rate_is_over_the_length_that_the_window_has(reading, per, expected):
    assert finished("rate", "int", [1, 2, None, 3, 4], {"per": per}, reading=reading) == expected
