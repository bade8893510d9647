"""How often something is true, and whether it ever, or always, is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.types import Bool, DataType, Int64
from ..algebra import (
    NULL,
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
from .counts import COUNT_VALUES
from .support import family_of, filled, scalars


@dataclass(frozen=True, slots=True)
class CountTrue:
    """How many values of a column of bools are true: one int64, 8 bytes, added up. A group."""

    name: str = "count_true"
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("count", "<i8"),)

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        return (np.add.reduceat(filled(column, 0), runs.starts, dtype=np.int64),)

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
        return (np.asarray(a[0]) - np.asarray(b[0]),)


COUNT_TRUE = CountTrue()


@dataclass(frozen=True, slots=True)
class CountIf:
    """`count_if(p)` is the number of rows where p is true; false and null count alike as not.

    An empty window counts 0. Exact; 8 bytes a state, the same as for `count(where=p)`, `any(p)` and
    `all(p)`.

    >>> runs, order = Runs(np.array([0, 2]), 3), Order(*[np.arange(3)] * 3)
    >>> column = Column(np.array([1, 1, 0]), np.array([True, False, True]))
    >>> state = COUNT_TRUE.lift(column, order, runs)
    >>> COUNT_IF.finish((state,), {})[0].tolist()
    [1, 0]
    """

    name: str = "count_if"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return family_of(self.name, input_kind, {"bool": (StateNeed(COUNT_TRUE),)})

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Int64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (counts,) = states[0]
        return counts, np.full(len(counts), VALUE, np.uint8)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> int:
        count: int = states[0][0]
        return count


@dataclass(frozen=True, slots=True)
class Quantified:
    """`any` and `all`: whether p is true for at least one row, or for every row.

    Rows where p is null are skipped; over no others the answer is null, not false or true: whether
    something never happened or was never looked at is for the reader to decide (`default=False`).
    Exact; 16 bytes a state, of which 8 are those of `count_if`.

    >>> runs, order = Runs(np.array([0, 2]), 3), Order(*[np.arange(3)] * 3)
    >>> column = Column(np.array([1, 0, 1]), np.array([True, True, False]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in ANY.needs("bool", {}))
    >>> ANY.finish(states, {})[0].tolist(), ALL.finish(states, {})[0].tolist()
    ([1, 0], [0, 1])
    >>> ANY.finish(states, {})[1].tolist()  # nothing is known of the second run
    [1, 0]
    """

    name: str
    every: bool

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        needs = (StateNeed(COUNT_TRUE), StateNeed(COUNT_VALUES))
        return family_of(self.name, input_kind, {"bool": needs})

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Bool

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (true,), (counts,) = states
        held = true == counts if self.every else true > 0
        codes = np.where(counts > 0, VALUE, NULL).astype(np.uint8)
        return np.asarray(held).astype(np.int64), codes

    def finish_one(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]
    ) -> int | None:
        (true,), (count,) = states
        if not count:
            return None
        return int(true == count if self.every else true > 0)


COUNT_IF = CountIf()
ANY = Quantified("any", every=False)
ALL = Quantified("all", every=True)
