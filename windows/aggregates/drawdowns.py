"""How far a column fell from an earlier peak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.types import DataType
from .. import items
from ..algebra import (
    NULL,
    OVERFLOW,
    VALUE,
    Codes,
    Column,
    Int64s,
    Lists,
    Order,
    Runs,
    StateField,
    StateNeed,
    States,
    UInt64s,
    Values,
)
from ..items import Items, closed, opened
from .support import (
    arrays_of_one,
    column_of,
    empty_bytes,
    family_of,
    filled,
    scalar_of_one,
)

EXACT_MAX = 1024
_WIDTH = 4
_STEP_BITS = 10  # a coarse state tells at most 2**10 + 1 steps of its range apart
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Extremes:
    """The peaks and troughs that a greatest fall can be between, whatever else comes.

    A value matters as a peak only if no earlier one is as great, and as a trough only if no later
    one is as small; all others are left out. What is kept are items in the total order: their
    place, three words, and the value. With them the number of values, the least and the greatest.

    Values that never turn are all kept, so a state of more than 1024 values tells only the *steps*
    of values apart: multiples of a power of two, a 512th to a 1024th of the range of its values.
    Number and range never shrink in a union, and each step lies inside one coarser step: so a value
    that is left out of a part is left out of the whole, and a state is a function of the set of
    rows, however it was put together.
    """

    name: str
    neutral: tuple[float | int, float | int]
    """The least and the greatest of no values."""
    fields: tuple[StateField, ...]
    version: int = 1

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        place = (order.event_us, order.ordinal, order.offset)
        valid = np.ones(runs.size, bool) if column.valid is None else column.valid
        least, most = (filled(column, one) + self._zero for one in self.neutral)
        rows = items.lifted(place, column.values, column.valid, runs.ids)
        facts = (valid.astype(np.int64), least, most)
        return self._state(facts, rows, runs)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        rows = opened(states[3:], _WIDTH)
        rows = rows.of(runs.ids[rows.ids])
        event_us, ordinal, offset, _ = rows.words.T
        rows = rows.take(np.lexsort((offset, ordinal, event_us, rows.ids)))
        return self._state(tuple(map(np.asarray, states[:3])), rows, runs)

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        columns = tuple(
            (pa.array(field, pa.large_binary()) if one.dtype == "bytes" else np.array(field))
            if isinstance(field, list)
            else field
            for field, one in zip(states, self.fields, strict=True)
        )
        count = len(columns[0])
        merged = self.reduce(columns, Runs(np.array([0]), count)) if count else self.zero(1)
        *facts, stored = merged
        return (*(np.asarray(one)[0].item() for one in facts), stored[0].as_py())

    def zero(self, count: int) -> States:
        least, most = (np.full(count, one) for one in self.neutral)
        return np.zeros(count, np.int64), least, most, empty_bytes(count)

    @property
    def _zero(self) -> float | int:
        return 0.0 if self.fields[1].dtype == "<f8" else 0  # -0.0 + 0.0 is 0.0

    def _state(self, facts: tuple[Values, ...], rows: Items, runs: Runs) -> States:
        """The state of each run of facts and of its items, which stand in the total order."""
        if not runs.size:
            return self.zero(0)
        folds = (np.add, np.minimum, np.maximum)
        count, least, most = (
            fold.reduceat(np.asarray(field), runs.starts)
            for fold, field in zip(folds, facts, strict=True)
        )
        exponents = np.where(count > EXACT_MAX, _exponents(least, most, count > 0), _EXACT)
        steps = _steps(rows.values(3), exponents[rows.ids])
        kept = rows.take(np.flatnonzero(_matter(steps, rows.ids)))
        return (count, least, most, *closed(kept, runs.count))


_EXACT = -(2**31)
"""What stands for the exponent of a step where no two values share one."""


def _exponents(least: Values, most: Values, present: Values) -> Int64s:
    """The power of two that a step of each range is: a 512th to a 1024th of it."""
    low, high = np.where(present, least, 0), np.where(present, most, 0)
    if low.dtype == np.float64:
        # Halves, because the range of doubles may be no double.
        return np.frexp(high * 0.5 - low * 0.5)[1].astype(np.int64) + 1 - _STEP_BITS
    spread: UInt64s = high.view(np.uint64) - low.view(np.uint64)
    return np.maximum(np.frexp(spread.astype(np.float64))[1].astype(np.int64) - _STEP_BITS, 0)


def _steps(values: Values, exponents: Int64s) -> np.ndarray[Any, Any]:
    """The step in which each value lies, or the value where steps are exact."""
    assert isinstance(values, np.ndarray)
    coarse = exponents != _EXACT
    if not coarse.any():
        return values
    exponents = np.where(coarse, exponents, 0)
    if values.dtype == np.int64:
        return values >> exponents
    scaled = np.ldexp(values, -exponents)
    # What lies just below zero is below it, also where its quotient underflows.
    whole = np.where((values < 0) & (scaled > -1), -1.0, np.floor(scaled))
    return np.where(coarse, whole, values)


def _matter(steps: np.ndarray[Any, Any], ids: Int64s) -> np.ndarray[Any, Any]:
    """Whether each is above all before it in its state, or below all behind it."""
    keys, _ = _keys(steps, ids)
    matter = np.ones(len(keys), bool)
    above = keys[1:] > np.maximum.accumulate(keys)[:-1]
    below = keys[:-1] < np.minimum.accumulate(keys[::-1])[::-1][1:]
    matter[1:-1] = above[:-1] | below[1:]
    return matter


def _keys(values: np.ndarray[Any, Any], ids: Int64s) -> tuple[Int64s, np.ndarray[Any, Any]]:
    """Integers that order values by state first, with remainders of which value each is."""
    different, ranks = np.unique(values, return_inverse=True)
    keys: Int64s = ids * len(different) + ranks.reshape(-1)
    return keys, different


def _extremes(family: str, dtype: Any, least: float | int, most: float | int) -> Extremes:
    fields = (
        StateField("count", "<i8"),
        StateField("least", dtype),
        StateField("most", dtype),
        StateField("items", "bytes"),
    )
    return Extremes(f"extremes_{family}", (least, most), fields)


_FLOAT = StateNeed(_extremes("float", "<f8", np.inf, -np.inf))
_INT = StateNeed(_extremes("int", "<i8", _INT64_MAX, -_INT64_MAX - 1))
_NEEDS: Mapping[str, tuple[StateNeed, ...]] = {"float": (_FLOAT,), "int": (_INT,)}


@dataclass(frozen=True, slots=True)
class Drawdown:
    """`drawdown(x)`: the greatest fall from a value to one that came later, of the input's type.

    The maximum of x_i - x_j over events i before j in the total order, so that equal event times
    are no tie; 0 if x never falls. Nulls are skipped; null over no values. Exact of up to 1024
    values, and of integers that lie less than 1024 apart. Beyond, the answer is a fall that there
    was, and less than the greatest one by less than a 256th of the range (greatest - least value):
    peak and trough each lose less than a step of a 512th. The same events give the same answer in
    every window, order and replay. A fall beyond the output's range overflows. 32 bytes and 32 a
    value that no earlier one reaches or no later one undercuts: a few of values that go up and
    down, 66 kB where they only ever rise.

    >>> runs, order = Runs(np.array([0]), 6), Order(*[np.arange(6)] * 3)
    >>> column = Column(np.array([3.0, 9.0, 5.0, 8.0, 4.5, 10.0]))
    >>> (need,) = DRAWDOWN.needs("float", {})
    >>> DRAWDOWN.finish((need.monoid.lift(column, order, runs),), {})[0].tolist()
    [4.5]
    """

    name: str = "drawdown"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return family_of(self.name, input_kind, _NEEDS)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        return input_type

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        counts, least, _, stored = states[0]
        present = np.asarray(counts) > 0
        falls = np.zeros(len(present), np.asarray(least).dtype)
        codes = np.where(present, VALUE, NULL).astype(np.uint8)
        rows = opened((stored,), _WIDTH)
        if len(rows.ids):
            is_float = falls.dtype == np.float64
            values = rows.words[:, 3].copy().view(falls.dtype)
            runs = Runs.of_changes(rows.ids)
            keys, different = _keys(values, rows.ids)
            peaks = different[np.maximum.accumulate(keys) % len(different)]
            with np.errstate(over="ignore"):
                each = peaks - values
            # The difference of two int64, the greater first, is negative just where it wraps.
            each = each if is_float else each.view(np.uint64)
            greatest = np.maximum.reduceat(each, runs.starts)
            falls[present] = greatest.view(falls.dtype)
            codes[(falls < 0) | (falls == np.inf)] = OVERFLOW
        return falls, codes

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        need = _FLOAT if isinstance(states[0][1], float) else _INT
        return scalar_of_one(self.finish(arrays_of_one(states, (need,)), params))


DRAWDOWN = Drawdown()
