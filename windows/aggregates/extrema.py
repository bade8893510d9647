"""The least and the greatest value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.types import DataType
from ..algebra import (
    NULL,
    VALUE,
    Codes,
    Column,
    Int64s,
    Lists,
    Monoid,
    Order,
    Runs,
    StateField,
    StateNeed,
    States,
    Values,
)
from .counts import COUNT_VALUES
from .support import (
    binary,
    binary_of,
    buffers_of,
    column_of,
    empty_bytes,
    family_of,
    filled,
    scalars,
)

_PRESENT = b"\x01"


@dataclass(frozen=True, slots=True)
class ExtremeNumber:
    """The least (or greatest) number of a column, 8 bytes; `neutral` of no numbers.

    -0.0 and 0.0 are equal, so states hold only 0.0. Whether there was a number at all is for a
    count to say: the neutral integer is also a value that a column may hold.
    """

    name: str
    least: bool
    neutral: float | int
    fields: tuple[StateField, ...]
    version: int = 1

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        values = filled(column, self.neutral)
        if values.dtype == np.float64:
            values = values + 0.0  # -0.0 + 0.0 is 0.0
        return self.reduce((values,), runs)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        extreme = np.minimum if self.least else np.maximum
        return (extreme.reduceat(states[0], runs.starts),)

    def reduce_one(self, states: States | Lists) -> tuple[float | int]:
        extreme = min if self.least else max
        return (extreme(scalars(states)[0], default=self.neutral),)

    def merge(self, a: States, b: States) -> States:
        extreme = np.minimum if self.least else np.maximum
        return (extreme(a[0], b[0]),)

    def merge_one(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[float | int]:
        return a if (a[0] < b[0]) == self.least else b

    def zero(self, count: int) -> States:
        return (np.full(count, self.neutral, np.dtype(self.fields[0].dtype)),)


@dataclass(frozen=True, slots=True)
class ExtremeBytes:
    """The least (or greatest) string of a column, compared byte by byte as UTF-8.

    That is the order of code points. A state is the byte 1 and then the string, so that the empty
    string is a value, or nothing at all for no strings; its length + 1 bytes.
    """

    name: str
    least: bool
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("value", "bytes"),)

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        values, winners = self._winners(binary(column.values), column.valid, runs)
        return (_marked(values, winners),)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        stored = binary(states[0])
        offsets, _ = buffers_of(stored)
        values, winners = self._winners(stored, offsets[1:] > offsets[:-1], runs)
        found = winners >= 0
        if found.all():
            return (values.take(pa.array(winners)),)
        return (values.take(pa.array(winners, mask=~found)).fill_null(b""),)

    def reduce_one(self, states: States | Lists) -> tuple[bytes]:
        extreme = min if self.least else max
        return (extreme(filter(None, scalars(states)[0]), default=b""),)

    def zero(self, count: int) -> States:
        return (empty_bytes(count),)

    def _winners(
        self, values: pa.LargeBinaryArray, valid: np.ndarray[Any, Any] | None, runs: Runs
    ) -> tuple[pa.LargeBinaryArray, Int64s]:
        # The different strings, and for each run the index of its extreme one, or -1. Only the
        # different ones are sorted; their ranks then compare as numbers.
        encoded: Any = values.dictionary_encode()
        different: pa.LargeBinaryArray = encoded.dictionary
        ascending = pc.sort_indices(different).to_numpy().astype(np.int64)
        rank = np.empty(len(different), np.int64)
        rank[ascending] = np.arange(len(different))
        ranks = rank[encoded.indices.to_numpy()]
        nothing = len(different) if self.least else -1
        if valid is not None:
            ranks = np.where(valid, ranks, nothing)
        extreme = np.minimum if self.least else np.maximum
        best = extreme.reduceat(ranks, runs.starts)
        found = best != nothing
        return different, np.where(found, ascending[np.where(found, best, 0)], -1)


def _marked(values: pa.LargeBinaryArray, winners: Int64s) -> pa.LargeBinaryArray:
    # The states of the values at `winners`; of nothing where that is -1.
    found = winners >= 0
    offsets, data = buffers_of(values.take(pa.array(winners[found])))
    lengths = np.zeros(len(winners) + 1, np.int64)
    lengths[1:][found] = np.diff(offsets) + 1
    ends = np.cumsum(lengths)
    marked = np.empty(ends[-1], np.uint8)
    marks = np.zeros(ends[-1], bool)
    marks[ends[:-1][found]] = True
    marked[marks] = _PRESENT[0]
    marked[~marks] = data[offsets[0] : offsets[-1]]
    return binary_of(ends, marked)


def _unmarked(states: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    offsets, data = buffers_of(states)
    present = offsets[1:] > offsets[:-1]
    values = np.delete(data[offsets[0] : offsets[-1]], offsets[:-1][present] - offsets[0])
    ends = offsets - offsets[0]
    ends[1:] -= np.cumsum(present)
    return binary_of(ends, values)


_FLOAT = (StateField("value", "<f8"),)
_INT = (StateField("value", "<i8"),)

MIN_FLOAT = ExtremeNumber("min_float", least=True, neutral=np.inf, fields=_FLOAT)
MAX_FLOAT = ExtremeNumber("max_float", least=False, neutral=-np.inf, fields=_FLOAT)
MIN_INT = ExtremeNumber("min_int", least=True, neutral=2**63 - 1, fields=_INT)
MAX_INT = ExtremeNumber("max_int", least=False, neutral=-(2**63), fields=_INT)
MIN_BYTES = ExtremeBytes("min_bytes", least=True)
MAX_BYTES = ExtremeBytes("max_bytes", least=False)

_LEAST: Mapping[str, Monoid] = {
    "float": MIN_FLOAT,
    "int": MIN_INT,
    "bool": MIN_INT,
    "time": MIN_INT,
    "string": MIN_BYTES,
}
_GREATEST: Mapping[str, Monoid] = {
    "float": MAX_FLOAT,
    "int": MAX_INT,
    "bool": MAX_INT,
    "time": MAX_INT,
    "string": MAX_BYTES,
}


@dataclass(frozen=True, slots=True)
class Extreme:
    """`min` and `max`: the least or greatest value of a column; nulls are skipped, null if none.

    Numbers and instants by size, false before true, strings by their UTF-8 bytes (the order of
    code points; no locale). Ties are equal values, so nothing depends on which one is taken; 0.0
    stands for -0.0 as well. Exact. 8 bytes a state (strings: length + 1) and a count, 8.

    >>> runs, order = Runs(np.array([0, 3]), 4), Order(*[np.arange(4)] * 3)
    >>> words = pa.array([b"zebra", b"", b"\\xc3\\xa4hre", b"tile"], pa.large_binary())
    >>> MIN_BYTES.lift(Column(words), order, runs)[0].to_pylist()
    [b'\\x01', b'\\x01tile']
    >>> MAX_FLOAT.lift(Column(np.array([2.5, -1.0, 0.5, 4.0])), order, runs)[0].tolist()
    [2.5, 4.0]
    """

    name: str
    least: bool

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        monoid = family_of(self.name, input_kind, _LEAST if self.least else _GREATEST)
        return StateNeed(monoid), StateNeed(COUNT_VALUES)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        return input_type

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (values,), (counts,) = states
        if isinstance(values, pa.Array):
            values = _unmarked(values)
        return values, np.where(counts > 0, VALUE, NULL).astype(np.uint8)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        (value,), (count,) = states
        if not count:
            return None
        return value[1:] if isinstance(value, bytes) else value


MIN = Extreme("min", least=True)
MAX = Extreme("max", least=False)
