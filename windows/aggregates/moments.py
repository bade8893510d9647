"""Mean, variance and standard deviation, from sums that other aggregates share.

The states are plain sums about zero: n, Σx and Σx². Sums about zero merge without a correction
term, which is what makes them order-free; the price is cancellation, and 104 bits pay it. Integers
have no price at all: their sums are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.errors import BadParameter
from ...schemas.types import DataType, Float64
from .. import twofloat, wideint
from ..algebra import (
    NULL,
    OVERFLOW,
    OVERFLOWED,
    VALUE,
    Codes,
    Column,
    Float64s,
    Int64s,
    Lists,
    Order,
    Overflowed,
    Runs,
    StateField,
    StateNeed,
    States,
    UInt64s,
    Values,
)
from .counts import COUNT_VALUES
from .sums import SUM_FLOAT, SUM_INT, TwoFloatSums
from .support import family_of, filled, scalars

RESOLUTION = 2.0**-96  # of Σx²: spreads below it are the rounding of the sums


@dataclass(frozen=True, slots=True)
class SquaresFloat(TwoFloatSums):
    """Σx² of doubles as a two-float, 16 bytes. A group.

    Each merge errs by at most 2**-103 of the sum. `(inf, 0)`: out of range, from |x| of 1.3e154.
    Below |x| of 1e-146 the squares keep less than 104 bits, below 1e-162 they are 0.
    """

    name: str = "squares_float"
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("hi", "<f8"), StateField("lo", "<f8"))

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        return twofloat.sum_pairs(*twofloat.square(filled(column, 0.0)), runs)


@dataclass(frozen=True, slots=True)
class SquaresInt:
    """Σx² of int64 as a 192-bit integer, low word first, 24 bytes. Exact, never wraps. A group."""

    name: str = "squares_int"
    version: int = 1
    fields: tuple[StateField, ...] = (
        StateField("low", "<u8"),
        StateField("middle", "<u8"),
        StateField("high", "<u8"),
    )

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        values = filled(column, 0)
        if not runs.size or max(int(values.max()), -int(values.min())) < 2**31:
            low, middle = wideint.sum_int64(values * values, runs)
            return low, middle, np.zeros_like(low)
        low, middle = wideint.square(values)
        return wideint.sum_words((low, middle, np.zeros_like(low)), runs)

    def reduce(self, states: States, runs: Runs) -> States:
        low, middle, high = states
        if not middle.any() and not high.any() and not (low >> np.uint64(63)).any():
            low, middle = wideint.sum_int64(low.view(np.int64), runs)
            return low, middle, np.zeros_like(low)
        return wideint.sum_words((low, middle, high), runs)

    def reduce_one(self, states: States | Lists) -> tuple[int, int, int]:
        low, middle, high = (sum(words) for words in scalars(states))
        total = low + (middle << 64) + (high << 128)
        return total % 2**64, (total >> 64) % 2**64, total >> 128

    def zero(self, count: int) -> States:
        zeros = np.zeros(count, np.uint64)
        return zeros, zeros, zeros

    def subtract(self, a: States, b: States) -> States:
        return wideint.subtract(words(a), words(b))


SQUARES_FLOAT = SquaresFloat()
SQUARES_INT = SquaresInt()

_MEAN_NEEDS: Mapping[str, tuple[StateNeed, ...]] = {
    "float": (StateNeed(SUM_FLOAT), StateNeed(COUNT_VALUES)),
    "int": (StateNeed(SUM_INT), StateNeed(COUNT_VALUES)),
    "bool": (StateNeed(SUM_INT), StateNeed(COUNT_VALUES)),
}
_SPREAD_NEEDS: Mapping[str, tuple[StateNeed, ...]] = {
    "float": (StateNeed(SQUARES_FLOAT), *_MEAN_NEEDS["float"]),
    "int": (StateNeed(SQUARES_INT), *_MEAN_NEEDS["int"]),
    "bool": (StateNeed(SQUARES_INT), *_MEAN_NEEDS["bool"]),
}


@dataclass(frozen=True, slots=True)
class Mean:
    """The arithmetic mean; of bools, the share that is true. Nulls are skipped; null if no values.

    Floats: Σx as for `sum`, then one division: relative error below 2**-52 unless the sum itself
    cancels, and never more than 2**-100 of Σ|x| / n beyond that. Integers: the double nearest to
    the exact mean. A sum and a count, 24 bytes, shared with `sum`, `variance` and `count`.

    >>> runs, order = Runs(np.array([0]), 2), Order(*[np.arange(2)] * 3)
    >>> column = Column(np.array([2**63 - 1, 2**63 - 3]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in MEAN.needs("int", {}))
    >>> MEAN.finish(states, {})[0].tolist() == [2.0**63]
    True
    """

    name: str = "mean"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return family_of(self.name, input_kind, _MEAN_NEEDS)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        total, (counts,) = states
        divisor = np.maximum(counts, 1).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            mean, _ = twofloat.divide(sum_as_twofloat(total), divisor)
        return judged(mean, counts > 0)

    def finish_one(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]
    ) -> float | Overflowed | None:
        total, (count,) = states
        if not count:
            return None
        if isinstance(total[0], int):
            exact: float = ((total[0] << 64) + total[1]) / count
            return exact
        return judged_one(twofloat.divide(total, float(count))[0])


@dataclass(frozen=True, slots=True)
class Spread:
    """`variance` and `stddev`: of a sample (`ddof=1`, the default) or a population (`ddof=0`).

    Σ(x - mean)² / (n - ddof), and its square root. Nulls are skipped; null if n <= ddof. Floats:
    from n, Σx, Σx² about zero in 104 bits, so the variance errs by at most 2**-95 of Σx² / (n -
    ddof) and, beyond that, relatively by 2**-51; a spread that small is given as 0. (Plain doubles
    lose everything at 2**-53: at a mean of 10**8 times the deviation.) Integers: sums are exact,
    relative error 2**-51. Overflows where a square does, from |x| of 1.3e154. 40 bytes a state (48
    for integers), of which sum and count are shared.

    >>> runs, order = Runs(np.array([0]), 3), Order(*[np.arange(3)] * 3)
    >>> column = Column(np.array([1e9 + 4, 1e9 + 7, 1e9 + 13]))
    >>> needs = VARIANCE.needs("float", {})
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in needs)
    >>> VARIANCE.finish(states, {"ddof": 1})[0].tolist()
    [21.0]
    """

    name: str
    root: bool

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        ddof = params.get("ddof", 1)
        if isinstance(ddof, bool) or not isinstance(ddof, int) or not 0 <= ddof <= 2**31:
            raise BadParameter(
                f"`{self.name}` divides by n - ddof",
                got=f"ddof={ddof!r}",
                expected="an integer from 0 to 2**31",
                hint="ddof=1 is the variance of a sample, ddof=0 of a whole population",
            )
        return family_of(self.name, input_kind, _SPREAD_NEEDS)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        squares, total, (counts,) = states
        ddof = params.get("ddof", 1)
        divisor = np.maximum(counts - ddof, 1).astype(np.float64)
        n = np.maximum(counts, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            if len(squares) == 2:
                deviations = deviations_of((squares[0], squares[1]), (total[0], total[1]), n * 1.0)
                deviations = np.where(deviations > squares[0] * RESOLUTION, deviations, 0.0)
                deviations = np.where(np.isfinite(squares[0]), deviations, np.inf)
            else:
                deviations = exact_deviations(squares, total, n) / n
            variance = deviations / divisor
        return judged(np.sqrt(variance) if self.root else variance, counts > ddof)

    def finish_one(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]
    ) -> float | Overflowed | None:
        squares, total, (count,) = states
        divisor = count - params.get("ddof", 1)
        if not count or divisor <= 0:
            return None
        if len(squares) == 2:
            if squares[0] == math.inf:
                return OVERFLOWED
            deviations = deviations_of(squares, total, float(count))
            if not deviations > squares[0] * RESOLUTION:
                deviations = 0.0
        else:
            wide = squares[0] + (squares[1] << 64) + (squares[2] << 128)
            deviations = float(count * wide - ((total[0] << 64) + total[1]) ** 2) / count
        variance = deviations / divisor
        return judged_one(math.sqrt(variance) if self.root else variance)


MEAN = Mean()
VARIANCE = Spread("variance", root=False)
STDDEV = Spread("stddev", root=True)


def deviations_of(squares: tuple[Any, Any], total: tuple[Any, Any], count: Any) -> Any:
    """Σ(x - mean)² = Σx² - (Σx)·(Σx / n), for one key in floats or many in arrays."""
    mean = twofloat.divide(total, count)
    return twofloat.subtract(squares, twofloat.multiply(total, mean))[0]


def exact_deviations(squares: States, total: States, counts: Int64s) -> Float64s:
    """n·Σ(x - mean)² = n·Σx² - (Σx)², below 2**256 for every n and x."""
    size, _ = wideint.magnitude((total[1], total[0].view(np.uint64)))
    scaled = wideint.multiply(words(squares), (counts.view(np.uint64),), words_count=4)
    return wideint.to_twofloat(wideint.subtract(scaled, wideint.multiply(size, size, 4)))[0]


def sum_as_twofloat(total: States) -> tuple[Float64s, Float64s]:
    """The sums of floats or of integers as two-floats."""
    hi, lo = total
    if hi.dtype == np.float64:
        return hi, lo
    size, negative = wideint.magnitude((lo, hi.view(np.uint64)))
    sign = np.where(negative, -1.0, 1.0)
    high, low = wideint.to_twofloat(size)
    return sign * high, sign * low


def judged(values: Float64s, present: np.ndarray[Any, Any]) -> tuple[Values, Codes]:
    """Floats with their codes: nothing where not `present`, else overflowed where not finite."""
    codes = np.where(np.isfinite(values), VALUE, OVERFLOW)
    return values, np.where(present, codes, NULL).astype(np.uint8)


def judged_one(value: float) -> float | Overflowed:
    """The same for one value that is present."""
    return value if math.isfinite(value) else OVERFLOWED


def words(states: States) -> tuple[UInt64s, ...]:
    """The words of wide integers."""
    return tuple(np.asarray(word) for word in states)
