"""Lifting: from admitted rows to a build's partial tiles, with one outcome for each row.

A row is *expired* if it is older than its own watermark less what the build retains, *filtered* if
the view's `where` is not true for it or its key is null, and *folded* otherwise. An event that is
driven again because some view found it too old is a *duplicate* for all others; for that view it
counts as long as its retention can hold it. Folded rows are
sorted once by (key, event time, offset); each slot's monoid then lifts all tiles in one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from ...schemas.nodes import to_run
from ...state.keys import encode_keys, hashes_of, shards_of
from ...windows.algebra import Bools, Column, Int64s, Order, Runs
from ...windows.ladder import INSTANT
from ...windows.tiles import KeyedTiles, Tiles, bounds_of, group
from ..plan import Build
from .admit import Admitted

_CODES_MAX: Final = 2**62
"""Combinations of key columns that one int64 may number; past it they are numbered anew."""


@dataclass(frozen=True, slots=True)
class Lifted:
    """What a batch adds to a build.

    `folded` int64 (shards,) counts rows by their key's shard; the other outcomes are whole counts;
    `late` marks some of the folded. `not_finite` counts, by the name of the input, values of folded
    rows that were NaN or infinite and so counted as null; an input without any is not in it.
    """

    tiles: KeyedTiles
    folded: np.ndarray
    filtered: int
    duplicate: int
    expired: int
    late: np.ndarray
    not_finite: Mapping[str, int] = field(default_factory=dict)


class Lifter:
    """Lifts batches for one build; holds its expressions ready to run."""

    def __init__(self, build: Build, shard_count: int) -> None:
        self._build = build
        self._shape = build.shape
        self._shard_count = shard_count
        self._keys = [name for name, _ in build.entity_keys]
        self._kinds = [type_.kind for _, type_ in build.entity_keys]
        self._where = None if build.where is None else to_run(build.where)
        self._inputs = [
            to_run(node).alias(f"_{number}") for number, (_, node, _) in enumerate(build.inputs)
        ]
        self._input_names = [name for name, _, _ in build.inputs]
        self._input_kinds = [kind for _, _, kind in build.inputs]
        self._expiry_us = build.expiry_us
        self._foldable_us = build.foldable_us

    def lift(self, batch: Admitted, ordinal: int, applied: np.ndarray, counted_from: int) -> Lifted:
        """Lift `batch`, leaving out rows that a shard has applied already.

        `ordinal` is the partition's; `applied` int64 (shards,) holds each shard's next offset for
        this build and partition; outcomes other than folded count from offset `counted_from`.
        """
        fresh = batch.offsets >= counted_from
        expired, duplicate = self._judge(batch)
        counts = ~expired if duplicate is None else ~(expired | duplicate)
        chosen = counts & self._passes(batch.frame)
        filtered = int((fresh & counts & ~chosen).sum())
        rows = np.flatnonzero(chosen)
        keys, codes = self._encode(batch.frame, rows)
        shards = shards_of(hashes_of(keys.to_pylist()), self._shard_count)
        offsets = batch.offsets[rows]
        if len(rows) and offsets[0] < applied.max():
            new = offsets >= applied[shards[codes]]
            rows, codes = rows[new], codes[new]
        late = batch.event_us[rows] < batch.watermark_us[rows]
        tiles, not_finite = self._tiles(batch, rows, keys, codes, ordinal)
        held = np.diff(tiles.bounds) > 0
        return Lifted(
            tiles if held.all() else tiles.take(np.flatnonzero(held)),
            np.bincount(shards[codes], minlength=self._shard_count),
            filtered,
            0 if duplicate is None else int((duplicate & fresh).sum()),
            int((expired & fresh).sum()),
            np.bincount(shards[codes[late]], minlength=self._shard_count),
            not_finite,
        )

    def _judge(self, batch: Admitted) -> tuple[Bools, Bools | None]:
        """Rows that are expired, and those that are duplicates; None if none can be."""
        expired = _older(batch, self._expiry_us)
        if batch.is_copy is not None:
            expired &= ~batch.is_copy
        if batch.origins is None:
            return expired, batch.is_copy
        was_good = batch.origins.at(batch.offsets).was_good
        duplicate = was_good & ~expired
        if batch.is_copy is not None:
            duplicate |= batch.is_copy
        # Too late for the view, and driven again: only what could not be folded rightly stays out.
        return np.where(was_good, _older(batch, self._foldable_us), expired), duplicate

    def _passes(self, frame: pl.DataFrame) -> np.ndarray:
        """Rows that the view's `where` and its key columns let through."""
        nullable = [name for name in self._keys if frame[name].null_count()]
        conditions = [pl.col(name).is_not_null() for name in nullable]
        if self._where is not None:
            conditions.append(self._where.fill_null(False))
        if not conditions:
            return np.ones(frame.height, dtype=bool)
        return frame.select(pl.all_horizontal(conditions).alias("_")).to_series().to_numpy()

    def _encode(
        self, frame: pl.DataFrame, rows: np.ndarray
    ) -> tuple[pa.LargeBinaryArray, np.ndarray]:
        """The distinct encoded keys of the chosen rows, and for each row the number of its key."""
        columns: list[tuple[pa.Array, np.ndarray]] = []
        combined, count = np.zeros(len(rows), dtype=np.int64), 1
        for name, kind in zip(self._keys, self._kinds, strict=True):
            series = frame[name]
            if kind == "time":
                series = series.to_physical()
            coded = _arrow(series, rows).dictionary_encode()
            code = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
            columns.append((coded.dictionary, code))
            size = max(1, len(coded.dictionary))
            if count * size > _CODES_MAX:
                distinct, combined = np.unique(combined, return_inverse=True)
                count = len(distinct)
            combined, count = combined * size + code, count * size
        if len(columns) == 1:
            return encode_keys([columns[0][0]], self._kinds), columns[0][1]
        _, first, codes = np.unique(combined, return_index=True, return_inverse=True)
        values = [dictionary.take(pa.array(code[first])) for dictionary, code in columns]
        return encode_keys(values, self._kinds), codes.reshape(-1)

    def _tiles(
        self,
        batch: Admitted,
        rows: np.ndarray,
        keys: pa.LargeBinaryArray,
        codes: np.ndarray,
        ordinal: int,
    ) -> tuple[KeyedTiles, Mapping[str, int]]:
        event_us, log_us = batch.event_us[rows], batch.log_us[rows]
        order = _by_key_and_time(codes, event_us)
        rows, codes, event_us = rows[order], codes[order], event_us[order]
        start_us = event_us - event_us % self._shape.finest_us
        rung = np.full(len(rows), self._shape.finest, dtype=np.uint8)
        ahead = event_us > log_us[order]
        # Dated ahead of its log timestamp: kept as an instant, or a second that has only begun
        # could hold an event that lies after the instant of reading.
        start_us[ahead], rung[ahead] = event_us[ahead], INSTANT
        runs = Runs.of_changes(codes, start_us, rung)
        places = Order(event_us, np.full(len(rows), ordinal, np.int64), batch.offsets[rows])
        inputs, not_finite = self._columns(batch.frame, rows)
        states: list[np.ndarray | pa.LargeBinaryArray] = []
        for slot in self._shape.slots:
            column = None if slot.input is None else inputs[slot.input]
            states.extend(slot.monoid.lift(column, places, runs))
        first = runs.starts
        tiles = Tiles(start_us[first], rung[first], runs.lengths, tuple(states))
        key = codes[first]
        if ahead.any():
            key, tiles = group(self._shape, key, tiles)
        newest_us = np.full(len(keys), np.iinfo(np.int64).min)
        newest_us[codes] = event_us  # ascending within a key: the last one stays
        return KeyedTiles(keys, bounds_of(key, len(keys)), newest_us, tiles), not_finite

    def _columns(
        self, frame: pl.DataFrame, rows: np.ndarray
    ) -> tuple[list[Column], Mapping[str, int]]:
        """The inputs of the chosen rows, and by name how many of their values are not finite."""
        if not self._inputs:
            return [], {}
        evaluated = frame.select(self._inputs).get_columns()
        columns, not_finite = [], {}
        for name, series, kind in zip(self._input_names, evaluated, self._input_kinds, strict=True):
            column, count = _column(series, kind, rows)
            columns.append(column)
            if count:
                not_finite[name] = count
        return columns, not_finite


def _older(batch: Admitted, bound_us: int | None) -> Bools:
    """Rows that lie further behind their own watermark than `bound_us`; None is no bound."""
    if bound_us is None:
        return np.zeros(len(batch.offsets), dtype=bool)
    # Added, not taken away: the watermark may be `NEVER_US`.
    return batch.event_us + bound_us < batch.watermark_us


def _by_key_and_time(codes: Int64s, event_us: Int64s) -> Int64s:
    """Indices that sort rows by (key, event time, position); rows come in order of position."""
    if not len(codes):
        return np.empty(0, dtype=np.int64)
    oldest_us = int(event_us.min())
    span_bits = (int(event_us.max()) - oldest_us).bit_length()
    row_bits = len(codes).bit_length()
    code_bits = int(codes.max()).bit_length()
    elapsed = event_us - oldest_us
    if code_bits + span_bits + row_bits <= 63:
        # All three in one integer: an unstable sort of it is a stable one of (key, time).
        packed = (((codes << span_bits) | elapsed) << row_bits) | np.arange(len(codes))
        packed.sort()
        order: Int64s = packed & ((1 << row_bits) - 1)
        return order
    if code_bits + span_bits <= 63:
        return np.argsort((codes << span_bits) | elapsed, kind="stable")
    return np.lexsort((event_us, codes))


def _arrow(series: pl.Series, rows: np.ndarray) -> pa.Array:
    if len(rows) != len(series):
        series = series.gather(pl.Series(rows, dtype=pl.UInt32))
    array = series.to_arrow()
    if pa.types.is_string_view(array.type):
        return array.cast(pa.large_string())
    return array


def _column(series: pl.Series, kind: str, rows: np.ndarray) -> tuple[Column, int]:
    """One input of the chosen rows, in their order, and how many numbers in it are not finite.

    What is not a finite number is not valid.
    """
    if "," in kind:
        each = zip(series.struct.unnest().get_columns(), kind.split(","), strict=True)
        parts, counts = zip(*(_column(one, its_kind, rows) for one, its_kind in each), strict=True)
        valids = [one.valid for one in parts if one.valid is not None]
        valid = np.logical_and.reduce(valids) if valids else None
        first, second, *more = (one.values for one in parts)
        return Column(first, valid, second, tuple(more)), sum(counts)
    taken = series.gather(pl.Series(rows, dtype=pl.UInt32))
    if kind.startswith("list["):
        return _lists(taken, kind.removeprefix("list[").removesuffix("]"))
    valid = taken.is_not_null().to_numpy() if taken.null_count() else None
    if kind == "string":
        array = taken.fill_null("").cast(pl.Binary).to_arrow()
        return Column(array.cast(pa.large_binary()), valid), 0
    if kind == "float":
        values = taken.cast(pl.Float64).fill_null(0.0).to_numpy()
        finite = np.isfinite(values)
        if finite.all():
            return Column(values, valid), 0
        valid = finite if valid is None else valid & finite
        count = len(values) - int(np.count_nonzero(finite))
        return Column(np.where(finite, values, 0.0), valid), count
    if kind == "time":
        taken = taken.dt.cast_time_unit("us").to_physical()
    return Column(taken.cast(pl.Int64).fill_null(0).to_numpy(), valid), 0


def _lists(series: pl.Series, kind: str) -> tuple[Column, int]:
    """A column of lists: the elements of all of them as one column of a kind, and how many each."""
    lengths = series.list.len().fill_null(0).to_numpy().astype(np.int64)
    # Of an empty list, and of none, `explode` would make a null.
    elements = series.filter(pl.Series(lengths > 0)).explode()
    column, count = _column(elements, kind, np.arange(len(elements)))
    return Column(column.values, column.valid, lengths=lengths), count
