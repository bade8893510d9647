"""Which rows of a batch count for a build, of which keys they are, and what is read of them.

A row is *expired* if it is older than its own watermark less what the build retains, *filtered* if
the view's `where` is not true for it or its key is null, and counts otherwise. An event that is
driven again because some view found it too old is a *duplicate* for all others; for that view it
counts as long as its retention can hold it. Live ingest, replay and training sets judge by this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from ...schemas.nodes import to_run
from ...state.keys import encode_keys
from ...windows.algebra import Bools, Column
from ..plan import Build
from .admit import Admitted

_CODES_MAX: Final = 2**62
"""Combinations of key columns that one int64 may number; past it they are numbered anew."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of each row of a batch: bool, one a row. `duplicate` is None if none can be.

    Each row is in exactly one of the four; those that count are folded.
    """

    counts: Bools
    filtered: Bools
    expired: Bools
    duplicate: Bools | None


class Judge:
    """Judges batches for one build; holds its expressions ready to run."""

    def __init__(self, build: Build) -> None:
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

    def judge(self, batch: Admitted) -> Judged:
        """What becomes of each row."""
        expired, duplicate = self._late(batch)
        counts = ~expired if duplicate is None else ~(expired | duplicate)
        passes = self._passes(batch.frame)
        return Judged(counts & passes, counts & ~passes, expired, duplicate)

    def _late(self, batch: Admitted) -> tuple[Bools, Bools | None]:
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
        return frame.select_seq(pl.all_horizontal(conditions).alias("_")).to_series().to_numpy()

    def encode(
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

    def inputs(self, frame: pl.DataFrame) -> list[pl.Series]:
        """What aggregates read of each row, in the order of the build's inputs."""
        return frame.select_seq(self._inputs).get_columns() if self._inputs else []

    def columns(
        self, frame: pl.DataFrame, rows: np.ndarray
    ) -> tuple[list[Column], Mapping[str, int]]:
        """The inputs of the chosen rows, and by name how many of their values are not finite."""
        if not self._inputs:
            return [], {}
        columns, not_finite = [], {}
        for name, series, kind in zip(
            self._input_names, self.inputs(frame), self._input_kinds, strict=True
        ):
            column, count = column_of(series, kind, rows)
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


def _arrow(series: pl.Series, rows: np.ndarray) -> pa.Array:
    if len(rows) != len(series):
        series = series.gather(pl.Series(rows, dtype=pl.UInt32))
    array = series.to_arrow()
    if pa.types.is_string_view(array.type):
        return array.cast(pa.large_string())
    return array


def column_of(series: pl.Series, kind: str, rows: np.ndarray) -> tuple[Column, int]:
    """One input of the chosen rows, in their order, and how many numbers in it are not finite.

    What is not a finite number is not valid.
    """
    if "," in kind:
        each = zip(series.struct.unnest().get_columns(), kind.split(","), strict=True)
        parts, counts = zip(
            *(column_of(one, its_kind, rows) for one, its_kind in each), strict=True
        )
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
    column, count = column_of(elements, kind, np.arange(len(elements)))
    return Column(column.values, column.valid, lengths=lengths), count
