"""Sums and means of vectors, whose elements stand in several columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.errors import UnsupportedInput
from ...schemas.signatures import COLUMNS_MAX
from ...schemas.types import DataType, Float64, list_of
from ..algebra import NULL, OVERFLOW, VALUE, Codes, Float64s, StateNeed, States, Values
from ..twofloat import divide
from .counts import COUNT_VALUES
from .support import NUMBERS, arrays_of_one, scalar_of_one
from .terms import element


@dataclass(frozen=True, slots=True)
class VectorSum:
    """`vector_sum([x, y, …])` and `vector_mean([x, y, …])`: a list with an element a column.

    The sum (or mean) of each column, over events at which *all* of them have a value: one with a
    null is no vector. Over none the sum is zeros and the mean null. 2 to 64 columns. Sums in 104
    bits: each is off by at most 2**-100 of Σ|x| and, beyond that, relatively by 2**-52. If one
    element overflows, the list does. 16 bytes a column, and for the mean 8 more.

    >>> from tegula.windows.algebra import Column, Order, Runs
    >>> runs, order = Runs(np.array([0]), 2), Order(*[np.arange(2)] * 3)
    >>> column = Column(np.array([1.0, 2.0]), None, np.array([5, 8]), (np.array([0.5, 0.25]),))
    >>> needs = VECTOR_MEAN.needs("float,int,float", {})
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in needs)
    >>> VECTOR_SUM.finish(states[:-1], {})[0].to_pylist()
    [[3.0, 13.0, 0.75]]
    >>> VECTOR_MEAN.finish(states, {})[0].to_pylist()
    [[1.5, 6.5, 0.375]]
    """

    name: str
    is_mean: bool

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        kinds = (input_kind or "").split(",")
        if not 2 <= len(kinds) <= COLUMNS_MAX or not set(kinds) <= set(NUMBERS):
            raise UnsupportedInput(
                f"`{self.name}` needs several columns of numbers",
                got=f"kind {input_kind}",
                expected=f"2 to {COLUMNS_MAX} columns of kind {', '.join(NUMBERS)}",
            )
        return self._needs(len(kinds))

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return list_of(Float64)

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        totals = states[:-1] if self.is_mean else states
        present = np.ones(len(states[0][0]), bool)
        columns: list[Float64s] = [np.asarray(hi) for hi, _ in totals]
        if self.is_mean:
            counts = np.asarray(states[-1][0])
            present, divisor = counts > 0, np.maximum(counts, 1) * 1.0
            with np.errstate(invalid="ignore", over="ignore"):
                columns = [divide((hi, np.asarray(lo)), divisor)[0] for hi, lo in totals]
        elements = np.stack(columns, axis=1)
        ends = pa.array(np.arange(len(present) + 1, dtype=np.int64) * len(columns))
        lists = pa.LargeListArray.from_arrays(ends, pa.array(elements.ravel()))
        codes = np.where(np.isfinite(elements).all(axis=1), VALUE, OVERFLOW)
        return lists, np.where(present, codes, NULL).astype(np.uint8)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        needs = self._needs(len(states) - self.is_mean)
        return scalar_of_one(self.finish(arrays_of_one(states, needs), params))

    def _needs(self, columns: int) -> tuple[StateNeed, ...]:
        sums = tuple(StateNeed(element(place)) for place in range(columns))
        return (*sums, StateNeed(COUNT_VALUES)) if self.is_mean else sums


VECTOR_SUM = VectorSum("vector_sum", is_mean=False)
VECTOR_MEAN = VectorSum("vector_mean", is_mean=True)
