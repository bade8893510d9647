"""The value of the event at which another column is least or greatest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.types import DataType
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
    take,
)
from .lists import FAMILIES
from .support import binary, column_of, empty_bytes, pair_of, scalars

BY = ("float", "int", "bool", "time")
"""The kinds that the second column may have."""

_NOWHERE = 2**63 - 1
_DTYPES = {"float": "<f8", "int": "<i8", "bytes": "bytes"}


@dataclass(frozen=True, slots=True)
class ExtremeBy:
    """The least (or greatest) number of a second column, the place of its event, and its value.

    Of equal numbers the earliest event counts. 32 bytes and the value (8, or its text). No value:
    the number is the neutral one and all three coordinates are 2**63 - 1, where no event lies.
    """

    name: str
    least: bool
    neutral: float | int
    fields: tuple[StateField, ...]
    version: int = 1

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        by = np.asarray(column.beside)
        if by.dtype == np.float64:
            by = by + 0.0  # -0.0 + 0.0 is 0.0
        rows: States = (by, order.event_us, order.ordinal, order.offset, column.values)
        if column.valid is not None:
            rows = self._without(rows, ~column.valid)
        return self.reduce(rows, runs)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        alive = np.ones(runs.size, bool)
        extremes = [(np.minimum if self.least else np.maximum, self.neutral)]
        extremes += [(np.minimum, _NOWHERE)] * 3
        for field, (extreme, neutral) in zip(states[:4], extremes, strict=True):
            left = np.where(alive, field, np.asarray(field).dtype.type(neutral))
            best = extreme.reduceat(left, runs.starts)
            alive &= left == np.repeat(best, runs.lengths)
        # More than one a run are left only where all of them are states without a value.
        rows = np.flatnonzero(alive)
        return take(states, rows[np.searchsorted(rows, runs.starts)])

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        by, *coordinates, values = scalars(states)
        if not by:
            nothing = {"<f8": 0.0, "<i8": 0}.get(self.fields[4].dtype, b"")
            return self.neutral, _NOWHERE, _NOWHERE, _NOWHERE, nothing
        signs = by if self.least else [-one for one in by]
        place = min(zip(signs, *coordinates, range(len(by)), strict=True))[-1]
        return by[place], *(field[place] for field in coordinates), values[place]

    def zero(self, count: int) -> States:
        nowhere = np.full(count, _NOWHERE, np.int64)
        dtype = self.fields[4].dtype
        value = empty_bytes(count) if dtype == "bytes" else np.zeros(count, dtype)
        return np.full(count, self.neutral, self.fields[0].dtype), nowhere, nowhere, nowhere, value

    def _without(self, rows: States, absent: np.ndarray[Any, Any]) -> States:
        by, *coordinates, values = rows
        by = np.where(absent, np.asarray(by).dtype.type(self.neutral), by)
        gone = tuple(np.where(absent, _NOWHERE, one) for one in coordinates)
        if isinstance(values, pa.Array):
            kept = pa.array(np.arange(len(absent)), mask=absent)
            return (by, *gone, binary(values).take(kept).fill_null(b""))
        return (by, *gone, np.where(absent, values.dtype.type(0), values))


def _monoid(name: str, least: bool, kind: str, by_kind: str) -> ExtremeBy:
    family, by_family = FAMILIES[kind], FAMILIES[by_kind]
    neutral: float | int = np.inf if least else -np.inf
    if by_family == "int":
        neutral = 2**63 - 1 if least else -(2**63)
    coordinates = (StateField(one, "<i8") for one in ("event_us", "ordinal", "offset"))
    fields = (
        StateField("by", "<f8" if by_family == "float" else "<i8"),
        *coordinates,
        StateField("value", _DTYPES[family]),  # type: ignore[arg-type]
    )
    return ExtremeBy(f"{name}_{family}_{by_family}", least, neutral, fields)


@dataclass(frozen=True, slots=True)
class ByOther:
    """`min_by(x, by)` and `max_by(x, by)`: x where `by` is least or greatest; null if nowhere.

    Only events where both columns have a value count. Of events with the same `by` the earliest in
    the total order decides, for both. `by` is a number, an instant or a bool. Exact. 40 bytes a
    state; strings 32 + their length.

    >>> runs, order = Runs(np.array([0]), 3), Order(*[np.arange(3)] * 3)
    >>> column = Column(np.array([1.5, 2.5, 3.5]), None, np.array([7, 9, 9]))
    >>> (need,) = MAX_BY.needs("float,int", {})
    >>> MAX_BY.finish((need.monoid.lift(column, order, runs),), {})[0].tolist()
    [2.5]
    """

    name: str
    least: bool

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        kind, _, by_kind = (input_kind or "").partition(",")
        pair_of(self.name, input_kind, tuple(FAMILIES), BY, None)
        return (StateNeed(_monoid(self.name, self.least, kind, by_kind)),)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        return input_type

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        *_, offsets, values = states[0]
        return values, np.where(offsets == _NOWHERE, NULL, VALUE).astype(np.uint8)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        *_, offset, value = states[0]
        return None if offset == _NOWHERE else value


MIN_BY = ByOther("min_by", least=True)
MAX_BY = ByOther("max_by", least=False)
