"""The most frequent values of very many, with their counts: exact while there are few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.params import Whole
from ...schemas.types import DataType, Int64, list_of, map_of
from .. import count_sketch, items
from ..algebra import (
    NULL,
    VALUE,
    Bools,
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
    take,
)
from ..hashing import by_hash, hash_values, mix
from ..items import Items, closed, listed, opened
from .lists import FAMILIES, bytes_of_one, one_by_many, whole
from .support import (
    binary,
    binary_of,
    buffers_of,
    column_of,
    empty_bytes,
    family_of,
    scalar_of_one,
)

K = Whole(100, 10)
KEPT_MAX = 512
_WIDTH = 4


@dataclass(frozen=True, slots=True)
class _Rows:
    """Values of many states, in any order: `hash`, least `rank` of a row, `count`, `id`, value."""

    hashes: UInt64s
    ranks: Int64s
    counts: Int64s
    values: Values
    ids: Int64s

    def take(self, places: Int64s) -> _Rows:
        (values,) = take((self.values,), places)
        hashes, ranks, counts = self.hashes[places], self.ranks[places], self.counts[places]
        return _Rows(hashes, ranks, counts, values, self.ids[places])


@dataclass(frozen=True, slots=True)
class FrequentValues:
    """The different values with their counts; past 512, a sample of them and a sketch of counts.

    Items of four words, ascending by hash: the value's hash, its rank, its count, and the value.
    Each row has a rank, a hash of its place in the total order; a value's is the least of its rows.
    Past 512 different values the 512 of least rank are kept, with a count of 0, and `counters`
    holds `windows.count_sketch` of all values, 2560 int64; else nothing.

    A state is a function of the set of rows: a part is past the bound only if the whole is; a value
    that is among the 512 least of the whole is so in the part that holds its least row; and
    counters are sums.
    """

    name: str
    has_texts: bool
    version: int = 1

    @property
    def fields(self) -> tuple[StateField, ...]:
        values = items.TEXTS if self.has_texts else items.ITEMS
        return (*values, StateField("counters", "bytes"))

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        ones = np.ones(runs.size, np.int64)
        hashes = hash_values(column.values)
        rows = _Rows(hashes, _ranks(order), ones, column.values, runs.ids)
        if column.valid is not None:
            rows = rows.take(np.flatnonzero(column.valid))
        return _state(rows, _no_counters(), np.zeros(0, np.int64), runs.count)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        rows, counters, owners = _opened(states)
        ids = runs.ids
        return _state(_of(rows, ids[rows.ids]), counters, ids[owners], runs.count)

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        return one_by_many(self, states)

    def zero(self, count: int) -> States:
        return tuple(empty_bytes(count) for _ in self.fields)


@dataclass(frozen=True, slots=True)
class TopK:
    """`approx_top_k(x, k)`: the k values that come most often, the most frequent first.

    Of equally frequent ones the lesser first, strings by their UTF-8 bytes. Nulls are skipped; null
    over no values. Exact up to 512 different values. Beyond, two things may err. A value may be
    missed: 512 values are looked at, drawn without replacement with chances as their counts are
    (bottom-k sampling, Cohen and Kaplan, 2007), so one that is the share p of all is missed with a
    chance below (1 - p)**512: 0.6 % at p = 1 %, 0.003 % at 2 %. And counts are those of a sketch
    (CountSketch, Charikar, Chen, Farach-Colton, 2002): of 100 about 99 are off by less than 0.133
    of the root of the sum of the squares of all other counts. The same events give the same answer
    in every window, order and replay. 8 bytes and 32 a different value, with its text, at most 512
    of them; past these 20480 more. It does not depend on k, which is at most 100.

    >>> runs, order = Runs(np.array([0]), 5), Order(*[np.arange(5)] * 3)
    >>> shops = pa.array([b"b", b"a", b"c", b"b", b"a"], pa.large_binary())
    >>> (need,) = APPROX_TOP_K.needs("string", {"k": 2})
    >>> state = need.monoid.lift(Column(shops), order, runs)
    >>> APPROX_TOP_K.finish((state,), {"k": 2})[0].to_pylist()
    [[b'a', b'b']]
    """

    name: str = "approx_top_k"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        whole(self.name, params, "k", K)
        return family_of(self.name, input_kind, _NEEDS)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        return list_of(input_type)

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        size = len(states[0][0])
        rows, _ = _most_frequent(states[0], params.get("k", K.example))
        return listed(rows, rows.values(-1), size), _codes(rows, size)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish((bytes_of_one(states[0]),), params))


@dataclass(frozen=True, slots=True)
class TopKCounts:
    """`approx_top_k_counts(x, k)`: the same values, as a map from each, as text, to its count.

    In the same order, from the same state: see `approx_top_k` for what it holds and how far a count
    may be off. A count is at least 1.

    >>> runs, order = Runs(np.array([0]), 5), Order(*[np.arange(5)] * 3)
    >>> (need,) = APPROX_TOP_K_COUNTS.needs("int", {"k": 2})
    >>> state = need.monoid.lift(Column(np.array([7, 5, 7, 9, 7])), order, runs)
    >>> APPROX_TOP_K_COUNTS.finish((state,), {"k": 2})[0].to_pylist()
    [[(b'7', 3), (b'5', 1)]]
    """

    name: str = "approx_top_k_counts"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        whole(self.name, params, "k", K)
        named = {kind: need for kind, need in _NEEDS.items() if kind in ("int", "string")}
        return family_of(self.name, input_kind, named)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return map_of(Int64)

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        size = len(states[0][0])
        rows, counts = _most_frequent(states[0], params.get("k", K.example))
        names = rows.texts
        if names is None:
            texts = pa.array(rows.values(-1)).cast(pa.large_string())
            names = binary(texts.cast(pa.large_binary()))
        held = np.bincount(rows.ids, minlength=size)
        ends = pa.array(np.concatenate(([0], np.cumsum(held))), pa.int32())
        return pa.MapArray.from_arrays(ends, names, pa.array(counts)), _codes(rows, size)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish((bytes_of_one(states[0]),), params))


def _ranks(order: Order) -> Int64s:
    # 63 bits, so that they order as int64 do.
    rank = mix(order.event_us.astype(np.uint64))
    for part in (order.ordinal, order.offset):
        rank = mix(rank ^ part.astype(np.uint64))
    return (rank >> np.uint64(1)).astype(np.int64)


def _of(rows: _Rows, ids: Int64s) -> _Rows:
    return _Rows(rows.hashes, rows.ranks, rows.counts, rows.values, ids)


def _opened(states: States) -> tuple[_Rows, Int64s, Int64s]:
    # The values of all states, and the counters of those that have some, with their numbers.
    rows = opened(states[:-1], _WIDTH)
    offsets, data = buffers_of(binary(states[-1]))
    owners = np.flatnonzero(np.diff(offsets))
    counters = data[offsets[0] : offsets[-1]].view(np.int64).reshape(-1, count_sketch.COUNTERS)
    hashes, ranks, counts, _ = np.ascontiguousarray(rows.words.T)
    return _Rows(hashes.view(np.uint64), ranks, counts, rows.values(3), rows.ids), counters, owners


def _state(rows: _Rows, counters: Int64s, owners: Int64s, size: int) -> States:
    """The `size` states of values (any order, repeated) and counters (ascending owners)."""
    rows = _different(rows, size)
    full = np.bincount(rows.ids, minlength=size) > KEPT_MAX
    full[owners] = True
    dense = np.cumsum(full) - 1  # the row of each full state in `sketches`
    sketches = _no_counters()
    if full.any():
        spill = np.flatnonzero(full[rows.ids])
        sketches = count_sketch.counters(
            rows.hashes[spill], rows.counts[spill], dense[rows.ids[spill]], int(full.sum())
        )
        if len(owners):
            parts = Runs.of_changes(owners)
            sketches[dense[owners[parts.starts]]] += np.add.reduceat(counters, parts.starts)
        rows = _sampled(rows, full)
    words = (rows.hashes.view(np.int64), rows.ranks, rows.counts)
    kept = closed(items.lifted(words, rows.values, None, rows.ids), size)
    ends = np.concatenate(([0], np.cumsum(full))) * (count_sketch.COUNTERS * 8)
    return (*kept, binary_of(ends, sketches))


def _different(rows: _Rows, size: int) -> _Rows:
    """Each value of each state once, with all its counts and its least rank, by (id, hash)."""
    place = by_hash(rows.hashes, rows.ids, size)
    same = Runs.of_changes(rows.ids[place], rows.hashes[place])
    first = rows.take(place[same.starts])
    if same.count == same.size:
        return first
    ranks = np.minimum.reduceat(rows.ranks[place], same.starts)
    counts = np.add.reduceat(rows.counts[place], same.starts)
    return _Rows(first.hashes, ranks, counts, first.values, first.ids)


def _sampled(rows: _Rows, full: Bools) -> _Rows:
    """The rows without those that a full state does not keep; what it keeps has no count."""
    is_full = full[rows.ids]
    order = np.lexsort((rows.ranks, rows.ids))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.searchsorted(rows.ids, rows.ids)
    kept = rows.take(np.flatnonzero(~is_full | (place < KEPT_MAX)))
    counts = np.where(full[kept.ids], 0, kept.counts)
    return _Rows(kept.hashes, kept.ranks, counts, kept.values, kept.ids)


def _most_frequent(state: States, k: int) -> tuple[Items, Int64s]:
    """Up to k items a state, the most frequent first, and their counts."""
    rows, counters, owners = _opened(state)
    counts, kept = rows.counts.copy(), opened(state[:-1], _WIDTH)
    place = np.full(len(state[0]), -1)
    place[owners] = np.arange(len(owners))
    guessed = np.flatnonzero(place[rows.ids] >= 0)
    which = place[rows.ids[guessed]]
    counts[guessed] = np.maximum(count_sketch.estimates(counters, rows.hashes[guessed], which), 1)
    order = np.lexsort((kept.keys(3), -counts, kept.ids))
    order = order[np.arange(len(order)) - np.searchsorted(kept.ids, kept.ids) < k]
    return kept.take(order), counts[order]


def _codes(rows: Items, size: int) -> Codes:
    present = np.bincount(rows.ids, minlength=size) > 0
    return np.where(present, VALUE, NULL).astype(np.uint8)


def _no_counters() -> Int64s:
    return np.zeros((0, count_sketch.COUNTERS), np.int64)


_NEEDS: Mapping[str, tuple[StateNeed, ...]] = {
    kind: (StateNeed(FrequentValues(f"frequent_{family}", family == "bytes")),)
    for kind, family in FAMILIES.items()
}
APPROX_TOP_K = TopK()
APPROX_TOP_K_COUNTS = TopKCounts()
