"""What is in each column of a set: counts, bounds, moments, how often each status.

Added up piece by piece, so that a set of any size costs the same; the order of its rows decides the
last bits of a mean, and nothing else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl


@dataclass
class ColumnStatistics:
    """One column so far. `least` and `greatest` of numbers, instants and truth values."""

    name: str
    dtype: str
    rows: int = 0
    nulls: int = 0
    least: Any = None
    greatest: Any = None
    numbers: int = 0
    mean: float = 0.0
    squares: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, column: pl.Series) -> None:
        """More rows of it."""
        self.rows += len(column)
        self.nulls += column.null_count()
        if column.dtype.is_temporal() or column.dtype.is_numeric() or column.dtype == pl.Boolean:
            self._bound(column.min(), column.max())
        if column.dtype.is_numeric():
            self._moments(column.drop_nulls().cast(pl.Float64))

    def _bound(self, least: Any, greatest: Any) -> None:
        known = [one for one in (self.least, least) if one is not None]
        self.least = min(known, default=None)
        self.greatest = max([x for x in (self.greatest, greatest) if x is not None], default=None)

    def _moments(self, values: pl.Series) -> None:
        """Means and squares of two parts, put together as Chan et al. do."""
        values = values.filter(values.is_finite())
        count = len(values)
        if not count:
            return
        mean = float(values.mean())  # type: ignore[arg-type]
        away = mean - self.mean
        total = self.numbers + count
        self.squares += float(((values - mean) ** 2).sum())
        self.squares += away * away * self.numbers * count / total
        self.mean += away * count / total
        self.numbers = total

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        told: dict[str, Any] = {
            "column": self.name,
            "type": self.dtype,
            "rows": self.rows,
            "nulls": self.nulls,
        }
        if self.least is not None:
            told |= {"min": _plain(self.least), "max": _plain(self.greatest)}
        if self.numbers:
            told["mean"] = _plain(self.mean)
            told["stddev"] = (
                math.sqrt(self.squares / (self.numbers - 1)) if self.numbers > 1 else None
            )
        if self.statuses:
            told["statuses"] = dict(sorted(self.statuses.items()))
        return told


class Statistics:
    """The columns of a set."""

    def __init__(self) -> None:
        self._columns: dict[str, ColumnStatistics] = {}

    def add(self, piece: pl.DataFrame, statuses: Mapping[str, Mapping[str, int]]) -> None:
        """More rows; `statuses` counts those of the features in them."""
        for column in piece.iter_columns():
            if "|" in column.name:
                continue
            made = ColumnStatistics(column.name, str(column.dtype))
            self._columns.setdefault(column.name, made).add(column)
        for name, counts in statuses.items():
            self._columns[name].statuses.update(counts)

    def as_list(self) -> list[dict[str, Any]]:
        """One entry a column, in their order."""
        return [one.as_dict() for one in self._columns.values()]


def as_frame(told: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The statistics as a frame: a row a column, bounds as text where they are no numbers."""
    names = ("column", "type", "rows", "nulls", "min", "max", "mean", "stddev")
    rows = [{name: one.get(name) for name in names} for one in told]
    for row in rows:
        for name in ("min", "max"):
            row[name] = None if row[name] is None else str(row[name])
    return pl.DataFrame(
        rows,
        schema={
            "column": pl.String, "type": pl.String, "rows": pl.Int64, "nulls": pl.Int64,
            "min": pl.String, "max": pl.String, "mean": pl.Float64, "stddev": pl.Float64,
        },
    )  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if isinstance(value, bool | int) else str(value)
