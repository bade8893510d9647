"""Quantiles: exact of few different values, within a stated share of the value of many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.errors import BadParameter
from ...schemas.params import Share, Shares
from ...schemas.types import DataType, Float64, list_of
from .. import loglinear
from ..algebra import (
    NULL,
    VALUE,
    Codes,
    Column,
    Float64s,
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
from .support import (
    NUMBERS,
    arrays_of_one,
    binary,
    binary_of,
    buffers_of,
    column_of,
    empty_bytes,
    family_of,
    scalar_of_one,
    scalars,
)

SHARES = Shares(64)
_ROUNDING = 2.0**-50


@dataclass(frozen=True, slots=True)
class Buckets:
    """How many values fell into each log-linear bucket (`windows.loglinear`).

    Bytes, little-endian, words of 8 bytes: nothing for no values; else the shift (uint64), then n
    buckets (uint64, ascending), then their n counts (uint64, at least 1): 8 + 16 n; n is at most
    512.

    A state is a function of the multiset of values, however it was put together.
    """

    name: str = "buckets"
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("buckets", "bytes"),)

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        column = column_of(column)
        values, ids = np.asarray(column.values), runs.ids
        if column.valid is not None:
            values, ids = values[column.valid], ids[column.valid]
        places = loglinear.places_of(values.astype(np.float64))
        ones, exact = np.ones(len(places), np.int64), np.zeros(runs.count, np.uint64)
        return (_encode(*loglinear.coarsen(places, ones, ids, exact)),)

    def reduce(self, states: States, runs: Runs) -> States:
        if runs.count == runs.size:
            return states
        return (_union(binary(states[0]), runs),)

    def reduce_one(self, states: States | Lists) -> tuple[bytes]:
        parts = [part for part in scalars(states)[0] if part]
        if len(parts) <= 1:
            return (parts[0] if parts else b"",)
        stored = pa.array(parts, pa.large_binary())
        return (_union(stored, Runs(np.array([0]), len(parts)))[0].as_py(),)

    def zero(self, count: int) -> States:
        return (empty_bytes(count),)


BUCKETS = Buckets()


@dataclass(frozen=True, slots=True)
class Quantile:
    """`approx_quantile(x, q)` and `median(x)`: the least value that at least q of all values reach.

    That is numpy's `inverted_cdf`: always one of the values, no mean of two. Nulls are skipped;
    null over no values. Exact while there are at most 512 different values. Beyond that the middle
    of a bucket that holds the right value: the relative error is at most e / 511, where the
    different values lie in e octaves (doublings; those below zero count apart): 2 % for values from
    1 to 1000, 1 % from 1 to 32, and less where values crowd together. Integers past 2**53 are
    rounded to doubles. The same values give the same answer in every window, order and replay.
    8 + 16 bytes a different value, 8200 at most; shared by all quantiles of a column.

    >>> runs, order = Runs(np.array([0]), 5), Order(*[np.arange(5)] * 3)
    >>> state = BUCKETS.lift(Column(np.array([7.0, 1.0, 3.0, 9.0, 5.0])), order, runs)
    >>> MEDIAN.finish((state,), {})[0].tolist()
    [5.0]
    >>> APPROX_QUANTILE.finish((state,), {"q": 0.9})[0].tolist()
    [9.0]
    """

    name: str

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        q = params.get("q", 0.5)
        if not Share(0.5).accepts(q):
            raise BadParameter(
                f"`{self.name}` needs the share of values below it",
                got=f"q={q!r}",
                expected=Share(0.5).expected,
            )
        return family_of(self.name, input_kind, dict.fromkeys(NUMBERS, (StateNeed(BUCKETS),)))

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        return _values_at(binary(states[0][0]), params.get("q", 0.5))

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish(arrays_of_one(states, (StateNeed(BUCKETS),)), params))


@dataclass(frozen=True, slots=True)
class Quantiles:
    """`approx_quantiles(x, q)`: a list of `approx_quantile(x, one)` for each one of `q`, in order.

    Each is exact or off as `approx_quantile` says. Nulls are skipped; null over no values. At most
    64 of them. 8 + 16 bytes a different value, 8200 at most, however many they are; shared by all
    quantiles of a column.

    >>> runs, order = Runs(np.array([0]), 5), Order(*[np.arange(5)] * 3)
    >>> state = BUCKETS.lift(Column(np.array([7.0, 1.0, 3.0, 9.0, 5.0])), order, runs)
    >>> APPROX_QUANTILES.finish((state,), {"q": [0.9, 0.5, 0]})[0].to_pylist()
    [[9.0, 5.0, 1.0]]
    """

    name: str = "approx_quantiles"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        shares = params.get("q", SHARES.example)
        if not SHARES.accepts(shares):
            raise BadParameter(
                f"`{self.name}` needs the shares of values below them",
                got=f"q={shares!r}",
                expected=SHARES.expected,
            )
        return family_of(self.name, input_kind, dict.fromkeys(NUMBERS, (StateNeed(BUCKETS),)))

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return list_of(Float64)

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        stored = binary(states[0][0])
        each = [_values_at(stored, share) for share in params.get("q", SHARES.example)]
        ends = pa.array(np.arange(len(stored) + 1, dtype=np.int64) * len(each))
        values = np.stack([values for values, _ in each], axis=1)
        return pa.LargeListArray.from_arrays(ends, pa.array(values.ravel())), each[0][1]

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        return scalar_of_one(self.finish(arrays_of_one(states, (StateNeed(BUCKETS),)), params))


APPROX_QUANTILE = Quantile("approx_quantile")
APPROX_QUANTILES = Quantiles()
MEDIAN = Quantile("median")


def _values_at(stored: pa.LargeBinaryArray, share: float) -> tuple[Float64s, Codes]:
    # The value of each state that at least this share of its values reach.
    buckets, counts, _, shifts, sizes = _decode(stored)
    upto = np.cumsum(counts)
    ends = np.cumsum(sizes)
    before = np.concatenate(([0], upto))[ends - sizes]
    present = sizes > 0
    total = np.where(present, np.concatenate(([0], upto))[ends] - before, 1)
    # A share such as 0.07 is no double: 0.07 of 100 values are 7, not a little more.
    rank = np.clip(np.ceil(total * share * (1 - _ROUNDING)), 1, total)
    values = np.zeros(len(sizes))
    found = np.searchsorted(upto, (before + rank.astype(np.int64))[present])
    values[present] = loglinear.middles(buckets[found], shifts[present])
    return values, np.where(present, VALUE, NULL).astype(np.uint8)


def _union(stored: pa.LargeBinaryArray, runs: Runs) -> pa.LargeBinaryArray:
    buckets, counts, ids, shifts, _ = _decode(stored)
    coarsest = np.maximum.reduceat(shifts, runs.starts)
    places = buckets << shifts[ids]
    return _encode(*loglinear.coarsen(places, counts, runs.ids[ids], coarsest))


def _decode(
    stored: pa.LargeBinaryArray,
) -> tuple[UInt64s, Int64s, Int64s, UInt64s, Int64s]:
    # Buckets, counts and the number of its state for each; the shift and size of each state.
    offsets, data = buffers_of(stored)
    words = data[offsets[0] : offsets[-1]].view(np.uint64)
    starts, lengths = (offsets[:-1] - offsets[0]) // 8, np.diff(offsets) // 8
    present, sizes = lengths > 0, np.maximum(lengths - 1, 0) // 2
    shifts = np.zeros(len(stored), np.uint64)
    shifts[present] = words[starts[present]]
    ids = np.repeat(np.arange(len(stored)), sizes)
    inside = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = starts[ids] + 1 + inside
    return words[places], words[places + sizes[ids]].view(np.int64), ids, shifts, sizes


def _encode(buckets: UInt64s, counts: Int64s, ids: Int64s, shifts: UInt64s) -> pa.LargeBinaryArray:
    sizes = np.bincount(ids, minlength=len(shifts))
    ends = np.zeros(len(shifts) + 1, np.int64)
    np.cumsum(np.where(sizes > 0, 1 + 2 * sizes, 0), out=ends[1:])
    words = np.empty(ends[-1], np.uint64)
    present = sizes > 0
    words[ends[:-1][present]] = shifts[present]
    inside = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    places = ends[ids] + 1 + inside
    words[places] = buckets
    words[places + sizes[ids]] = counts.view(np.uint64)
    return binary_of(ends * 8, words)
