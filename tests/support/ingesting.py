"""Batches, builds and shards for tests of the engine's steps, without a log or an engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tegula.connectors.decode import DecodedBatch, JsonDecoder
from tegula.connectors.payloads import Payloads
from tegula.connectors.source import RawBatch
from tegula.engine.plan import Build, compile_view
from tegula.engine.steps.admit import Admitted, admit
from tegula.schemas import agg
from tegula.schemas import types as t
from tegula.schemas.definitions import Entity, Feature, FeatureView, Stream
from tegula.schemas.time import parse_duration
from tegula.schemas.windows import sliding
from tegula.state.database import MIB, Budget, Memory
from tegula.state.fold import gather
from tegula.state.keys import encode_key
from tegula.state.shard import Shard
from tegula.windows.tiles import NEVER_US

SCHEMA = {
    "k": t.String,
    "n": t.Int64,
    "yes": t.Bool,
    "x": t.Float64,
    "at": t.Timestamp.of("us"),
}
EVENTS = Stream("events", schema=SCHEMA, event_time="at", disorder="30s", ahead="10m")
BY_NAME = Entity("name", {"k": t.String})
COUNT_1H = {"count_1h": agg.count().over(sliding("1h"))}

NOON_US = 1_700_000_000_000_000 // 3_600_000_000 * 3_600_000_000
"""A full hour, on which every rung up to the hour begins."""


def build_of(
    features: Mapping[str, Feature] = COUNT_1H,
    *,
    entity: Entity = BY_NAME,
    stream: Stream = EVENTS,
    number: int = 1,
    **view: Any,
) -> Build:
    """A build of a view over `stream`."""
    made = FeatureView("view", entity=entity, stream=stream, features=dict(features), **view)
    return compile_view(made, number)


def decoded(
    events: Iterable[Mapping[str, Any] | bytes | None],
    *,
    first_offset: int = 0,
    log_us: int | Sequence[int] | None = None,
    partition: str = "0",
    stream: Stream = EVENTS,
    next_offset: int | None = None,
) -> DecodedBatch:
    """A batch of `events` as the decoder gives it; without `log_us` each is logged when it was."""
    many = list(events)
    records = [orjson.dumps(one) if isinstance(one, Mapping) else one for one in many]
    if log_us is None:
        log_us = [one["at"] if isinstance(one, Mapping) else NOON_US for one in many]
    offsets = np.arange(first_offset, first_offset + len(many), dtype=np.int64)
    raw = RawBatch(
        partition,
        offsets,
        np.broadcast_to(np.array(log_us, dtype=np.int64), len(many)).copy(),
        Payloads.from_list(records),
        first_offset + len(many) if next_offset is None else next_offset,
    )
    return JsonDecoder(stream.schema, stream.event_time).decode(raw)


def admitted(
    events: Iterable[Mapping[str, Any] | bytes | None],
    *,
    running_max_us: int = NEVER_US,
    stream: Stream = EVENTS,
    past_clock: Sequence[int] = (),
    **batch: Any,
) -> Admitted:
    """The same batch with its watermarks; `past_clock` are places of rows ahead of the clock."""
    rows = decoded(events, stream=stream, **batch)
    past = np.isin(np.arange(len(rows.offsets)), past_clock) if past_clock else None
    return admit(
        rows,
        past_clock=past,
        running_max_us=running_max_us,
        disorder_us=parse_duration(stream.disorder),
        ahead_us=parse_duration(stream.ahead),
    )


def event(key: str | None, at_us: int, x: float | None = 1.0, **more: Any) -> dict[str, Any]:
    """One event of `EVENTS`."""
    return {"k": key, "at": at_us, "x": x, **more}


def small_memory() -> Memory:
    """A budget for tests, which open many databases."""
    return Memory(Budget(8 * MIB, 8 * MIB))


def open_shards(root: Path, count: int = 2, memory: Memory | None = None) -> list[Shard]:
    """Shards in `root`, opened or made."""
    memory = memory or small_memory()
    shards = [Shard(n, root / f"shard-{n:02d}", memory, incarnation=1) for n in range(count)]
    for shard in shards:
        shard.renew(incarnation=1, boot_id="boot")
    return shards


def rows_of(shards: Sequence[Shard], build: Build, keys: Iterable[str]) -> dict[str, int]:
    """How many rows the state of all shards holds for each key."""
    found = {}
    for key in keys:
        encoded = encode_key((key,), ("string",))
        stored = [shard.read_keys(build.id, [encoded])[0] for shard in shards]
        tiles = [gather(build.shape, [encoded], [rows]).tiles.tiles for rows in stored]
        found[key] = sum(int(part.rows.sum()) for part in tiles)
    return found
