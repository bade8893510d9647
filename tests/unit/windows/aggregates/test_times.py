"""Aggregates whose value depends on the instant of reading."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import OVERFLOWED, AggregateAt, Reading
from tests.oracle import naive
from tests.oracle.naive_values import VALUES, Held
from tests.support.aggregates import finished

NOW_US = 1_714_567_890_123_456
NAMES = ("time_since_first", "time_since_last", "mean_interval", "decayed_sum", "decayed_count")
ZERO = ("decayed_sum", "decayed_count")


def read_at(at_us: int) -> Reading:
    return Reading(at_us, at_us - 3_600_000_000, at_us)


@pytest.mark.parametrize("name", NAMES)
@given(
    data=st.data(),
    gaps_us=st.lists(st.integers(0, 10**9) | st.integers(0, 10), max_size=20),
    half_life=st.sampled_from([("1us", 1), ("7ms", 7_000), ("1h", 3_600_000_000)]),
    waited_us=st.integers(1, 10**10),
)
def test_oracle_time_is_within_its_bound(name, data, gaps_us, half_life, waited_us):
    at_us = [NOW_US + sum(gaps_us[:i]) for i in range(len(gaps_us))]
    value = st.none() | st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
    values: list[Any] = [data.draw(value) for _ in at_us]
    cut = data.draw(st.integers(0, max(len(values) - 1, 0)))
    read_us = NOW_US + sum(gaps_us) + waited_us
    present = [(at, one) for at, one in zip(at_us, values, strict=True) if one is not None]
    held = Held(
        [one for _, one in present],
        [at for at, _ in present],
        {"half_life_us": half_life[1]},
        read_us,
        0,
        0,
    )
    expected = VALUES[name](held) if present or name in ZERO else None
    params = {"half_life": half_life[0]}
    value = finished(name, "float", values, params, cut, at_us, read_at(read_us))
    assert naive.same(value, expected)


def test_every_value_that_moves_with_time_says_so_by_its_type():
    moving = {name for name, one in AGGREGATES.items() if isinstance(one, AggregateAt)}
    assert moving == {"rate", "time_since_first", "time_since_last", "decayed_sum", "decayed_count"}


@pytest.mark.parametrize(("hours", "expected"), [(1, 3.0), (2, 1.5), (11, 6 / 2**11)])
def test_decayed_sum_halves_with_every_half_life(hours, expected):
    at_us = [NOW_US, NOW_US]
    at = read_at(NOW_US + hours * 3_600_000_000)
    value = finished("decayed_sum", "int", [2, 4], {"half_life": "1h"}, 1, at_us, at)
    assert math.isclose(value, expected, rel_tol=2**-50)


def test_decayed_sum_after_thousands_of_half_lives_is_nothing():
    at = read_at(NOW_US + 10**9)
    assert finished("decayed_sum", "float", [1e300], {"half_life": "1ms"}, 0, [NOW_US], at) == 0.0


def test_decayed_sum_beyond_the_range_overflows():
    params, at = {"half_life": "1h"}, read_at(NOW_US + 1)
    value = finished("decayed_sum", "float", [1.7e308] * 3, params, 1, [NOW_US] * 3, at)
    assert value is OVERFLOWED


def test_time_since_the_last_value_passes_over_rows_without_one():
    at_us, at = [NOW_US, NOW_US + 1_000_000], read_at(NOW_US + 3_000_000)
    assert finished("time_since_last", "float", [1.0, None], at_us=at_us, reading=at) == 3.0
    assert finished("time_since_first", "float", [None, 1.0], at_us=at_us, reading=at) == 2.0
