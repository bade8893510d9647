"""How many values fall between given edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.canonical import digest
from ...schemas.errors import BadParameter
from ...schemas.params import Edges
from ...schemas.types import DataType, Int64, list_of
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
from .support import column_of, family_of, scalars

EDGES = Edges(64)


@dataclass(frozen=True, slots=True)
class BinCounts:
    """How many values lie in each bin: below the first edge, between two, from the last one on.

    One int64 a bin, 8 bytes each, added up. A group. An edge belongs to the bin above it.
    """

    name: str
    edges: tuple[float, ...]
    version: int = 1

    @property
    def fields(self) -> tuple[StateField, ...]:
        return tuple(StateField(f"bin_{number}", "<i8") for number in range(len(self.edges) + 1))

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        bins = np.searchsorted(np.array(self.edges), np.asarray(column.values), side="right")
        ids, size = runs.ids, len(self.edges) + 1
        if column.valid is not None:
            bins, ids = bins[column.valid], ids[column.valid]
        counts = np.bincount(ids * size + bins, minlength=runs.count * size)
        return tuple(np.ascontiguousarray(counts.reshape(runs.count, size).T))

    def reduce(self, states: States, runs: Runs) -> States:
        return tuple(np.add.reduceat(np.asarray(field), runs.starts) for field in states)

    def reduce_one(self, states: States | Lists) -> tuple[int, ...]:
        return tuple(sum(field) for field in scalars(states))

    def merge(self, a: States, b: States) -> States:
        return tuple(np.asarray(x) + np.asarray(y) for x, y in zip(a, b, strict=True))

    def merge_one(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[int, ...]:
        return tuple(x + y for x, y in zip(a, b, strict=True))

    def zero(self, count: int) -> States:
        return tuple(np.zeros(count, np.int64) for _ in self.fields)

    def subtract(self, a: States, b: States) -> States:
        return tuple(np.asarray(x) - np.asarray(y) for x, y in zip(a, b, strict=True))


@dataclass(frozen=True, slots=True)
class Histogram:
    """`histogram(x, edges)`: a list of counts, one more than there are edges.

    Values below the first edge, then from each edge to below the next, then from the last edge on;
    so the counts add up to `count(x)`. Nulls are skipped; zeros over no values. Exact; integers are
    compared as doubles. 8 bytes a bin; at most 64 edges.

    >>> runs, order = Runs(np.array([0]), 4), Order(*[np.arange(4)] * 3)
    >>> params = {"edges": [0.0, 10.0]}
    >>> (need,) = HISTOGRAM.needs("float", params)
    >>> state = need.monoid.lift(Column(np.array([-1.0, 0.0, 9.9, 10.0])), order, runs)
    >>> HISTOGRAM.finish((state,), params)[0].to_pylist()
    [[1, 2, 1]]
    """

    name: str = "histogram"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        edges = params.get("edges", EDGES.example)
        if not EDGES.accepts(edges):
            raise BadParameter(
                f"`{self.name}` cannot have these edges", got=repr(edges), expected=EDGES.expected
            )
        stored = EDGES.stored(edges)
        monoid = BinCounts(f"bins_{digest(stored)}", tuple(stored))
        need = (StateNeed(monoid),)
        return family_of(self.name, input_kind, {"float": need, "int": need})

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return list_of(Int64)

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        counts = np.stack([np.asarray(field) for field in states[0]], axis=1)
        size, bins = counts.shape
        offsets = pa.array(np.arange(size + 1, dtype=np.int64) * bins)
        lists = pa.LargeListArray.from_arrays(offsets, pa.array(counts.ravel()))
        return lists, np.full(size, VALUE, np.uint8)

    def finish_one(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]
    ) -> list[int]:
        return list(states[0])


HISTOGRAM = Histogram()
