"""What serving answers for many keys, each at an instant of its own, by the columns of its reader.

A request has one instant. Asked for a year of departures one by one, the reader would open and add
up the same rows for each of them. Here the rows of a view are read once, by the code of requests,
and finished by it for all instants; before that, tiles of a key between two neighbouring edges of
the windows in question are merged, for they count together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

import tegula as tg
from tegula.schemas.outcomes import Status
from tegula.serving.fetch import rows_of
from tegula.serving.plan import FeaturePlan, Resolved, resolve
from tegula.serving.protocol import FeatureRequest
from tegula.serving.read import FeatureReader
from tegula.serving.tables import NO_ROW, table_of
from tegula.windows.algebra import Int64s, Runs
from tegula.windows.finish import finish
from tegula.windows.ladder import EVER
from tegula.windows.shape import Shape
from tegula.windows.tiles import KeyedTiles, bounds_of, reduce_tiles

AT_ONCE = 500
"""Instants that are finished together: each takes a copy of its key's tiles."""


def resolved_by(driver: tg.TestDriver) -> Resolved:
    """What a server of the driver's project would serve."""
    registry = driver.engine.registry
    catalogue, head = registry.catalogue(), registry.head()
    assert head is not None, "definitions were applied when the driver was made"
    return resolve(
        catalogue.version,
        driver.settings.shards,
        head.definitions,
        catalogue.active,
        registry.builds(),
    )


def plan_of(resolved: Resolved, view: tg.FeatureView) -> FeaturePlan:
    """How a request for all features of a view is answered."""
    names = tuple(f"{view.name}:{one}" for one in view.features)
    return resolved.plan_of(FeatureRequest(None, names, {}, 1))


def served_at(
    driver: tg.TestDriver, plan: FeaturePlan, keys: Mapping[str, Sequence[Any]], at_us: Int64s
) -> pl.DataFrame:
    """The values of a plan of one view; `keys` holds a column a key column, as long as `at_us`.

    Segments are not read: a value that needed them is refused.
    """
    (part,), shards = plan.parts, driver.settings.shards
    encoded = plan.entities[part.entity].encode(keys, len(at_us))
    place = {key: number for number, key in enumerate(dict.fromkeys(encoded))}
    stored = rows_of(driver.engine.mirrors.reader(), part, list(place), shards, (), {})
    assert None not in stored, "the online store is complete"
    keyed, horizon_us = table_of(part.shape, [row or NO_ROW for row in stored])
    width = int(at_us.max()) + 1
    owner = np.array([place[key] for key in encoded], np.int64)
    pairs, back = np.unique(owner * width + at_us, return_inverse=True)
    found: dict[str, list[Any]] = {name: [] for name in plan.names}
    for begin in range(0, len(pairs), AT_ONCE):
        mine, instants = np.divmod(pairs[begin : begin + AT_ONCE], width)
        some, which = np.unique(mine, return_inverse=True)
        fewer = between_edges(part.shape, keyed.take(some), which, instants).take(which)
        columns = finish(part.shape, fewer, instants, horizon_us[mine], part.features)
        for name, column in zip(part.names, columns, strict=True):
            assert Status.COARSE not in column.statuses, name
            found[name] += column.values
    types = {name: one.output.polars for name, one in zip(part.names, part.features, strict=True)}
    return pl.DataFrame(found, schema=types)[back]


def asked_one_by_one(
    driver: tg.TestDriver,
    plan: FeaturePlan,
    keys: Mapping[str, Sequence[Any]],
    at_us: Sequence[int],
) -> dict[str, list[Any]]:
    """The same by a request for each."""
    reader, found = FeatureReader(driver.engine.mirrors.reader()), dict[str, list[Any]]()
    for place, at in enumerate(at_us):
        one = {name: [column[place]] for name, column in keys.items()}
        encoded = [entity.encode(one, 1) for entity in plan.entities]
        reply = reader.read(plan, encoded, 1, driver.settings.shards, at)
        for name in plan.names:
            assert Status.COARSE not in reply.statuses.get(name, ()), name
            found.setdefault(name, []).extend(reply.values[name])
    return found


def between_edges(shape: Shape, keyed: KeyedTiles, owner: Int64s, at_us: Int64s) -> KeyedTiles:
    """The tiles of keys that are read at instants; `owner` says which key at which.

    Neighbours with no edge between them are one: of no window of the shape, nor of retention. Tiles
    that an edge cuts stay as they are, and so do those from the beginning of time.
    """
    tiles, key = keyed.tiles, keyed.key_of_tile
    if len(tiles) <= len(keyed):
        return keyed
    oldest_us, newest_us = int(tiles.start_us.min()), int(tiles.end_us.max())
    if (tiles.rung == EVER).any():
        return keyed
    width = newest_us - oldest_us + 3
    edges = [owner * width + _within(edge, oldest_us, newest_us) for edge in _edges(shape, at_us)]
    sorted_edges = np.unique(np.concatenate(edges))
    gap = np.searchsorted(sorted_edges, key * width + tiles.start_us - oldest_us + 1, "right")
    last = np.searchsorted(sorted_edges, key * width + tiles.end_us - oldest_us + 1, "left")
    is_new = np.ones(len(tiles), bool)
    is_new[1:] = (key[1:] != key[:-1]) | (gap[1:] != gap[:-1])
    is_cut = gap != last
    is_new |= is_cut
    is_new[1:] |= is_cut[:-1]
    first = np.flatnonzero(is_new)
    merged = reduce_tiles(shape, tiles, Runs(first, len(tiles)))
    return KeyedTiles(keyed.keys, bounds_of(key[first], len(keyed)), keyed.newest_us, merged)


def _edges(shape: Shape, at_us: Int64s) -> Iterator[Int64s]:
    """All instants that divide what counts from what does not."""
    yield at_us
    if shape.retention_us is not None:
        yield at_us - shape.retention_us
    for window in dict.fromkeys(feature.window for feature in shape.features):
        yield from (np.asarray(edge) for edge in window.bounds(at_us))


def _within(edge_us: Int64s, oldest_us: int, newest_us: int) -> Int64s:
    """Edges counted from 1 at the oldest instant; 0 and the greatest stand for all beyond."""
    return np.clip(edge_us, oldest_us - 1, newest_us + 1) - oldest_us + 1


def differing(got: pl.DataFrame, expected: pl.DataFrame) -> dict[str, int]:
    """How many values of each column of `expected` are others in `got`; floats to 1e-9 of them."""
    wrong = {}
    for one in expected.iter_columns():
        other = got[one.name]
        same = other.eq_missing(one)
        if one.dtype == pl.Float64:
            same |= ((other - one).abs() <= 1e-9 * one.abs()).fill_null(value=False)
        if count := int((~same).sum()):
            wrong[one.name] = count
    return wrong
