"""Sums over ranges of rows as differences of prefixes, where these are exact.

A prefix of the whole column loses what a range needs, unless no sum on the way ever rounds. So
integers are added modulo 2**64, in halves where they are wider; and doubles are cut into parts
that are multiples of one quantum so coarse that every prefix of them is exact (as `twofloat` does
within a run). What comes out is the exact sum of each range, rounded once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from .. import twofloat
from ..aggregates.counts import Counting
from ..aggregates.moments import SquaresInt
from ..aggregates.predicates import CountTrue
from ..aggregates.sums import SumInt
from ..aggregates.support import column_of, filled
from ..algebra import Bools, Column, Float64s, Int64s, Monoid, Order, Runs, States

PARTS_MAX: Final = 6
"""Parts of a double that are tried; columns that span more are summed otherwise."""

_LIMIT: Final = 900
"""Binary exponents past which nothing is tried: parts would leave the range of doubles."""

_HALF = np.int64(0xFFFFFFFF)


def valid_before(valid: Bools) -> Int64s:
    """How many of the rows before each are valid, and at last of all: int64 (n + 1,)."""
    return _prefix(valid)


def counted(
    monoid: Counting, column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> States:
    """How many rows, or valid ones, each range has."""
    if not monoid.of_values or (valid := column_of(column).valid) is None:
        return (hi - lo,)
    before = valid_before(valid)
    return (before[hi] - before[lo],)


def counted_true(
    monoid: CountTrue, column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> States:
    """How many values of each range are true."""
    before = _prefix(filled(column, 0))
    return (before[hi] - before[lo],)


def summed_int(
    monoid: SumInt, column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> States:
    """The sum of each range, in 128 bits."""
    high, low = _wide(filled(column, 0), lo, hi)
    return high, low


def squared_int(
    monoid: SquaresInt, column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> States | None:
    """The sum of squares of each range; None where a square may not fit into an int64."""
    values = filled(column, 0)
    if len(values) and max(int(values.max()), -int(values.min())) >= 2**31:
        return None
    high, low = _wide(values * values, lo, hi)
    return low, high.view(np.uint64), np.zeros(len(low), np.uint64)


def summed_float(
    monoid: Monoid, column: Column | None, order: Order, lo: Int64s, hi: Int64s
) -> States | None:
    """The sum of each range as a two-float; None where the column spans too much for it."""
    size = len(order.event_us)
    terms = monoid.lift(column, order, Runs(np.arange(size), size))
    total: tuple[Float64s, Float64s] | None = None
    for word in terms:
        part = _exact(np.asarray(word), lo, hi)
        if part is None:
            return None
        total = part if total is None else twofloat.merge(total, part)
    return total


def _exact(rest: Float64s, lo: Int64s, hi: Int64s) -> tuple[Float64s, Float64s] | None:
    """The exact sum of each range of doubles, rounded to a two-float; None: it takes too many
    parts."""
    greatest = float(np.abs(rest).max(initial=0.0))
    if greatest == 0.0:
        return np.zeros(len(lo)), np.zeros(len(lo))
    length_bits = max(len(rest).bit_length(), 2)
    exponent = int(np.frexp(greatest)[1])
    if not np.isfinite(greatest) or exponent + length_bits > _LIMIT:
        return None
    # See `twofloat`: a part is a multiple of 2**(place - 52), and so many of them add exactly.
    place, parts = exponent + length_bits - 1, []
    before = np.zeros(len(rest) + 1)
    for _ in range(PARTS_MAX):
        magic = np.ldexp(1.5, place)
        part = rest + magic
        part -= magic
        np.cumsum(part, out=before[1:])
        parts.append(before[hi] - before[lo])
        rest = np.subtract(rest, part, out=part)
        if not rest.any():
            return twofloat.collect(parts)
        place += length_bits - 54
    return None


def _wide(values: Int64s, lo: Int64s, hi: Int64s) -> tuple[Int64s, npt.NDArray[np.uint64]]:
    """The exact sum of each range of int64 values: high and low word."""
    greatest = max(int(values.max(initial=0)), -int(values.min(initial=0)))
    if greatest * len(values) < 2**63:
        before = _prefix(values)
        sums = before[hi] - before[lo]
        return sums >> 63, sums.view(np.uint64)
    low, high = _prefix(values & _HALF), _prefix(values >> 32)
    lows, highs = low[hi] - low[lo], high[hi] - high[lo]
    highs += lows >> 32
    return highs >> 32, ((highs << 32) | (lows & _HALF)).view(np.uint64)


def _prefix(values: npt.NDArray[np.generic]) -> Int64s:
    """The sums of the integers before each row, and at last of all of them."""
    before = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, dtype=np.int64, out=before[1:])
    return before
