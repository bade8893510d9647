"""A small online store in memory, filled from events, and the definitions that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tegula.engine.plan import Build, compile_view
from tegula.schemas import agg
from tegula.schemas import types as t
from tegula.schemas.definitions import Entity, Feature, FeatureView, Stream
from tegula.schemas.time import HOUR_US
from tegula.schemas.windows import lifetime, sliding, tumbling
from tegula.serving.keys import KeyColumns
from tegula.serving.plan import FeaturePlan, Resolved, ServedView, compile_features
from tegula.state.keys import encode_key, shard_of
from tegula.state.online.rows import Mark, Segments
from tegula.state.packing import ONLINE_BODY, ONLINE_HEAD, ONLINE_SEGMENT, Stamps, pack
from tegula.windows.algebra import Column, Order, Runs
from tegula.windows.coarsen import coarsen
from tegula.windows.segments import first_kept_hour, to_seconds
from tegula.windows.shape import Shape
from tegula.windows.tiles import NEVER_US, KeyedTiles, Tiles, concat_tiles, empty_tiles, group

SHARDS = 4
NOON_US = 1_700_000_000_000_000 // HOUR_US * HOUR_US

CARD = Entity("card", {"card_id": t.String})
PAYMENTS = Stream(
    "payments",
    schema={
        "card_id": t.String,
        "amount": t.Float64,
        "items": t.Int64,
        "shop": t.String,
        "at": t.Timestamp,
    },
    event_time="at",
    disorder="10s",
)
COLUMNS = {"at": 0, "amount": 1, "items": 2, "shop": 3}

Event = tuple[int, float | None, int | None, str | None]
"""Event time in µs, then `amount`, `items`, `shop`."""

Rows = tuple[bytes | None, bytes | None]
"""Head and body of a key."""


def every_feature() -> dict[str, Feature]:
    """Every kind of value over every kind of window."""
    aggregates = {
        "count": agg.count(),
        "sum": agg.sum("amount"),
        "mean": agg.mean("amount"),
        "items": agg.sum("items"),
        "max": agg.max("items"),
        "shop": agg.last("shop"),
        "seen": agg.max("at"),
    }
    windows = {
        "1m": sliding("1m"),
        "1h": sliding("1h"),
        "30d": sliding("30d"),
        "day": tumbling("1d"),
        "hour": tumbling("1h", current=True),
        "ever": lifetime(),
    }
    return {
        f"{n}_{w}": one.over(over) for w, over in windows.items() for n, one in aggregates.items()
    }


def every_exact_feature() -> dict[str, Feature]:
    """Every kind of value over windows whose edges may cut any tile, and some beside."""
    windows = {
        "10m": sliding("10m", resolution="exact"),
        "3h": sliding("3h", resolution="exact"),
        "30d": sliding("30d", resolution="exact"),
        "ago": sliding("2h", resolution="exact", offset="90m"),
        "now": sliding("1h", resolution="exact", include_instant=True),
        "hour": tumbling("1h", current=True),
        "ever": lifetime(),
    }
    return {
        f"{name}_{w}": one.over(over)
        for w, over in windows.items()
        for name, one in {
            "count": agg.count(),
            "sum": agg.sum("amount"),
            "shop": agg.last("shop"),
        }.items()
    }


def build_of(features: Mapping[str, Feature], view: str = "spend", number: int = 1) -> Build:
    """A build of a view over payments by card."""
    return compile_view(
        FeatureView(view, entity=CARD, stream=PAYMENTS, features=dict(features)), number
    )


def resolved_of(*builds: Build) -> Resolved:
    """A catalogue, version 7, that serves the builds, and the service `fraud` of all of them."""
    views = {
        build.view: ServedView(
            build.view,
            KeyColumns(build.entity, tuple((name, kind.kind) for name, kind in build.entity_keys)),
            tuple(one.name for one in build.shape.features),
            build,
            {one.name: one for one in build.shape.features},
        )
        for build in builds
    }
    every = [(build.view, one.name) for build in builds for one in build.shape.features]
    return Resolved(7, SHARDS, views, {"fraud": compile_features(views, every)})


def plan_of(*builds: Build) -> FeaturePlan:
    """The plan of all features of the builds."""
    return resolved_of(*builds).services["fraud"]


def tiles_of(build: Build, events: Sequence[Event], first_offset: int = 0) -> Tiles:
    """Tiles of the finest rung that hold the events of one key, at offsets from the first on."""
    shape = build.shape
    if not events:
        return empty_tiles(shape)
    order = sorted(range(len(events)), key=lambda i: (events[i][0], i))
    rows = [events[i] for i in order]
    at_us = np.array([row[0] for row in rows], np.int64)
    runs, zeros = Runs(np.arange(len(rows)), len(rows)), np.zeros(len(rows), np.int64)
    placed = Order(at_us, zeros, np.array(order, np.int64) + first_offset)
    columns: list[np.ndarray | pa.LargeBinaryArray] = []
    for slot in shape.slots:
        column = None
        if slot.input is not None:
            name, _, kind = build.inputs[slot.input]
            place = next(i for word, i in COLUMNS.items() if word in name)
            column = _column([row[place] for row in rows], kind)
        columns.extend(slot.monoid.lift(column, placed, runs))
    start_us = at_us - at_us % shape.finest_us
    rung = np.full(len(rows), shape.finest, np.uint8)
    tiles = Tiles(start_us, rung, np.ones(len(rows), np.int64), tuple(columns))
    return group(shape, zeros, tiles)[1]


def _column(values: Sequence[object], kind: str) -> Column:
    valid = np.array([value is not None for value in values])
    if kind == "string":
        texts = [b"" if value is None else str(value).encode() for value in values]
        return Column(pa.array(texts, pa.large_binary()), valid)
    return Column(np.array([v or 0 for v in values], "f8" if kind == "float" else "i8"), valid)


def rows_of(
    build: Build, events: Sequence[Event], horizon_us: int = NEVER_US, late: Sequence[Event] = ()
) -> Rows:
    """A key's rows after folding `events` up to `horizon_us`, and then taking in `late` ones."""
    shape = build.shape
    newest_us = max((at_us for at_us, *_ in (*events, *late)), default=NEVER_US)
    tiles, body = tiles_of(build, events), None
    if horizon_us > NEVER_US:
        if shape.segment_reach_us is not None:
            tiles = _merge(shape, to_seconds(tiles)[0])
        coarse, keep = coarsen(shape, tiles, np.full(len(tiles), horizon_us))
        coarse = _merge(shape, coarse.take(np.flatnonzero(keep)))
        before = coarse.start_us < horizon_us
        older = coarse.take(np.flatnonzero(before))
        body = pack_row(shape, older, newest_us, ONLINE_BODY, horizon_us)
        tiles = coarse.take(np.flatnonzero(~before))
    tiles = _merge(shape, concat_tiles([tiles, tiles_of(build, late, len(events))]))
    return pack_row(shape, tiles, newest_us, ONLINE_HEAD, horizon_us), body


def segments_of(
    build: Build, events: Sequence[Event], horizon_us: int, row_instants: int = 5
) -> dict[int, list[bytes]]:
    """A key's segments by hour after folding `events` up to `horizon_us`."""
    shape = build.shape
    if horizon_us == NEVER_US or shape.segment_reach_us is None:
        return {}
    tiles = tiles_of(build, events)
    first = first_kept_hour(shape, np.array([horizon_us]))[0]
    found: dict[int, list[bytes]] = {}
    for hour in np.unique(tiles.start_us // HOUR_US).tolist():
        mine = np.flatnonzero((tiles.start_us // HOUR_US == hour) & (hour >= first))
        for begin in range(0, len(mine), row_instants):
            part = tiles.take(mine[begin : begin + row_instants])
            names = pa.array([b""], pa.large_binary())
            keyed = KeyedTiles(names, np.array([0, len(part)]), part.start_us[-1:], part)
            found.setdefault(hour, []).extend(pack(shape, keyed, ONLINE_SEGMENT))
    return found


def _merge(shape: Shape, tiles: Tiles) -> Tiles:
    return group(shape, np.zeros(len(tiles), np.int64), tiles)[1]


def pack_row(shape: Shape, tiles: Tiles, newest_us: int, kind: int, horizon_us: int) -> bytes:
    """The online row of one key, of these tiles."""
    one, bounds = np.ones(1, np.uint64), np.array([0, len(tiles)])
    keyed = KeyedTiles(pa.array([b""], pa.large_binary()), bounds, np.array([newest_us]), tiles)
    return pack(shape, keyed, kind, Stamps(one, one, one, np.array([horizon_us])))[0]


@dataclass
class MemoryStore:
    """An `OnlineReader` over a dict.

    `builds` are those that every mark names; reading one of `broken` fails; `empty`: nothing was
    ever mirrored.
    """

    builds: tuple[int, ...] = (1,)
    rows: dict[tuple[int, bytes], Rows] = field(default_factory=dict)
    segments: dict[tuple[int, bytes], Segments] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    broken: tuple[int, ...] = ()
    empty: bool = False
    reads: int = 0

    def put(self, build: Build, card: str, events: Sequence[Event], **how: int) -> None:
        """Give a card these events."""
        place = build.id, encode_key((card,), ("string",))
        self.rows[place] = rows_of(build, events, **how)
        self.segments[place] = segments_of(build, events, how.get("horizon_us", NEVER_US))

    def mark(self, shard: int) -> Mark | None:
        return None if self.empty else Mark(1, 1, self.builds, self.positions)

    def read(self, shard: int, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Rows]]:
        self.reads += 1
        if build in self.broken:
            raise OSError("the disk is gone")
        assert all(shard_of(key, SHARDS) == shard for key in keys)
        return self.mark(shard), [self.rows.get((build, key), (None, None)) for key in keys]

    def read_with_segments(
        self, shard: int, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Rows], list[Segments]]:
        mark, rows = self.read(shard, build, keys)
        segments = [self.segments.get((build, key), {}) for key in keys]
        return mark, rows, [{h: one[h] for h in hours if h in one} for one in segments]

    def close(self) -> None:
        return
