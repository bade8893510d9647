"""Wide integers against Python's own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows import wideint
from tegula.windows.algebra import Runs

int64s = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)
WORDS = 3
SPAN = 2 ** (64 * WORDS)


def to_int(words: wideint.Words, index: int = 0) -> int:
    value = sum(int(word[index]) << (64 * place) for place, word in enumerate(words))
    return value - 2 ** (64 * len(words)) * (int(words[-1][index]) >> 63)


def to_words(value: int, count: int = WORDS) -> wideint.Words:
    return tuple(np.array([(value >> (64 * place)) % 2**64], np.uint64) for place in range(count))


@given(st.lists(int64s, min_size=1, max_size=50))
def test_law_sums_of_int64_are_exact(values):
    array = np.array(values, np.int64)
    assert to_int(wideint.sum_int64(array, Runs(np.array([0]), len(values)))) == sum(values)


@given(st.lists(st.integers(-SPAN // 64, SPAN // 64), min_size=2, max_size=20))
def test_law_sums_of_words_are_exact(values):
    columns = tuple(np.concatenate(words) for words in zip(*map(to_words, values), strict=True))
    sums = wideint.sum_words(columns, Runs(np.array([0, 1]), len(values)))
    assert [to_int(sums, i) for i in range(2)] == [values[0], sum(values[1:])]


@given(st.integers(-(2**189), 2**189), st.integers(-(2**189), 2**189))
def test_law_difference_and_magnitude_are_exact(a, b):
    assert to_int(wideint.subtract(to_words(a), to_words(b))) == a - b
    size, negative = wideint.magnitude(to_words(a))
    assert (to_int(size), negative.tolist()) == (abs(a), [a < 0])


@given(int64s)
def test_law_squares_of_int64_are_exact(value):
    assert to_int((*wideint.square(np.array([value])), np.zeros(1, np.uint64))) == value**2


@given(st.integers(0, 2**190), st.integers(0, 2**63))
def test_law_product_is_exact(a, b):
    product = wideint.multiply(to_words(a), to_words(b, 1), words_count=4)
    assert to_int((*product, np.zeros(1, np.uint64))) == a * b % 2**256
    assert to_int(wideint.multiply(to_words(b, 2), to_words(b, 2), words_count=4)) == b * b


@given(st.integers(0, 2**106) | st.integers(0, 2**256 - 1))
def test_law_twofloat_of_a_wide_integer_is_the_nearest(value):
    hi, lo = wideint.to_twofloat(to_words(value, 4))
    assert hi[0] == float(value)
    assert abs(int(hi[0]) + int(lo[0]) - value) <= value // 2**105
