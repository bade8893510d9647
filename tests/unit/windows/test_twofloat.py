"""Two-float sums against exact rational arithmetic and `math.fsum`."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tegula.windows import twofloat
from tegula.windows.algebra import Runs

ONE_RUN = np.array([0])
any_doubles = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=40)
TINY = st.sampled_from([5e-324, -5e-324, 2.0**-1022, 0.0, -0.0, 1.5 * 2.0**-1060])


def sum_of(values: list[float]) -> tuple[float, float]:
    hi, lo = twofloat.sum_runs(np.array(values), Runs(ONE_RUN, len(values)))
    return hi.item(), lo.item()


def exact(words: list[float] | tuple[float, ...]) -> Fraction:
    return sum(map(Fraction, words), Fraction(0))


@settings(deadline=None, print_blob=True)
@given(any_doubles)
def test_law_sum_errs_by_less_than_its_bound(values):
    error = abs(exact(sum_of(values)) - exact(values))
    assert error <= exact([abs(value) for value in values]) / 2**104


@settings(deadline=None, print_blob=True)
@given(st.lists(st.floats(-1e300, 1e300) | TINY, min_size=1, max_size=40), st.randoms())
def test_law_sum_has_the_same_bits_in_every_order(values, random):
    shuffled = random.sample(values, len(values))
    assert sum_of(shuffled) == sum_of(values)


@settings(deadline=None, print_blob=True)
@given(st.lists(st.floats(1e-4, 1e8) | st.floats(-1e8, -1e-4), min_size=1, max_size=200))
def test_law_sum_equals_fsum_where_values_span_a_million_millions(values):
    assert sum_of(values)[0] == math.fsum(values)


@pytest.mark.parametrize("spread", [0, 12, 30, 300])
def test_sum_of_a_long_run_keeps_its_bound(spread):
    random = np.random.default_rng(spread)
    values = random.normal(size=100_000) * 10.0 ** random.uniform(-spread, 0, 100_000)
    error = abs(exact(sum_of(values.tolist())) - exact(values.tolist()))
    assert error <= exact(np.abs(values).tolist()) / 2**104
    assert sum_of(values[::-1].tolist()) == sum_of(values.tolist())


def test_sum_of_one_value_is_that_value():
    hi, lo = twofloat.sum_runs(np.array([0.1, -0.0]), Runs(np.array([0, 1]), 2))
    assert hi.tolist() == [0.1, 0.0]
    assert not np.signbit(hi).any()
    assert lo.tolist() == [0.0, 0.0]


def test_sum_does_not_overflow_on_the_way_to_a_value_in_range():
    top = 1.7976931348623157e308
    assert sum_of([top, top, -top, -top, 1e300]) == (1e300, 0.0)
    assert twofloat.sum_all([top, top, -top]) == (top, 0.0)
    assert sum_of([top, -top, 5e-324]) == (0.0, 0.0)  # the scaled sum keeps 2**-104 of Σ|x|


def test_sum_beyond_the_range_is_overflowed_for_good():
    overflowed = (math.inf, 0.0)
    assert sum_of([-1.7e308, -1.7e308]) == overflowed
    assert twofloat.sum_all([1.7e308, 1.7e308]) == overflowed
    pairs = (np.array([math.inf, -1e308, math.inf]), np.array([0.0, 1.0, 0.0]))
    hi, lo = twofloat.sum_pairs(*pairs, Runs(ONE_RUN, 3))
    assert (hi.item(), lo.item()) == overflowed
    assert twofloat.sum_all([math.inf, -math.inf]) == overflowed


def test_sum_of_denormals_is_exact():
    assert sum_of([5e-324] * 7 + [2.0**-1022]) == (2.0**-1022 + 7 * 5e-324, 0.0)


def test_sum_of_neighbours_of_another_size_is_not_disturbed():
    values = np.array([1e300, -1e300, 1e-300, 2e-300, 0.1, 0.2])
    hi, lo = twofloat.sum_runs(values, Runs(np.array([0, 2, 4]), 6))
    assert (hi.tolist(), lo[2]) == ([0.0, 1e-300 + 2e-300, 0.1 + 0.2], -(2.0**-55))


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30))
def test_law_sum_all_agrees_with_sum_runs(values):
    assert (
        abs(exact(twofloat.sum_all(values)) - exact(sum_of(values)))
        <= exact([abs(value) for value in values]) / 2**104
    )


reals = st.floats(1e-100, 1e100) | st.floats(-1e100, -1e-100)


@given(reals, reals)
def test_law_two_sum_and_two_product_are_exact(a, b):
    assert exact(twofloat.two_sum(a, b)) == Fraction(a) + Fraction(b)
    assert exact(twofloat.two_product(a, b)) == Fraction(a) * Fraction(b)


@given(reals, reals, st.integers(1, 10**12))
def test_law_twofloat_operators_keep_their_bounds(a, b, n):
    x, y = twofloat.divide((a, 0.0), 3.0), twofloat.divide((b, 0.0), 7.0)
    assert abs(exact(x) - Fraction(a) / 3) <= abs(Fraction(a)) / 2**101
    product = exact(x) * exact(y)
    assert abs(exact(twofloat.multiply(x, y)) - product) <= abs(product) / 2**101
    larger = max(abs(exact(x)), abs(exact(y)))
    assert abs(exact(twofloat.subtract(x, y)) - (exact(x) - exact(y))) <= larger / 2**104
    quotient = exact(x) / n
    assert abs(exact(twofloat.divide(x, float(n))) - quotient) <= abs(quotient) / 2**101


def test_square_overflows_to_the_overflowed_state():
    hi, lo = twofloat.square(np.array([1e200, -3.0, 1e308]))
    assert (hi.tolist(), lo.tolist()) == ([math.inf, 9.0, math.inf], [0.0, 0.0, 0.0])
