"""Sums of doubles that do not depend on their order.

A *two-float* is an unevaluated sum `hi + lo` of two doubles with `hi` the double nearest to it:
about 106 significant bits. `sum_runs` adds a column into one two-float a run with an error of at
most 2**-104 of the sum of magnitudes, and gives the same bits for every order of a run's values.

How: every value of a run is cut into parts that are multiples of one quantum of the run, so coarse
that adding all of them is *exact* in plain doubles. Exact addition has no order, so a plain
`np.add.reduceat` does it; what is left of each value goes through the next, finer quantum. (The
idea is ExtractVector: Rump, Ogita, Oishi, "Accurate floating-point summation", part I, 2008; and
for reproducibility Demmel and Nguyen, "Parallel reproducible summation", 2015.) Two quanta exhaust
ordinary columns; five, the most that is tried, reach 2**-104 for runs of up to 2**27 values.

A sum beyond the range of doubles is `(inf, 0)`, and stays so whatever is added: it says
*overflowed*, not *large and positive*.

The operators work on floats and on arrays alike, so that one key and many finish by the same code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .algebra import Float64s, Runs

Int32s = npt.NDArray[np.int32]
_OnColumn = Callable[[Float64s], Float64s]

Reals = TypeVar("Reals", float, Float64s)

_PARTS_MAX = 5
_SPLITTER = 134217729.0  # 2**27 + 1: cuts a double into two halves of 26 bits
_SCALE_BITS = 64  # sums near the top of the range are taken at 2**-64 of their size


def two_sum(a: Reals, b: Reals) -> tuple[Reals, Reals]:
    """`a + b` as the nearest double and its error, exactly (Knuth).

    >>> two_sum(1e16, 1.0)
    (1e+16, 1.0)
    """
    total = a + b
    from_b = total - a
    return total, (a - (total - from_b)) + (b - from_b)


def two_product(a: Reals, b: Reals) -> tuple[Reals, Reals]:
    """`a * b` as the nearest double and its error (Dekker, Veltkamp).

    Exact unless the product overflows or lies below 2**-969, where the error term loses bits.

    >>> two_product(2.0**27 + 1, 2.0**27 + 1)
    (1.801439877791744e+16, 1.0)
    """
    product = a * b
    c = _SPLITTER * a
    a_high = c - (c - a)
    a_low = a - a_high
    d = _SPLITTER * b
    b_high = d - (d - b)
    b_low = b - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def square(values: Float64s) -> tuple[Float64s, Float64s]:
    """The squares as two-floats, shape (n,) twice; `(inf, 0)` where one overflows."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        hi, lo = two_product(values, values)
    return _canonical(hi, lo)


def multiply(a: tuple[Reals, Reals], b: tuple[Reals, Reals]) -> tuple[Reals, Reals]:
    """The product of two two-floats, relative error below 2**-101."""
    hi, lo = two_product(a[0], b[0])
    return two_sum(hi, lo + (a[0] * b[1] + a[1] * b[0]))


def add(a: tuple[Reals, Reals], b: tuple[Reals, Reals]) -> tuple[Reals, Reals]:
    """`a + b`, with an error below 2**-104 of the result; not finite where the sum is not.

    (AccurateDWPlusDW: Joldes, Muller, Popescu, "Tight and rigorous error bounds for basic building
    blocks of double-word arithmetic", 2017.)

    >>> add((1e16, 1.0), (-1e16, 0.25))
    (1.25, 0.0)
    """
    hi, error = two_sum(a[0], b[0])
    low, rest = two_sum(a[1], b[1])
    hi, error = two_sum(hi, error + low)
    return two_sum(hi, error + rest)


def subtract(a: tuple[Reals, Reals], b: tuple[Reals, Reals]) -> tuple[Reals, Reals]:
    """`a - b`, as `add`."""
    return add(a, (-b[0], -b[1]))


def merge(a: tuple[Float64s, Float64s], b: tuple[Float64s, Float64s]) -> tuple[Float64s, Float64s]:
    """`a + b` element by element; `(inf, 0)` where either is, or the sum leaves the range."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _canonical(*add(a, b))


def merge_one(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """The same for one pair of two-floats."""
    total = two_sum(a[0], b[0]) if not a[1] and not b[1] else add(a, b)
    return total if math.isfinite(total[0]) else (math.inf, 0.0)


def divide(a: tuple[Reals, Reals], b: Reals) -> tuple[Reals, Reals]:
    """A two-float divided by a double, relative error below 2**-101.

    >>> divide((1.0, 0.0), 3.0)
    (0.3333333333333333, 1.850371707708594e-17)
    """
    quotient = a[0] / b
    product, error = two_product(quotient, b)
    return two_sum(quotient, ((a[0] - product) - error + a[1]) / b)


def sum_runs(values: Float64s, runs: Runs) -> tuple[Float64s, Float64s]:
    """The sum of each run of `values` as a two-float, shape (k,) twice.

    A function of each run's multiset of values, bit for bit. Where the exact sum of a run and all
    its values are multiples of one number below 2**-104 of the magnitudes' sum (every run of a
    thousand values that span 10**12), the result is exact. `-0.0` counts as `0.0`.

    >>> hi, lo = sum_runs(np.array([1e16, 1.0, -1e16, 0.1, 0.2]), Runs(np.array([0, 3]), 5))
    >>> hi.tolist(), lo.tolist()
    ([1.0, 0.30000000000000004], [0.0, -2.7755575615628914e-17])
    """
    if runs.count == runs.size:
        return _canonical(values + 0.0, np.zeros(runs.size))
    lengths = runs.lengths
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        greatest = np.maximum.reduceat(np.abs(values), runs.starts)
        exponent = np.frexp(greatest)[1]  # |value| <= 2**exponent
        length_bits = np.maximum(np.frexp(lengths.astype(np.float64))[1], 2)
        scaled = exponent + length_bits > 1023
        if scaled.any():
            scale = np.where(scaled, np.int32(-_SCALE_BITS), np.int32(0))
            values = values * np.repeat(np.ldexp(1.0, scale), lengths)
            hi, lo = _sum_parts(values, runs, exponent + scale, length_bits)
            hi, lo = np.ldexp(hi, -scale), np.ldexp(lo, -scale)
        else:
            hi, lo = _sum_parts(values, runs, exponent, length_bits)
    return _canonical(hi, lo)


def sum_pairs(hi: Float64s, lo: Float64s, runs: Runs) -> tuple[Float64s, Float64s]:
    """The sum of each run of two-floats, shape (k,) twice: as `sum_runs` of all their words."""
    if runs.count == runs.size:
        return hi, lo
    if not lo.any():
        return sum_runs(hi, runs)
    words = np.empty(2 * runs.size)
    words[0::2] = hi
    words[1::2] = lo
    return sum_runs(words, Runs(2 * runs.starts, 2 * runs.size))


def sum_all(words: Sequence[float]) -> tuple[float, float]:
    """The sum of some doubles as one two-float, each word correctly rounded.

    >>> sum_all([0.1, 0.2])
    (0.30000000000000004, -2.7755575615628914e-17)
    """
    try:
        hi, lo = _fsum_pair(words)
    except OverflowError:  # somewhere on the way; the sum itself may still be in range
        hi, lo = _fsum_pair([math.ldexp(word, -_SCALE_BITS) for word in words])
        hi, lo = hi * 2.0**_SCALE_BITS, lo * 2.0**_SCALE_BITS
    return (hi, lo) if math.isfinite(hi) else (math.inf, 0.0)


def collect(parts: Iterable[Float64s]) -> tuple[Float64s, Float64s]:
    """Doubles of falling weight, at least one, as a two-float; elementwise over arrays."""
    descending = list(parts)
    hi, errors = descending.pop(), []
    while descending:
        hi, error = two_sum(descending.pop(), hi)
        errors.append(error)
    lo = sum(errors, np.zeros_like(hi))  # lightest first
    return two_sum(hi, lo)


def _sum_parts(
    rest: Float64s, runs: Runs, exponent: Int32s, length_bits: Int32s
) -> tuple[Float64s, Float64s]:
    # Adding 1.5 * 2**place rounds a value to a multiple of 2**(place - 52): of that, 2**length_bits
    # values of at most 2**exponent sum below 2**53 multiples, hence exactly. Left is at most half a
    # quantum of each, so the next place is lower by 54 - length_bits. A place under the range of
    # doubles rounds nothing, and the rest then adds exactly as it is.
    spread, add = _spreading(runs)
    place = exponent + (length_bits - 1)
    parts = []
    for _ in range(_PARTS_MAX):
        magic = spread(np.ldexp(1.5, place))
        part = rest + magic
        part -= magic
        parts.append(add(part))
        rest = np.subtract(rest, part, out=part)
        if not rest.any():
            break
        place += length_bits - 54
    return collect(parts)


def _spreading(runs: Runs) -> tuple[_OnColumn, _OnColumn]:
    # How to give each row its run's value, and to add rows by run. Short runs are mispredicted
    # branches to `repeat` and `reduceat` (5 to 8 ns a row), long ones are latency to `bincount`.
    if runs.size >= 16 * runs.count:
        lengths = runs.lengths
        return lambda row: np.repeat(row, lengths), lambda rows: np.add.reduceat(rows, runs.starts)
    ids = runs.ids

    def add(rows: Float64s) -> Float64s:
        return np.bincount(ids, weights=rows, minlength=runs.count).view(np.float64)

    return lambda row: row[ids], add


def _canonical(hi: Float64s, lo: Float64s) -> tuple[Float64s, Float64s]:
    finite = np.isfinite(hi)
    if finite.all():
        return hi, lo
    return np.where(finite, hi, np.inf), np.where(finite, lo, 0.0)


def _fsum_pair(words: Sequence[float]) -> tuple[float, float]:
    try:
        hi = math.fsum(words)
    except ValueError:  # inf and -inf
        return math.inf, 0.0
    return (hi, math.fsum([*words, -hi])) if math.isfinite(hi) else (math.inf, 0.0)
