"""Aggregates over two columns: how they vary together, one weighted by the other, their ratio.

Rows where either column has no value are skipped, for all sums alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.errors import BadParameter
from ...schemas.types import DataType, Float64
from ..algebra import Bools, Codes, StateNeed, States, Values
from ..twofloat import divide, multiply, subtract
from .counts import COUNT_VALUES
from .moments import RESOLUTION, judged
from .support import NUMBERS, arrays_of_one, pair_of, scalar_of_one
from .terms import FIRST_SQUARES, FIRSTS, PRODUCTS, SECOND_SQUARES, SECONDS, TwoFloats

_TINY = 2.0**-960  # products below it lose bits

_LINEAR = (
    StateNeed(PRODUCTS),
    StateNeed(FIRSTS),
    StateNeed(SECONDS),
    StateNeed(COUNT_VALUES),
)
_SQUARED = (*_LINEAR, StateNeed(FIRST_SQUARES), StateNeed(SECOND_SQUARES))
_WEIGHTED = (StateNeed(PRODUCTS), StateNeed(SECONDS), StateNeed(COUNT_VALUES))
_TOTALS = (StateNeed(FIRSTS), StateNeed(SECONDS))


def _together(products: TwoFloats, x: TwoFloats, y: TwoFloats, n: Any) -> Any:
    # Σ(x - mean x)(y - mean y) = Σxy - Σx·(Σy / n)
    return subtract(products, multiply(x, divide(y, n)))[0]


@dataclass(frozen=True, slots=True)
class Covariance:
    """`covariance(x, y)`: Σ(x - mean x)(y - mean y) / (n - ddof), over rows where both have values.

    Of a sample (`ddof=1`, the default) or a population (`ddof=0`); null if n <= ddof. From sums
    about zero in 104 bits: it errs by at most 2**-95 of (Σ|xy| + Σ|x|·Σ|y| / n) / (n - ddof) and,
    beyond that, relatively by 2**-51. Overflows where a product does. 56 bytes a state, shared with
    `correlation` of the same columns.

    >>> from tegula.windows.algebra import Column, Order, Runs
    >>> runs, order = Runs(np.array([0]), 3), Order(*[np.arange(3)] * 3)
    >>> column = Column(np.array([1.0, 2.0, 6.0]), None, np.array([10.0, 20.0, 30.0]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in _LINEAR)
    >>> COVARIANCE.finish(states, {"ddof": 1})[0].tolist()
    [25.0]
    """

    name: str = "covariance"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        ddof = params.get("ddof", 1)
        if type(ddof) is not int or not 0 <= ddof <= 2**31:
            raise BadParameter(
                f"`{self.name}` divides by n - ddof",
                got=f"ddof={ddof!r}",
                expected="an integer from 0 to 2**31",
            )
        return pair_of(self.name, input_kind, NUMBERS, NUMBERS, _LINEAR)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        products, x, y, (counts,) = states
        ddof = params.get("ddof", 1)
        n, divisor = np.maximum(counts, 1) * 1.0, np.maximum(counts - ddof, 1) * 1.0
        with np.errstate(invalid="ignore", over="ignore"):
            value = _together(_two(products), _two(x), _two(y), n) / divisor
        value = np.where(np.isfinite(products[0] + 0.0), value, np.inf)
        return judged(value, np.asarray(counts > max(ddof, 0)))

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish(arrays_of_one(states, _LINEAR), params))


@dataclass(frozen=True, slots=True)
class Correlation:
    """`correlation(x, y)`: Pearson's, from -1 to 1, over rows where both columns have values.

    Null where either column has no spread (so of fewer than two rows). From sums about zero in 104
    bits: 12 digits hold while each mean is at most 10**8 standard deviations from zero. Overflows
    where a square does, from 1.3e154. 88 bytes a state, 56 of them those of `covariance`.

    >>> from tegula.windows.algebra import Column, Order, Runs
    >>> runs, order = Runs(np.array([0]), 3), Order(*[np.arange(3)] * 3)
    >>> column = Column(np.array([1.0, 2.0, 3.0]), None, np.array([10.0, 20.0, 30.0]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in _SQUARED)
    >>> CORRELATION.finish(states, {})[0].tolist()
    [1.0]
    """

    name: str = "correlation"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return pair_of(self.name, input_kind, NUMBERS, NUMBERS, _SQUARED)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        products, x, y, (counts,), xx, yy = states
        n = np.maximum(counts, 1) * 1.0
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            together = _together(_two(products), _two(x), _two(y), n)
            x_spread = _together(_two(xx), _two(x), _two(x), n)
            y_spread = _together(_two(yy), _two(y), _two(y), n)
            both = x_spread * y_spread
            apart = np.sqrt(x_spread) * np.sqrt(y_spread)
            value = together / np.where((both > _TINY) & (both < np.inf), np.sqrt(both), apart)
        finite = np.isfinite(xx[0] + 0.0) & np.isfinite(yy[0] + 0.0)
        value = np.where(finite, np.clip(value, -1.0, 1.0), np.inf)
        spread = (x_spread > xx[0] * RESOLUTION) & (y_spread > yy[0] * RESOLUTION)
        return judged(value, np.asarray((counts > 0) & (spread | ~finite)))

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish(arrays_of_one(states, _SQUARED), params))


@dataclass(frozen=True, slots=True)
class WeightedMean:
    """`weighted_mean(x, weight)`: Σ(x·weight) / Σweight, over rows where both have values.

    Null over no such rows and where the weights add up to 0. Both sums in 104 bits: relative error
    2**-51 where all weights have one sign, and never more than 2**-95 of Σ|x·weight| / |Σweight|
    beyond that. Overflows where a product does. 40 bytes a state.

    >>> from tegula.windows.algebra import Column, Order, Runs
    >>> runs, order = Runs(np.array([0]), 2), Order(*[np.arange(2)] * 3)
    >>> column = Column(np.array([10.0, 20.0]), None, np.array([1.0, 3.0]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in _WEIGHTED)
    >>> WEIGHTED_MEAN.finish(states, {})[0].tolist()
    [17.5]
    """

    name: str = "weighted_mean"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return pair_of(self.name, input_kind, NUMBERS, NUMBERS, _WEIGHTED)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (products, _), (weights, _), (counts,) = states
        return _quotient(products, weights, np.asarray(counts > 0))

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish(arrays_of_one(states, _WEIGHTED), params))


@dataclass(frozen=True, slots=True)
class Ratio:
    """`ratio(x, y)`: Σx / Σy, over rows where both columns have values.

    Null over no such rows and where Σy is 0. Both sums in 104 bits: relative error 2**-51 where the
    values of each column have one sign, and never more than 2**-95 of (Σ|x| + Σ|y|·|ratio|) / |Σy|
    beyond that. Overflows where a sum or the quotient does. 32 bytes a state, shared with
    `covariance` of the same columns.

    >>> from tegula.windows.algebra import Column, Order, Runs
    >>> runs, order = Runs(np.array([0]), 3), Order(*[np.arange(3)] * 3)
    >>> column = Column(np.array([1.0, 0.0, 2.0]), None, np.array([4, 4, 0]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in _TOTALS)
    >>> RATIO.finish(states, {})[0].tolist()
    [0.375]
    """

    name: str = "ratio"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return pair_of(self.name, input_kind, NUMBERS, NUMBERS, _TOTALS)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (firsts, _), (seconds, _) = states
        return _quotient(firsts, seconds, np.ones(len(seconds), bool))

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish(arrays_of_one(states, _TOTALS), params))


def _quotient(above: Values, below: Values, present: Bools) -> tuple[Values, Codes]:
    # One sum over another, null where that is 0; what is past the range in either overflows.
    divisor = np.asarray(below)
    present = present & (divisor != 0)
    with np.errstate(invalid="ignore", over="ignore"):
        value = np.asarray(above) / np.where(present, divisor, 1.0)
    return judged(np.where(np.isfinite(divisor), value, np.inf), present)


def _two(states: States) -> TwoFloats:
    return np.asarray(states[0]), np.asarray(states[1])


COVARIANCE = Covariance()
CORRELATION = Correlation()
WEIGHTED_MEAN = WeightedMean()
RATIO = Ratio()
