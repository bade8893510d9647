"""The same features, computed once more by DuckDB: in SQL, from the raw rows, with no tiles.

Nothing of Tegula's takes part: the instant of a departure, the windows with the floor of their
older edge, and the aggregates are written out here a second time. What is compared is every feature
of every key that the year has, so also of keys that have not flown yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from ...schemas.errors import SettingsError

if TYPE_CHECKING:
    import duckdb

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US

WINDOWS: Final[Mapping[str, tuple[int, int]]] = {
    "1h": (HOUR_US, MINUTE_US),
    "24h": (24 * HOUR_US, HOUR_US),
    "7d": (7 * DAY_US, HOUR_US),
    "30d": (30 * DAY_US, DAY_US),
}
"""Length and resolution of each window: it covers `[floor(t - length, resolution), t)`."""

EVERY: Final[Mapping[str, str]] = {
    "departures": "count(one) {window}",
    "delay_mean": "avg(dep_delay) {window}",
    "delay_max": "max(dep_delay) {window}",
    "delay_min": "min(dep_delay) {window}",
    "delay_stddev": "stddev_samp(dep_delay) {window}",
    "minutes": "coalesce(sum(air_time) {window}, 0)",
    "miles": "coalesce(sum(distance::DOUBLE) {window}, 0)",
    "last_dest": "arg_max(dest, place) {window}",
    "dests": "count(DISTINCT dest) {window}",
}
SHARED: Final = {**EVERY, "aircraft": "count(DISTINCT tailnum) {window}"}

VIEWS: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]]] = {
    "airports": (("origin",), SHARED),
    "routes": (("carrier", "origin"), SHARED),
    "planes": (("tailnum",), EVERY),
}
"""Key columns and aggregates of each view."""

ESTIMATED: Final = frozenset({"dests", "aircraft"})
EXACT_MAX: Final = 512
"""`approx_distinct` is exact up to this many different values."""
ESTIMATE_ERROR: Final = 0.082
"""Five standard errors of its estimate beyond: 5 x 1.04 / sqrt(4096)."""
FLOAT_ERROR: Final = 1e-9
"""Relative; what two ways to add and to take roots may differ by."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many values were compared, of those how many are estimates, and which differ."""

    compared: int = 0
    estimates: int = 0
    differing: tuple[str, ...] = ()

    def plus(self, other: Comparison) -> Comparison:
        """Both together."""
        return Comparison(
            self.compared + other.compared,
            self.estimates + other.estimates,
            self.differing + other.differing,
        )


class Recomputation:
    """The raw rows of `flights`, and what their features are at an instant."""

    def __init__(self, flights: pl.DataFrame) -> None:
        """`flights` as the package has them, with `row`. Raises `SettingsError` without DuckDB."""
        try:
            import duckdb
        except ImportError:
            raise SettingsError(
                "the demo compares with DuckDB, which is not installed",
                where="Python package duckdb",
                hint="pip install 'tegula[demo]'",
            ) from None
        self._db: duckdb.DuckDBPyConnection = duckdb.connect()
        self._db.register("raw", flights.to_arrow())
        self._db.execute("""
            CREATE TABLE departures AS
            SELECT *, row_number() OVER (ORDER BY at_us, "row") AS place FROM (
                SELECT *, epoch_us(
                    strptime(time_hour, '%Y-%m-%dT%H:%M:%SZ')
                    + to_minutes(minute + dep_delay)
                ) AS at_us
                FROM raw WHERE dep_delay IS NOT NULL
            )""")
        for view, (keys, _) in VIEWS.items():
            names = ", ".join(keys)
            self._db.execute(
                f"CREATE TABLE {view}_keys AS SELECT DISTINCT {names} FROM departures "  # noqa: S608
                f"ORDER BY {names}"
            )

    def keys(self, view: str) -> pl.DataFrame:
        """Every key of the year, in order."""
        names = ", ".join(VIEWS[view][0])
        return self._frame(f"SELECT * FROM {view}_keys ORDER BY {names}")  # noqa: S608

    def features(self, view: str, at_us: int) -> pl.DataFrame:
        """A column a feature, a row a key, in the order of `keys`; over what is before `at_us`."""
        keys, aggregates = VIEWS[view]
        columns, oldest_us = [], at_us
        for name, (length_us, resolution_us) in WINDOWS.items():
            older_us = at_us - length_us
            start_us = older_us - older_us % resolution_us
            oldest_us = min(oldest_us, start_us)
            window = f"FILTER (WHERE at_us >= {start_us})"
            columns += [
                f"{sql.format(window=window)} AS {aggregate}_{name}"
                for aggregate, sql in aggregates.items()
            ]
        names = ", ".join(keys)
        # A key without a row in any window still gets one, of nulls that count nothing.
        return self._frame(
            f"SELECT {', '.join(columns)} FROM {view}_keys LEFT JOIN "  # noqa: S608
            f"(SELECT *, TRUE AS one FROM departures "
            f"WHERE at_us >= {oldest_us} AND at_us < {at_us}) USING ({names}) "
            f"GROUP BY {names} ORDER BY {names}"
        )

    def _frame(self, sql: str) -> pl.DataFrame:
        return pl.DataFrame(self._db.sql(sql).to_arrow_table())

    def close(self) -> None:
        """Give the rows back."""
        self._db.close()


def compare(
    view: str,
    keys: pl.DataFrame,
    expected: pl.DataFrame,
    served: Mapping[str, Sequence[Any]],
    statuses: Mapping[str, Sequence[str]],
) -> Comparison:
    """Hold what was served (`view:feature` -> a value a key) against what was recomputed."""
    compared, estimates, differing = 0, 0, list[str]()
    for feature in expected.columns:
        right = expected[feature]
        name = f"{view}:{feature}"
        got = pl.Series(served[name], dtype=_dtype(right), strict=True)
        same = _same(feature, got, right)
        bad = statuses.get(name)
        if bad is not None:
            same &= ~pl.Series(bad).is_in(["ERROR", "COARSE", "OVERFLOW", "STALE"])
        if feature.rpartition("_")[0] in ESTIMATED:
            estimates += int((right > EXACT_MAX).sum())
        compared += len(right)
        for row in (~same).arg_true():
            key = ", ".join(str(value) for value in keys.row(row))
            differing.append(f"{name} of {key}: served {got[row]}, DuckDB has {right[row]}")
    return Comparison(compared, estimates, tuple(differing))


def _dtype(right: pl.Series) -> pl.DataType:
    if right.dtype == pl.String:
        return pl.String()
    return pl.Float64() if right.dtype.is_float() else pl.Int64()


def _same(feature: str, got: pl.Series, right: pl.Series) -> pl.Series:
    right = right.cast(got.dtype)
    same = got.eq_missing(right)
    if got.dtype == pl.Float64:
        near = (got - right).abs() <= FLOAT_ERROR * right.abs().clip(lower_bound=1.0)
        return same | near.fill_null(value=False)
    if feature.rpartition("_")[0] in ESTIMATED:
        near = (got - right).abs() <= ESTIMATE_ERROR * right
        return same | (near.fill_null(value=False) & (right > EXACT_MAX))
    return same
