"""Sums of what is computed from each row: powers, products, products with the event time.

A *term* is a two-float, so that a product of two doubles enters its sum exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import twofloat
from ..algebra import Column, Float64s, Int64s, Order, Runs, StateField, States, Values
from .sums import TwoFloatSums
from .support import column_of

TwoFloats = tuple[Float64s, Float64s]


@dataclass(frozen=True, slots=True)
class SumOfTerms(TwoFloatSums):
    """Σ term(row) as a two-float: `hi + lo`, 16 bytes. A group.

    `terms` gives a two-float for each row, whatever stands in it. Each merge errs by at most
    2**-104 of the magnitudes' sum. `(inf, 0)`: out of range.
    """

    name: str
    terms: Callable[[Column, Order], TwoFloats]
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("hi", "<f8"), StateField("lo", "<f8"))

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            hi, lo = self.terms(column, order)
        finite = np.isfinite(hi)
        hi, lo = np.where(finite, hi, np.inf), np.where(finite, lo, 0.0)
        if column.valid is not None:
            hi, lo = np.where(column.valid, hi, 0.0), np.where(column.valid, lo, 0.0)
        return twofloat.sum_pairs(hi + 0.0, lo + 0.0, runs)


def exactly(values: Values) -> TwoFloats:
    """Numbers as two-floats: doubles as they are, int64 without loss.

    >>> exactly(np.array([2**53 + 1]))
    (array([9.00719925e+15]), array([1.]))
    """
    assert isinstance(values, np.ndarray)
    if values.dtype == np.float64:
        return values, np.zeros(len(values))
    return _split(values)


def _split(values: Int64s) -> TwoFloats:
    high = (values >> 32).astype(np.float64) * 2.0**32
    return twofloat.two_sum(high, (values & 0xFFFFFFFF).astype(np.float64))


def _firsts(column: Column, order: Order) -> TwoFloats:
    return exactly(column.values)


def _seconds(column: Column, order: Order) -> TwoFloats:
    assert column.beside is not None, "an aggregate of pairs was given single values"
    return exactly(column.beside)


@dataclass(frozen=True, slots=True)
class _Further:
    """The values of a column past the second."""

    place: int

    def __call__(self, column: Column, order: Order) -> TwoFloats:
        return exactly(column.more[self.place - 2])


def _product(a: Callable[..., TwoFloats], b: Callable[..., TwoFloats]) -> Callable[..., TwoFloats]:
    return lambda column, order: twofloat.multiply(a(column, order), b(column, order))


def _times(column: Column, order: Order) -> TwoFloats:
    return _split(order.event_us)


_squares = _product(_firsts, _firsts)
_second_squares = _product(_seconds, _seconds)

CUBES = SumOfTerms("cubes", _product(_squares, _firsts))
FOURTHS = SumOfTerms("fourths", _product(_squares, _squares))
PRODUCTS = SumOfTerms("products", _product(_firsts, _seconds))
FIRSTS = SumOfTerms("firsts", _firsts)
SECONDS = SumOfTerms("seconds", _seconds)
FIRST_SQUARES = SumOfTerms("first_squares", _squares)
SECOND_SQUARES = SumOfTerms("second_squares", _second_squares)
TIME_PRODUCTS = SumOfTerms("time_products", _product(_times, _firsts))


def element(place: int) -> SumOfTerms:
    """The sum of one of several columns: 0 is the first.

    >>> element(1) is SECONDS, element(2).name, element(2) == element(2)
    (True, 'elements_2', True)
    """
    if place < 2:
        return (FIRSTS, SECONDS)[place]
    return SumOfTerms(f"elements_{place}", _Further(place))
