"""The shape of a distribution: skewness and kurtosis, from sums that variance shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.types import DataType, Float64
from .. import wideint
from ..algebra import Codes, Float64s, StateNeed, States, Values
from ..twofloat import divide, multiply, subtract
from .counts import COUNT_VALUES
from .moments import RESOLUTION, SQUARES_FLOAT, SQUARES_INT, judged, sum_as_twofloat, words
from .sums import SUM_FLOAT, SUM_INT
from .support import arrays_of_one, family_of, scalar_of_one
from .terms import CUBES, FOURTHS, TwoFloats

_COUNTED: Mapping[str, tuple[StateNeed, ...]] = {
    "float": (StateNeed(SQUARES_FLOAT), StateNeed(SUM_FLOAT), StateNeed(COUNT_VALUES)),
    "int": (StateNeed(SQUARES_INT), StateNeed(SUM_INT), StateNeed(COUNT_VALUES)),
    "bool": (StateNeed(SQUARES_INT), StateNeed(SUM_INT), StateNeed(COUNT_VALUES)),
}


@dataclass(frozen=True, slots=True)
class Skewness:
    """`skew`: m3 / m2**1.5, and `kurtosis`: m4 / m2**2 - 3, where mk is the mean of (x - mean)**k.

    Those of the population, as Polars and SciPy give them; the kurtosis of a normal distribution is
    0. Nulls are skipped; null over no values and where all are equal. From sums of powers about
    zero in 104 bits, so that mk errs by at most 2**-90 of Σ|x|**k / n, and relatively by 2**-48
    beyond that: with the mean 10**4 standard deviations from zero skew keeps 14 digits after the
    point and kurtosis 11, at 10**6 still 9 and 3, at 10**7 the kurtosis none. Then subtract a
    constant first, as in `agg.kurtosis(pl.col("x") - 2e6)`.
    Overflows where a power does: from |x| of 10**102 (skew) and 10**77. 56 bytes a state for skew,
    72 for kurtosis (8 more for integers), of which 40 are those of `variance`.

    >>> from tegula.windows.algebra import Column, Order, Runs
    >>> runs, order = Runs(np.array([0]), 4), Order(*[np.arange(4)] * 3)
    >>> column = Column(np.array([2.0, 2.0, 2.0, 6.0]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in SKEW.needs("float", {}))
    >>> SKEW.finish(states, {})[0].round(12).tolist()
    [1.154700538379]
    """

    name: str
    fourth: bool

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        higher = (StateNeed(CUBES), StateNeed(FOURTHS)) if self.fourth else (StateNeed(CUBES),)
        return (*family_of(self.name, input_kind, _COUNTED), *higher)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        squares, total, (counts,), cubes, *fourths = states
        n = np.maximum(counts, 1).astype(np.float64)
        s1, s2, s3 = sum_as_twofloat(total), _as_twofloat(squares), (cubes[0], cubes[1])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            mean = divide(s1, n)
            m2 = subtract(s2, multiply(s1, mean))[0]
            spread = m2 > s2[0] * RESOLUTION
            if fourths:
                value = n * _fourth(s1, s2, s3, (fourths[0][0], fourths[0][1]), mean) / m2 / m2 - 3
            else:
                value = np.sqrt(n) * _third(s1, s2, s3, mean) / (m2 * np.sqrt(m2))
        highest = fourths[0][0] if fourths else s3[0]
        overflowed = ~(np.isfinite(highest) & np.isfinite(s2[0]) & np.isfinite(s1[0]))
        value = np.where(overflowed, np.inf, value)
        return judged(value, (counts > 0) & (spread | overflowed))

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish(arrays_of_one(states, self.needs_of(states)), params))

    def needs_of(self, states: tuple[tuple[Any, ...], ...]) -> tuple[StateNeed, ...]:
        """The needs that such states belong to: squares of integers have three words."""
        return self.needs("int" if len(states[0]) == 3 else "float", {})


def _as_twofloat(squares: States) -> TwoFloats:
    if len(squares) == 2:
        return squares[0], squares[1]
    return wideint.to_twofloat(words(squares))


def _third(s1: TwoFloats, s2: TwoFloats, s3: TwoFloats, mean: TwoFloats) -> Float64s:
    # Σ(x - mean)³ = Σx³ - mean·(3·Σx² - 2·mean·Σx)
    inner = subtract(_times(3.0, s2), _times(2.0, multiply(mean, s1)))
    return subtract(s3, multiply(mean, inner))[0]


def _fourth(
    s1: TwoFloats, s2: TwoFloats, s3: TwoFloats, s4: TwoFloats, mean: TwoFloats
) -> Float64s:
    # Σ(x - mean)⁴ = Σx⁴ - mean·(4·Σx³ - mean·(6·Σx² - 3·mean·Σx))
    inner = subtract(_times(6.0, s2), _times(3.0, multiply(mean, s1)))
    inner = subtract(_times(4.0, s3), multiply(mean, inner))
    return subtract(s4, multiply(mean, inner))[0]


def _times(factor: float, value: TwoFloats) -> TwoFloats:
    return multiply((np.full_like(value[0], factor), np.zeros_like(value[0])), value)


SKEW = Skewness("skew", fourth=False)
KURTOSIS = Skewness("kurtosis", fourth=True)
