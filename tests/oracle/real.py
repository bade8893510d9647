"""Real data through the real engine: streamed in blocks, read back from the state; or imported.

What the tests of the shared data sets have in common. The expected values are the data sets' own,
or recomputed in SQL by DuckDB, which shares no code with the engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

import tegula as tg
from tegula.schemas.outcomes import Status
from tegula.state.fold import gather
from tegula.state.keys import encode_key, shard_of
from tegula.windows.finish import finish
from tests.support.stores import segments_of

SHARDS = 2
AT_ONCE = 4_000
"""Rows that are finished together: each takes a copy of its key's tiles."""

_IN_2024_US = 1_704_067_200_000_000
"""Later than all that is imported."""


def micros(column: str) -> pl.Expr:
    """A column of instants as µs since 1970."""
    return pl.col(column).cast(pl.Datetime("us")).to_physical()


def blocks(frame: pl.DataFrame, column: str, every_us: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """`(end, rows)` of each stretch of `every_us` in which something came, by a column in order."""
    block = pl.col(column) // every_us
    for (number,), rows in frame.group_by(block, maintain_order=True):
        yield (int(number) + 1) * every_us, rows  # type: ignore[call-overload]


def read(
    driver: tg.TestDriver, view: str, keys: Sequence[tuple[Any, ...]], at_us: Sequence[int]
) -> dict[str, list[Any]]:
    """All features of a view, one row a key and instant, from the state. None of it is COARSE."""
    driver.settle()
    build = max((b for b in driver.engine.deployed.builds if b.view == view), key=lambda b: b.id)
    kinds = [kind.kind for _, kind in build.entity_keys]
    found: dict[str, list[Any]] = {feature.name: [] for feature in build.shape.features}
    for begin in range(0, len(keys), AT_ONCE):
        encoded = [encode_key(key, kinds) for key in keys[begin : begin + AT_ONCE]]
        place = {key: number for number, key in enumerate(dict.fromkeys(encoded))}
        stored = [
            driver.engine.shards[shard_of(key, SHARDS)].read_keys(build.id, [key])[0]
            for key in place
        ]
        gathered = gather(build.shape, list(place), stored)
        index = np.array([place[key] for key in encoded])
        instants = np.array(at_us[begin : begin + AT_ONCE], np.int64)
        keyed, horizons = gathered.tiles.take(index), np.asarray(gathered.horizon_us)[index]
        segments = segments_of(driver.engine.shards, build.id, build.shape, list(place))
        segments = None if segments is None else segments.take(index)
        columns = finish(build.shape, keyed, instants, horizons, instants=segments)
        for feature, column in zip(build.shape.features, columns, strict=True):
            assert Status.COARSE not in column.statuses, f"{feature.name} within history is exact"
            found[feature.name] += column.values
    return found


def from_history(
    view: tg.FeatureView,
    source: str | Path,
    asked: pl.DataFrame,
    mapping: Mapping[str, str] | None = None,
) -> dict[str, list[Any]]:
    """All features of a view, one row of `asked` a row, as a training set of imported history.

    `source` is imported as it lies, `mapping` as for `tegula import`; `asked` has the key columns
    and instants `t`.
    """
    newest_us = max(int(asked["t"].max()), _IN_2024_US)  # type: ignore[arg-type]
    with tg.TestDriver(view, at=newest_us, shards=SHARDS) as driver:
        driver.import_rows(view.stream.name, source, mapping=mapping)
        spine = asked.select(*view.entity.keys, "t")
        made = tg.training_set(
            spine, view, at="t", project=driver.settings, now_us=driver.clock()
        ).to_polars()
    assert made.height == asked.height
    return {
        name: one.to_physical().to_list() if one.dtype.is_temporal() else one.to_list()
        for name, one in ((name, made[f"{view.name}:{name}"]) for name in view.features)
    }


def naive(query: str, **tables: pl.DataFrame) -> dict[str, list[Any]]:
    """The columns of a query over tables, by DuckDB."""
    with duckdb.connect() as database:
        for name, table in tables.items():
            database.register(name, table.to_arrow())
        answer = database.execute(query)
        names = [column[0] for column in answer.description]
        rows = answer.fetchall()
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def different(
    got: Mapping[str, Sequence[Any]],
    expected: Mapping[str, Sequence[Any]],
    rel_tol: float = 1e-12,
    abs_tol: float = 0.0,
) -> list[tuple[str, int, Any, Any]]:
    """`(column, row, expected, got)` of every difference; each expected column must be there."""
    wrong = []
    for name, column in expected.items():
        assert len(column) == len(got[name]), name
        wrong += [
            (name, row, one, other)
            for row, (one, other) in enumerate(zip(column, got[name], strict=True))
            if not same(one, other, rel_tol, abs_tol)
        ]
    return wrong


def same(one: Any, other: Any, rel_tol: float, abs_tol: float) -> bool:
    """Equal; floats within the tolerances."""
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=rel_tol, abs_tol=abs_tol)
    return bool(one == other)
