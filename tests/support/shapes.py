"""Shapes and tiles for tests, without definitions or a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.schemas.types import DataType, Float64, Int64, String
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import Column, Order, Runs
from tegula.windows.geometry import (
    Calendar,
    Hopping,
    IncludingInstant,
    Lifetime,
    Series,
    Sliding,
    Tumbling,
    Window,
)
from tegula.windows.shape import Shape, Slot, WindowedFeature
from tegula.windows.tiles import KeyedTiles, Tiles

MINUTE, HOUR, DAY, SECOND = MINUTE_US, HOUR_US, DAY_US, SECOND_US
TYPES: dict[str, DataType] = {"float": Float64, "int": Int64, "string": String}


def facts(window: Window) -> dict[str, object]:
    """A window as plain facts, for the naive recomputation."""
    if isinstance(window, IncludingInstant):
        return {**facts(window.window), "include": True}
    if isinstance(window, Sliding):
        return {
            "kind": "sliding",
            "length": window.length_us,
            "resolution": window.resolution_us,
            "offset": window.offset_us,
        }
    if isinstance(window, Hopping):
        spans = {"size": window.size_us, "hop": window.hop_us}
        return {"kind": "hopping", **spans, "current": window.current}
    if isinstance(window, Tumbling):
        return {"kind": "tumbling", "size": window.size_us, "current": window.current}
    if isinstance(window, Series):
        return {"kind": "series", "windows": [facts(one) for one in window.windows]}
    if isinstance(window, Calendar):
        table = window.periods
        named = {"unit": table.unit, "zone": table.zone}
        return {"kind": "calendar", **named, "current": window.current}
    assert isinstance(window, Lifetime)
    return {"kind": "lifetime"}


def shape_of(
    aggregates: Iterable[str],
    windows: Sequence[Window],
    kind: str = "float",
    *,
    depth_us: int = 15 * MINUTE_US,
    disorder_us: int = 30 * SECOND_US,
) -> Shape:
    """Every aggregate over input column 0 of `kind`, in every window; slots are shared."""
    slots: list[Slot] = []
    features: list[WindowedFeature] = []

    def place(monoid: object, takes_input: bool) -> int:
        wanted = (monoid, 0 if takes_input else None)
        for number, slot in enumerate(slots):
            if (slot.monoid, slot.input) == wanted:
                return number
        slots.append(Slot(f"s{len(slots)}", monoid, wanted[1]))  # type: ignore[arg-type]
        return len(slots) - 1

    for name in aggregates:
        aggregate = AGGREGATES[name]
        of_kind = None if name == "count" else kind
        needs = aggregate.needs(of_kind, {})  # type: ignore[arg-type]
        used = tuple(place(need.monoid, need.takes_input) for need in needs)
        output = aggregate.output(None if of_kind is None else TYPES[kind], {})
        for number, window in enumerate(windows):
            features.append(WindowedFeature(f"{name}_{number}", aggregate, used, window, output))
    return Shape(tuple(slots), tuple(features), depth_us, disorder_us)


def lift_events(
    shape: Shape,
    keys: Sequence[bytes],
    events: Sequence[tuple[int, int, float]],
    first_offset: int = 0,
) -> KeyedTiles:
    """Tiles of events `(key number, event time µs, value)`, whose offsets count up."""
    order = sorted(range(len(events)), key=lambda i: (events[i][0], events[i][1], i))
    key = np.array([events[i][0] for i in order], dtype=np.int64)
    at_us = np.array([events[i][1] for i in order], dtype=np.int64)
    given = [events[i][2] for i in order]
    values = np.array(given, dtype=np.int64 if given and isinstance(given[0], int) else np.float64)
    start_us = at_us - at_us % shape.finest_us
    runs = Runs.of_changes(key, start_us)
    zeros = np.zeros(len(order), dtype=np.int64)
    place = Order(at_us, zeros, np.array(order, dtype=np.int64) + first_offset)
    states: list[np.ndarray | pa.LargeBinaryArray] = []
    for slot in shape.slots:
        states.extend(slot.monoid.lift(None if slot.input is None else Column(values), place, runs))
    first = runs.starts
    rung = np.full(len(first), shape.finest, dtype=np.uint8)
    bounds = np.searchsorted(key[first], np.arange(len(keys) + 1))
    newest_us = np.full(len(keys), np.iinfo(np.int64).min)
    np.maximum.at(newest_us, key, at_us)
    tiles = Tiles(start_us[first], rung, runs.lengths, tuple(states))
    return KeyedTiles(pa.array(keys, pa.large_binary()), bounds, newest_us, tiles)
