"""Which values there are, and how often each: exact, and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.params import Whole
from ...schemas.types import DataType, Float64, list_of
from .. import items, twofloat
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
    Values,
)
from ..items import Items, closed, listed, opened
from .lists import FAMILIES, bytes_of_one, one_by_many, whole
from .support import LISTS, column_of, empty_bytes, family_of, scalar_of_one

CAP = Whole(10_000, 1000)
LIST_FAMILIES = {kind: FAMILIES[kind[len("list[") : -1]] for kind in LISTS}
_PASSED = -1  # the count of the one item that a state past its bound holds


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """The different values, ascending, each with its count: items of two words, count and value.

    More than `cap` of them are past the bound: one item of count -1 and value 0 (the empty text),
    which absorbs whatever it is merged with. So a state is a function of the multiset of values: a
    part is past the bound only if the whole is.
    """

    name: str
    has_texts: bool
    cap: int
    version: int = 1

    @property
    def fields(self) -> tuple[StateField, ...]:
        return items.TEXTS if self.has_texts else items.ITEMS

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        ids = runs.ids if column.lengths is None else np.repeat(runs.ids, column.lengths)
        ones = np.ones(len(ids), np.int64)
        rows = items.lifted((ones,), column.values, column.valid, ids)
        return closed(self._counted(rows, runs.count), runs.count)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        parts = opened(states, 2)
        return closed(self._counted(parts.of(runs.ids[parts.ids]), runs.count), runs.count)

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        return one_by_many(self, states)

    def zero(self, count: int) -> States:
        return tuple(empty_bytes(count) for _ in self.fields)

    def _counted(self, rows: Items, count: int) -> Items:
        keys = rows.keys(1)
        order = np.lexsort((keys, rows.ids))
        rows, keys = rows.take(order), keys[order]
        passed = np.zeros(count, bool)
        passed[rows.ids[rows.words[:, 0] == _PASSED]] = True
        same = Runs.of_changes(rows.ids, keys)
        counts = np.add.reduceat(rows.words[:, 0], same.starts) if same.size else rows.words[:, 0]
        rows = rows.take(same.starts)
        passed |= np.bincount(rows.ids, minlength=count) > self.cap
        words = np.stack((counts, rows.words[:, 1]), axis=1)
        if not passed.any():
            return Items(words, rows.ids, rows.tag, rows.texts)
        # Of a state past its bound the first item stays, as the mark.
        kept = np.flatnonzero(~passed[rows.ids] | (rows.places == 0))
        rows, words = rows.take(kept), words[kept]
        marked = passed[rows.ids]
        words[marked] = (_PASSED, 0)
        if rows.texts is None:
            return Items(words, rows.ids, rows.tag)
        texts = rows.texts.take(pa.array(np.arange(len(marked)), mask=marked)).fill_null(b"")
        return Items(words, rows.ids, rows.tag, texts)


@dataclass(frozen=True, slots=True)
class OfCounts:
    """`distinct`, `union`, `mode` and `entropy` of a column: exact of up to `cap` different values.

    `distinct` is the list of the different values, ascending, and `union` that of the elements of
    all lists; `mode` the value that comes most often, of equally frequent ones the least; `entropy`
    is -Σ p·log2 p in bits, where p is the share of a value: 0 where all are equal, 3 for eight
    equally frequent ones (relative error 2**-50). Strings are ordered by their UTF-8 bytes. Nulls
    are skipped, as elements too; null over no values; with more different values than `cap` (1000
    if not given, at most 10000) the status is OVERFLOW. 8 bytes and 16 a different value, with its
    text; those of one column share a state.

    >>> runs, order = Runs(np.array([0]), 4), Order(*[np.arange(4)] * 3)
    >>> words = pa.array([b"b", b"a", b"c", b"b"], pa.large_binary())
    >>> (need,) = MODE.needs("string", {"cap": 3})
    >>> states = (need.monoid.lift(Column(words), order, runs),)
    >>> DISTINCT.finish(states, {})[0].to_pylist(), MODE.finish(states, {})[0].to_pylist()
    ([[b'a', b'b', b'c']], [b'b'])
    >>> lists = Column(words, lengths=np.array([3, 0, 1, 0]))
    >>> UNION.finish((need.monoid.lift(lists, order, runs),), {})[0].to_pylist()
    [[b'a', b'b', b'c']]
    >>> ENTROPY.finish(states, {})[0].tolist()
    [1.5]
    """

    name: str

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        cap = whole(self.name, params, "cap", CAP)
        families = LIST_FAMILIES if self.name == "union" else FAMILIES
        kinds = {
            kind: (StateNeed(ValueCounts(f"counts_{cap}_{family}", family == "bytes", cap)),)
            for kind, family in families.items()
        }
        return family_of(self.name, input_kind, kinds)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        if self.name == "entropy":
            return Float64
        return list_of(input_type) if self.name == "distinct" else input_type  # a list, if `union`

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (state,) = states
        size = len(state[0])
        rows = opened(state, 2)
        counts = rows.words[:, 0]
        held = np.bincount(rows.ids, minlength=size)
        codes = np.where(held > 0, VALUE, NULL).astype(np.uint8)
        codes[rows.ids[counts == _PASSED]] = OVERFLOW
        if self.name in ("distinct", "union"):
            return listed(rows, rows.values(1), size), codes
        if self.name == "entropy":
            return _entropies(np.maximum(counts, 1), rows.ids, size), codes
        order = np.lexsort((np.arange(len(counts)), -counts, rows.ids))  # most frequent first
        first = np.cumsum(held) - held
        return _picked(rows.take(order).values(1), first, held > 0), codes

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish((bytes_of_one(states[0]),), params))


def _picked(values: Values, places: Int64s, present: np.ndarray[Any, Any]) -> Values:
    if isinstance(values, np.ndarray):
        padded = np.append(values, values.dtype.type(0))
        found: Values = padded[np.where(present, places, len(values))]
        return found
    return values.take(pa.array(places, mask=~present)).fill_null(b"")


def _entropies(counts: Int64s, ids: Int64s, size: int) -> Values:
    # Σ (c / n)·log2(n / c): no cancellation, and 0 exactly where there is one value.
    entropies = np.zeros(size)
    runs = Runs.of_changes(ids)
    if runs.size:
        totals = np.repeat(np.add.reduceat(counts, runs.starts), runs.lengths)
        parts = counts / totals * np.log2(totals / counts)
        entropies[ids[runs.starts]] = twofloat.sum_runs(parts, runs)[0]
    return entropies


DISTINCT = OfCounts("distinct")
UNION = OfCounts("union")
MODE = OfCounts("mode")
ENTROPY = OfCounts("entropy")
