"""Sums and counts in which every event weighs half as much each half-life later.

The weight of an event at t, read at T, is 2**((t - T) / h): it depends on T, which no state can
know. So a state holds Σ x·2**((t - R) / h) for a reference R of its own, the greatest multiple of h
at or before its newest value. Moving to a later reference multiplies by a whole power of two, which
is exact; so states merge as exactly as sums do, and however far from 1970 the events lie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ...schemas.time import parse_duration
from ...schemas.types import DataType, Float64
from .. import twofloat
from ..algebra import (
    OVERFLOW,
    VALUE,
    Codes,
    Column,
    Float64s,
    Int64s,
    Lists,
    Order,
    Reading,
    Runs,
    StateField,
    StateNeed,
    States,
    Values,
)
from .support import KINDS, NUMBERS, arrays_of_one, column_of, family_of, scalar_of_one, scalars
from .terms import exactly

_NEVER: Final = -(2**62)
"""The reference of no values, in half-lives: before all others, and their difference fits."""

_FAR: Final = 4000
"""Half-lives after which nothing is left of any double."""


@dataclass(frozen=True, slots=True)
class Decayed:
    """Σ x·2**(t / h - r): `(hi + lo)` and the reference r, int64, in half-lives; 24 bytes.

    r is the greatest floor(t / h) of a value, so a function of the set of rows. The weight of a row
    within its half-life errs by at most 2**-51 of itself and is the same in every merge; each merge
    errs by at most 2**-104 of the magnitudes' sum. `weighs` says what x is: the column's values, 1
    for each value, or 1 for each row. `hi` of inf: out of range.
    """

    name: str
    half_life_us: int
    weighs: str
    version: int = 1
    fields: tuple[StateField, ...] = (
        StateField("reference", "<i8"),
        StateField("hi", "<f8"),
        StateField("lo", "<f8"),
    )

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        whole, part = np.divmod(order.event_us, self.half_life_us)
        hi, lo = np.exp2(part / self.half_life_us), np.zeros(runs.size)
        valid = None if self.weighs == "rows" else column_of(column).valid
        if self.weighs == "sum":
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                hi, lo = twofloat.multiply(exactly(column_of(column).values), (hi, lo))
        if valid is not None:
            whole = np.where(valid, whole, _NEVER)
            hi, lo = np.where(valid, hi, 0.0), np.where(valid, lo, 0.0)
        return self._sum(whole, hi, lo, runs)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        whole, hi, lo = (np.asarray(field) for field in states)
        return self._sum(whole, hi, lo, runs)

    def reduce_one(self, states: States | Lists) -> tuple[int, float, float]:
        references, his, los = scalars(states)
        newest = max(references, default=_NEVER)
        words = [
            math.ldexp(word, max(reference - newest, -_FAR))
            for reference, hi, lo in zip(references, his, los, strict=True)
            for word in (hi, lo)
        ]
        return newest, *twofloat.sum_all(words)

    def zero(self, count: int) -> States:
        return np.full(count, _NEVER), np.zeros(count), np.zeros(count)

    def _sum(self, whole: Int64s, hi: Float64s, lo: Float64s, runs: Runs) -> States:
        newest = np.maximum.reduceat(whole, runs.starts) if runs.size else whole
        behind = np.maximum(whole - np.repeat(newest, runs.lengths), -_FAR).astype(np.int32)
        with np.errstate(under="ignore"):
            hi, lo = np.ldexp(hi, behind), np.ldexp(lo, behind)
        finite = np.isfinite(hi)
        hi, lo = np.where(finite, hi, np.inf) + 0.0, np.where(finite, lo, 0.0) + 0.0
        return newest, *twofloat.sum_pairs(hi, lo, runs)


@dataclass(frozen=True, slots=True)
class Decay:
    """`decayed_sum(x, half_life=h)`: Σ x·2**(-age / h); `decayed_count` the same with x = 1.

    The age is that at the instant of reading, so the value falls as time passes with no event.
    Nulls are skipped; 0 over nothing. It errs by at most 2**-49 of Σ|x|·2**(-age / half_life), in
    whatever order events came. Overflows as `sum` does. 24 bytes a state, and one for each
    half-life that is asked for.

    >>> at = Reading(at_us=7_200_000_000, start_us=0, end_us=7_200_000_000)
    >>> DECAYED_SUM.finish_one_at(((1, 10.0, 0.0),), {"half_life": "1h"}, at)  # an hour ago
    5.0
    """

    name: str
    counts: bool

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        half_life_us = _half_life_us(params)
        if self.counts and input_kind is None:
            rows = Decayed(f"decayed_rows_{half_life_us}", half_life_us, "rows")
            return (StateNeed(rows, takes_input=False),)
        weighs, kinds = ("values", KINDS) if self.counts else ("sum", NUMBERS)
        monoid = Decayed(f"decayed_{weighs}_{half_life_us}", half_life_us, weighs)
        return family_of(self.name, input_kind, dict.fromkeys(kinds, (StateNeed(monoid),)))

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish_at(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Values, Codes]:
        reference, hi, _ = (np.asarray(field) for field in states[0])
        half_life_us = _half_life_us(params)
        whole, part = np.divmod(reading.at_us, half_life_us)
        since = np.clip(reference - whole, -_FAR, _FAR).astype(np.int32)
        with np.errstate(over="ignore", under="ignore"):
            value = np.ldexp(hi * np.exp2(-part / half_life_us), since)
        return value, np.where(np.isfinite(value), VALUE, OVERFLOW).astype(np.uint8)

    def finish_one_at(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any], reading: Reading
    ) -> Any:
        columns = arrays_of_one(states, self.needs("int", params))
        at = Reading(*(np.array([t]) for t in (reading.at_us, reading.start_us, reading.end_us)))
        return scalar_of_one(self.finish_at(columns, params, at))


def _half_life_us(params: Mapping[str, Any]) -> int:
    return parse_duration(params.get("half_life", "1h"))


DECAYED_SUM = Decay("decayed_sum", counts=False)
DECAYED_COUNT = Decay("decayed_count", counts=True)
