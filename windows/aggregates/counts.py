"""How many: rows, and values.

Counts decide whether a window is empty, for every other aggregate: a sum of 0.0 may be the sum of
nothing or of 1.0 and -1.0, and only a count can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.types import DataType, Int64
from ..algebra import (
    VALUE,
    Codes,
    Column,
    Lists,
    Order,
    Runs,
    StateField,
    StateNeed,
    States,
    Values,
)
from .support import KINDS, column_of, family_of, scalars


@dataclass(frozen=True, slots=True)
class Counting:
    """A count: one int64, 8 bytes, added up. A group."""

    name: str
    of_values: bool
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("count", "<i8"),)

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        if not self.of_values or (valid := column_of(column).valid) is None:
            return (runs.lengths,)
        return (np.add.reduceat(valid, runs.starts, dtype=np.int64),)

    def reduce(self, states: States, runs: Runs) -> States:
        return (np.add.reduceat(states[0], runs.starts),)

    def reduce_one(self, states: States | Lists) -> tuple[int]:
        return (sum(scalars(states)[0]),)

    def merge(self, a: States, b: States) -> States:
        return (np.asarray(a[0]) + np.asarray(b[0]),)

    def merge_one(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[int]:
        return (a[0] + b[0],)

    def zero(self, count: int) -> States:
        return (np.zeros(count, np.int64),)

    def subtract(self, a: States, b: States) -> States:
        return (a[0] - b[0],)


COUNT_ROWS = Counting("count_rows", of_values=False)
COUNT_VALUES = Counting("count_values", of_values=True)


@dataclass(frozen=True, slots=True)
class Count:
    """`count()` is the number of rows, `count(col)` the number of rows where `col` has a value.

    NaN and infinities count as having none. An empty window counts 0. Exact; 8 bytes a state.

    >>> column = Column(np.array([2.5, 0.0, 4.0]), np.array([True, False, True]))
    >>> runs = Runs(np.array([0, 2]), 3)
    >>> order = Order(*[np.arange(3)] * 3)
    >>> COUNT_VALUES.lift(column, order, runs)[0].tolist()
    [1, 1]
    >>> COUNT_ROWS.lift(None, order, runs)[0].tolist()
    [2, 1]
    """

    name: str = "count"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        if input_kind is None:
            return (StateNeed(COUNT_ROWS, takes_input=False),)
        return family_of(self.name, input_kind, dict.fromkeys(KINDS, (StateNeed(COUNT_VALUES),)))

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Int64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (counts,) = states[0]
        return counts, np.full(len(counts), VALUE, np.uint8)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> int:
        count: int = states[0][0]
        return count


COUNT = Count()
