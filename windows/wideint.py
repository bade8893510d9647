"""Integers wider than 64 bits, as columns.

A wide integer is a tuple of *words*, uint64 arrays of shape (n,), least significant first, in two's
complement: two words hold any sum of 2**64 int64 values, three any sum of their squares. Python's
own integers take over where there is one key only.
"""

from __future__ import annotations

import numpy as np

from .algebra import Bools, Float64s, Int64s, Runs, UInt64s
from .twofloat import collect

Words = tuple[UInt64s, ...]

_DIGIT = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def sum_int64(values: Int64s, runs: Runs) -> tuple[UInt64s, UInt64s]:
    """The exact sum of each run of int64 values, as two words of shape (k,).

    >>> low, high = sum_int64(np.array([2**63 - 1, 1, -5]), Runs(np.array([0, 2]), 3))
    >>> low.tolist() == [2**63, 2**64 - 5], high.tolist() == [0, 2**64 - 1]
    (True, True)
    """
    if not runs.size:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    greatest = max(int(values.max()), -int(values.min()))
    if greatest * int(runs.lengths.max()) < 2**63:
        return widen(np.add.reduceat(values, runs.starts))
    low, high = sum_words(widen(values), runs)
    return low, high


def widen(values: Int64s) -> tuple[UInt64s, UInt64s]:
    """Int64 values as two words."""
    return values.view(np.uint64), (values >> 63).view(np.uint64)


def sum_words(words: Words, runs: Runs) -> Words:
    """The sum of each run of wide integers, modulo 2**(64 * words); runs of up to 2**31 rows.

    Words are added in halves of 32 bits, so that no partial sum wraps, and carried afterwards.
    """
    carry = np.zeros(runs.count, np.uint64)
    sums = []
    for word in words:
        low = np.add.reduceat(word & _DIGIT, runs.starts) + carry
        high = np.add.reduceat(word >> _HALF, runs.starts) + (low >> _HALF)
        sums.append((low & _DIGIT) | (high << _HALF))
        carry = high >> _HALF
    return tuple(sums)


def subtract(a: Words, b: Words) -> Words:
    """`a - b`, modulo 2**(64 * words)."""
    borrow = np.zeros(len(a[0]), np.uint64)
    differences = []
    for x, y in zip(a, b, strict=True):
        difference = x - y - borrow
        borrow = ((x < y) | ((x == y) & (borrow > 0))).astype(np.uint64)
        differences.append(difference)
    return tuple(differences)


def square(values: Int64s) -> tuple[UInt64s, UInt64s]:
    """The squares of int64 values, as two words.

    >>> low, high = square(np.array([-(2**63), 3]))
    >>> low.tolist(), high.tolist() == [2**62, 0]
    ([0, 9], True)
    """
    size = np.abs(values).view(np.uint64)  # abs leaves -2**63 as it is, which reads as 2**63
    high, low = size >> _HALF, size & _DIGIT
    cross = high * low  # counts twice 2**32
    product = low * low
    total = product + (cross << np.uint64(33))
    carry = (total < product).astype(np.uint64)
    return total, high * high + (cross >> np.uint64(31)) + carry


def magnitude(words: Words) -> tuple[Words, Bools]:
    """The absolute values, and which were negative (bool)."""
    negative = words[-1] >> np.uint64(63) > 0
    negated = subtract(tuple(np.zeros_like(word) for word in words), words)
    return tuple(np.where(negative, n, w) for n, w in zip(negated, words, strict=True)), negative


def multiply(a: Words, b: Words, words_count: int) -> Words:
    """The product of non-negative wide integers, modulo 2**(64 * words_count)."""
    size = 2 * words_count
    digits = [np.zeros(len(a[0]), np.uint64) for _ in range(size)]
    for i, x in enumerate(_digits(a)[:size]):
        carry = np.zeros(len(a[0]), np.uint64)
        for j, y in enumerate(_digits(b)[: size - i], start=i):
            total = digits[j] + x * y + carry  # at most 2**64 - 1
            digits[j], carry = total & _DIGIT, total >> _HALF
        if i + 2 * len(b) < size:
            digits[i + 2 * len(b)] = carry
    return tuple(low | (high << _HALF) for low, high in zip(digits[::2], digits[1::2], strict=True))


def to_twofloat(words: Words) -> tuple[Float64s, Float64s]:
    """Non-negative wide integers as two-floats: exact to 106 bits.

    >>> hi, lo = to_twofloat((np.array([1], np.uint64), np.array([2**63], np.uint64)))
    >>> hi.tolist() == [2.0**127], lo.tolist()
    (True, [1.0])
    """
    digits = _digits(words)
    return collect(
        np.ldexp(digit.astype(np.float64), np.int32(32 * place))
        for place, digit in reversed(tuple(enumerate(digits)))
    )


def _digits(words: Words) -> list[UInt64s]:
    return [digit for word in words for digit in (word & _DIGIT, word >> _HALF)]
