"""Streams, sources and readers for tests of imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from tegula.backfill.imports.importing import Asked, Done, Sizes, import_rows
from tegula.backfill.imports.sources import Source, open_source
from tegula.connectors.imports import ImportFile
from tegula.engine.plan import StreamPlan
from tegula.engine.settings import Settings
from tegula.schemas.types import Bool, DataType, Float64, Int64, List, String, Timestamp

NOW_US = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z
SCHEMA: dict[str, DataType] = {
    "k": String,
    "x": Float64,
    "n": Int64,
    "b": Bool,
    "tags": List(String),
    "at": Timestamp,
}
SMALL = Sizes(run_rows=7, part_rows=10)
"""So that few rows make several runs and parts."""


def stream(schema: dict[str, DataType] = SCHEMA, name: str = "events") -> StreamPlan:
    return StreamPlan(
        name=name,
        schema=schema,
        event_time="at",
        disorder_us=0,
        ahead_us=600_000_000,
        idle_timeout_us=60_000_000,
        partition_by=None,
        source=None,
    )


def settings_in(folder: Path) -> Settings:
    given: dict[str, Any] = {"home": folder / ".tegula"}
    return Settings(project=folder, **given)


def asked(source: Source | Path, name: str = "history", **more: Any) -> Asked:
    opened = source if isinstance(source, Source) else open_source(str(source), {})
    of = more.pop("stream", None) or stream()
    return Asked(of, opened, name, more.pop("mapping", {}), **more)


def run_import(
    home: Path, source: Source | Path, name: str = "history", now_us: int = NOW_US, **more: Any
) -> Done:
    sizes = more.pop("sizes", SMALL)
    what = asked(source, name, **more)
    return import_rows(settings_in(home), what, now_us, lambda *_: None, sizes)


def imported(home: Path, of: str = "events") -> list[tuple[int, int, bytes]]:
    """All imported records: offset, log timestamp, bytes."""
    file = ImportFile(settings_in(home).imports_path(of), of)
    found, offset = [], 0
    while (batch := file.read(offset, 1_000)) is not None:
        rows = zip(batch.offsets.tolist(), batch.log_us.tolist(), batch.payloads, strict=True)
        found += rows
        offset = batch.next_offset
    assert offset == file.end()
    file.close()
    return found


def events(home: Path, of: str = "events") -> list[dict[str, Any]]:
    return [orjson.loads(payload) for _, _, payload in imported(home, of)]
