"""Events as columns, at many instants: drawn for any build, and answered as serving would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

import tegula as tg
from tegula import agg
from tegula.engine.plan import Build, compile_view
from tegula.schemas.signatures import SIGNATURES
from tegula.windows.algebra import Order, Runs
from tegula.windows.finish import FeatureColumn, finish
from tegula.windows.instants import FeatureValues
from tegula.windows.instants.rows import Asked, EventRows, in_order
from tegula.windows.shape import Shape
from tegula.windows.tiles import NEVER_US, KeyedTiles, Tiles, bounds_of
from tests.oracle.cases import INPUTS, PARAMS, fits, has_map, may_be_over, takes
from tests.support.aggregates import column_of

STREAM = tg.Stream(
    "happened",
    schema={
        "key": tg.Int64,
        "x": tg.Float64,
        "n": tg.Int64,
        "yes": tg.Bool,
        "word": tg.String,
        "at": tg.Timestamp,
        "zone": tg.String,
        "tags": tg.List(tg.String),
        "numbers": tg.List(tg.Int64),
    },
    event_time="at",
    disorder="30s",
)
ENTITY = tg.Entity("thing", keys={"key": tg.Int64})
WORDS = ("", "a", "ähre", "tile", "zebra")
ZONES = (None, "Europe/Berlin", "Asia/Kathmandu", "Nowhere")


PAIRS: Mapping[str, tuple[tuple[Any, ...], tuple[str, ...]]] = {
    "nx": (("n", "x"), ("int", "float")),
    "yesn": (("yes", "n"), ("bool", "int")),
    "xyes": (("x", "yes"), ("float", "bool")),
    "wordx": (("word", "x"), ("string", "float")),
    "atat": (("at", "at"), ("time", "time")),
    "nyesx": ((["n", "yes", "x"],), ("int", "bool", "float")),
    "yesnx": ((["yes", "n", "x"],), ("bool", "int", "float")),
}
"""Columns that aggregates of several read, and their kinds, beside those in `INPUTS`."""


def every_pair(window: Any) -> Iterable[tuple[str, Any]]:
    """Each registered aggregate of several columns over each of `PAIRS` that it takes."""
    for name in SIGNATURES:
        for source, (given, kinds) in PAIRS.items():
            if takes(name, kinds):
                yield (
                    f"{name}_{source}",
                    getattr(agg, name)(*given, **PARAMS.get(name, {})).over(window),
                )


def every_aggregate(window: Any, kind: str) -> Iterable[tuple[str, Any]]:
    """Each registered aggregate over each input that it takes, in a window of a kind."""
    for name in SIGNATURES:
        for source in INPUTS:
            if fits(name, source) and may_be_over(name, source, kind):
                made = getattr(agg, name)(*INPUTS[source].given, **PARAMS.get(name, {}))
                yield f"{name}_{source}", made.over(window)


def every_choice(window: Any, kind: str) -> Iterable[tuple[str, Any]]:
    """The same of some events only, and by category."""
    for name in SIGNATURES:
        for source in INPUTS:
            if fits(name, source) and may_be_over(name, source, kind):
                given, params = INPUTS[source].given, PARAMS.get(name, {})
                make = getattr(agg, name)
                yield f"{name}_{source}_some", make(*given, **params, where="yes").over(window)
                if has_map(name, source, kind):
                    by = make(*given, **params, by="word", cap=2).over(window)
                    yield f"{name}_{source}_by", by


def some_aggregates(window: Any, kind: str) -> Iterable[tuple[str, Any]]:
    """A few of them, which count, add up, choose and collect."""
    chosen = ("count_all", "count_x", "sum_x", "sum_n", "min_x", "last_word", "first_n_n")
    chosen += ("approx_distinct_word", "distinct_n", "approx_quantile_x", "time_since_first_all")
    return [(name, made) for name, made in every_aggregate(window, kind) if name in chosen]


def build_of(features: Mapping[str, Any] | Iterable[tuple[str, Any]], **options: Any) -> Build:
    """The build of a view with these features, whose events enter as instants."""
    exact = agg.count().over(tg.sliding("1h", resolution="exact"))
    view = tg.FeatureView(
        "v", entity=ENTITY, stream=STREAM, features={"exact": exact, **dict(features)}, **options
    )
    return compile_view(view, 1)


def drawn(
    build: Build, rng: np.random.Generator, size: int, keys: int, span_us: int, step_us: int = 1
) -> EventRows:
    """Random rows of a build: nulls, equal times, two partitions, in no order."""
    key = rng.integers(0, keys, size)
    event_us = rng.integers(0, span_us // step_us + 1, size) * step_us
    offset = rng.permutation(size)
    order = Order(event_us, rng.integers(0, 2, size), offset)
    inputs = []
    for _, _, kind in build.inputs:
        parts = [[value_of(one, rng) for _ in range(size)] for one in kind.split(",")]
        values = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))
        inputs.append(column_of(kind, values))
    return EventRows(key, order, tuple(inputs))


def value_of(kind: str, rng: np.random.Generator) -> Any:
    """A random value of a kind, now and then none."""
    if kind.startswith("list["):
        item = kind.removeprefix("list[").removesuffix("]")
        return None if rng.random() < 0.1 else [value_of(item, rng) for _ in range(rng.integers(4))]
    if rng.random() < 0.15 and kind != "bool":
        return None
    if kind == "float":
        return float(rng.choice([rng.normal() * 1e3, float(rng.integers(-4, 5))]))
    if kind == "string":
        return str(rng.choice([*WORDS, "Europe/Berlin"])).encode()
    if kind == "bool":
        return int(rng.random() < 0.2)
    return int(rng.integers(-5, 50))


def served(shape: Shape, rows: EventRows, asked: Asked) -> list[FeatureColumn]:
    """What serving answers, key by key at its instant, from tiles of these rows."""
    rows = in_order(rows)
    keys = 1 + max([0, *rows.key.tolist(), *asked.key.tolist()])
    runs = Runs.of_changes(rows.key, rows.order.event_us)
    states: list[Any] = []
    for slot in shape.slots:
        column = None if slot.input is None else rows.inputs[slot.input]
        states.extend(
            slot.monoid.lift(column, rows.order, runs) if len(rows) else slot.monoid.zero(0)
        )
    first = runs.starts
    rung = np.full(len(first), shape.finest, np.uint8)
    tiles = Tiles(rows.order.event_us[first], rung, runs.lengths, tuple(states))
    newest_us = np.full(keys, NEVER_US)
    np.maximum.at(newest_us, rows.key, rows.order.event_us)
    names = pa.array([str(key).encode() for key in range(keys)], pa.large_binary())
    keyed = KeyedTiles(names, bounds_of(rows.key[first], keys), newest_us, tiles)
    return finish(shape, keyed.take(asked.key), asked.at_us, np.full(len(asked), NEVER_US))


def served_known(shape: Shape, rows: EventRows, asked: Asked) -> list[FeatureColumn]:
    """The same where of each pair only those rows are there that were known at its instant."""
    assert rows.known_us is not None
    each = []
    for pair in range(len(asked)):
        known = np.flatnonzero(rows.known_us < asked.at_us[pair])
        each.append(served(shape, rows.take(known), asked.take(np.array([pair]))))
    return [
        FeatureColumn(
            [column.values[0] for column in columns],
            np.concatenate([column.statuses for column in columns]),
            np.concatenate([column.start_us for column in columns]),
            np.concatenate([column.end_us for column in columns]),
        )
        for columns in zip(*each, strict=True)
    ]


def plain(values: pa.Array) -> list[Any]:
    """Values as plain Python, as `FeatureColumn` has them: times as µs, maps as dicts."""
    if pa.types.is_timestamp(values.type):
        return values.view(pa.int64()).to_pylist()
    if pa.types.is_large_list(values.type):
        items, ends = plain(values.values), values.offsets.to_pylist()
        spans = zip(pairwise(ends), values.is_valid().to_pylist(), strict=True)
        return [items[a:b] if valid else None for (a, b), valid in spans]
    if pa.types.is_map(values.type):
        names, items, ends = plain(values.keys), plain(values.items), values.offsets.to_pylist()
        spans = zip(pairwise(ends), values.is_valid().to_pylist(), strict=True)
        return [
            dict(zip(names[a:b], items[a:b], strict=True)) if valid else None
            for (a, b), valid in spans
        ]
    listed: list[Any] = values.to_pylist()
    return listed


def differences(
    shape: Shape, got: Sequence[FeatureValues], wanted: Sequence[FeatureColumn]
) -> list[str]:
    """Where the two are not the same, in words."""
    faults = []
    for feature, mine, theirs in zip(shape.features, got, wanted, strict=True):
        values = plain(mine.values)
        for place, (value, want) in enumerate(zip(values, theirs.values, strict=True)):
            if not alike(value, want):
                faults.append(f"{feature.name}[{place}]: {value!r}, served {want!r}")
        for name in ("statuses", "start_us", "end_us"):
            ours, others = getattr(mine, name), getattr(theirs, name)
            if not np.array_equal(ours, others):
                faults.append(f"{feature.name}.{name}: {ours.tolist()}, served {others.tolist()}")
    return faults


def alike(one: Any, other: Any) -> bool:
    """Equal, floats to the last bits; lists and maps by what is in them."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or abs(one - other) <= 1e-12 * max(abs(one), abs(other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return [*one] == [*other] and all(alike(one[name], other[name]) for name in one)
    return type(one) is type(other) and bool(one == other)


def with_known(rows: EventRows, known_us: np.ndarray) -> EventRows:
    """The rows, each known from after its `known_us`."""
    return replace(rows, known_us=known_us)
