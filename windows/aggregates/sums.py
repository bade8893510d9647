"""Sums, of floats to 104 bits and of integers exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.types import DataType, Float64, Int64
from .. import twofloat, wideint
from ..algebra import (
    OVERFLOW,
    OVERFLOWED,
    VALUE,
    Codes,
    Column,
    Lists,
    Order,
    Overflowed,
    Runs,
    StateField,
    StateNeed,
    States,
    Values,
)
from .counts import COUNT_VALUES
from .support import family_of, filled, scalars


class TwoFloatSums:
    """What all states `hi + lo` share: everything but how rows become terms. A group."""

    __slots__ = ()

    def reduce(self, states: States, runs: Runs) -> States:
        return twofloat.sum_pairs(states[0], states[1], runs)

    def reduce_one(self, states: States | Lists) -> tuple[float, float]:
        hi, lo = scalars(states)
        if len(hi) == 1:
            return hi[0], lo[0]
        return twofloat.sum_all(hi + lo if any(lo) else hi)

    def merge(self, a: States, b: States) -> States:
        return twofloat.merge((a[0], a[1]), (b[0], b[1]))

    def merge_one(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[float, float]:
        return twofloat.merge_one((a[0], a[1]), (b[0], b[1]))

    def zero(self, count: int) -> States:
        return np.zeros(count), np.zeros(count)

    def subtract(self, a: States, b: States) -> States:
        words = np.stack((a[0], a[1], -b[0], -b[1]), axis=1).ravel()
        return twofloat.sum_runs(words, Runs(np.arange(0, len(words), 4), len(words)))


@dataclass(frozen=True, slots=True)
class SumFloat(TwoFloatSums):
    """Σx of doubles as a two-float: `hi + lo`, 16 bytes. A group.

    Each merge errs by at most 2**-104 of the magnitudes' sum. `(inf, 0)`: out of range.
    """

    name: str = "sum_float"
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("hi", "<f8"), StateField("lo", "<f8"))

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        return twofloat.sum_runs(filled(column, 0.0), runs)


@dataclass(frozen=True, slots=True)
class SumInt:
    """Σx of int64 as a 128-bit integer `hi * 2**64 + lo`, 16 bytes. Exact, never wraps. A group."""

    name: str = "sum_int"
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("hi", "<i8"), StateField("lo", "<u8"))

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        low, high = wideint.sum_int64(filled(column, 0), runs)
        return high.view(np.int64), low

    def reduce(self, states: States, runs: Runs) -> States:
        hi, lo = states
        if fits_int64(hi, lo).all():
            low, high = wideint.sum_int64(lo.view(np.int64), runs)
        else:
            low, high = wideint.sum_words((lo, hi.view(np.uint64)), runs)
        return high.view(np.int64), low

    def reduce_one(self, states: States | Lists) -> tuple[int, int]:
        hi, lo = scalars(states)
        total = (sum(hi) << 64) + sum(lo)
        return total >> 64, total & (2**64 - 1)

    def merge(self, a: States, b: States) -> States:
        low = np.asarray(a[1]) + np.asarray(b[1])
        return a[0] + b[0] + (low < a[1]).astype(np.int64), low

    def merge_one(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[int, int]:
        total = ((a[0] + b[0]) << 64) + a[1] + b[1]
        return total >> 64, total & (2**64 - 1)

    def zero(self, count: int) -> States:
        return np.zeros(count, np.int64), np.zeros(count, np.uint64)

    def subtract(self, a: States, b: States) -> States:
        low, high = wideint.subtract((a[1], a[0].view(np.uint64)), (b[1], b[0].view(np.uint64)))
        return high.view(np.int64), low


def fits_int64(hi: Values, lo: Values) -> np.ndarray[Any, Any]:
    """Which 128-bit integers are int64 values."""
    return np.asarray(hi == lo.view(np.int64) >> 63)


SUM_FLOAT = SumFloat()
SUM_INT = SumInt()

_NEEDS: Mapping[str, tuple[StateNeed, ...]] = {
    "float": (StateNeed(SUM_FLOAT), StateNeed(COUNT_VALUES)),
    "int": (StateNeed(SUM_INT),),
    "bool": (StateNeed(SUM_INT),),
}


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of a column; of bools, how many are true. Nulls are skipped; 0 if nothing is left.

    Floats: the double nearest to the sum, whose error before that rounding is at most 2**-100 of
    Σ|x| over any number of merges; equal to `math.fsum` where the inputs span at most 10**12.
    Two-float, 16 bytes, and a count, 8, so that an empty window is 0 and no residue of a
    retraction. Integers: exact in 128 bits, 16 bytes. A value beyond the output's range
    overflows.

    >>> runs, order = Runs(np.array([0]), 3), Order(*[np.arange(3)] * 3)
    >>> column = Column(np.array([1e16, 0.1, -1e16]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in SUM.needs("float", {}))
    >>> SUM.finish(states, {})[0].tolist()
    [0.1]
    """

    name: str = "sum"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return family_of(self.name, input_kind, _NEEDS)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64 if input_type == Float64 else Int64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        if len(states) == 1:
            hi, lo = states[0]
            return lo.view(np.int64), np.where(fits_int64(hi, lo), VALUE, OVERFLOW).astype("u1")
        (hi, _), (counts,) = states
        total = np.where(counts > 0, hi, 0.0)
        return total, np.where(np.isfinite(total), VALUE, OVERFLOW).astype("u1")

    def finish_one(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]
    ) -> float | int | Overflowed:
        if len(states) == 1:
            total: int = (states[0][0] << 64) + states[0][1]
            return total if -(2**63) <= total < 2**63 else OVERFLOWED
        (hi, _), (count,) = states
        return OVERFLOWED if count and hi == np.inf else (hi if count else 0.0)


SUM = Sum()
