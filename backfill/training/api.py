"""`training_set`: the one call that makes a training set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ...engine.progress import Report, reporting
from ...engine.runtime.clock import now_us as wall_clock_us
from ...engine.settings import Settings, load_settings
from ...schemas.time import Duration, parse_duration
from ...state.dataset_files import DatasetWriter
from .applied import applied_definitions
from .asked import Wanted, resolve
from .build import Making, make
from .fingerprint import bytes_of, canonical
from .manifest import digest, manifest_of, put
from .options import MEMORY_BYTES, Options
from .order import Order
from .result import TrainingSet
from .spine import open_spine
from .spool import Workspace
from .statistics import Statistics


def training_set(
    spine: Any,
    features: Wanted | Sequence[Wanted],
    *,
    at: str = "at",
    clock: str = "event",
    landing_delay: Duration = "0s",
    served_by: str | None = None,
    max_age: Duration | None = None,
    trace: str | None = None,
    keys: Mapping[str, str] | None = None,
    labels: Mapping[Any, Duration] | None = None,
    include: Iterable[str] = (),
    time_zone: str | None = None,
    connection: Any = None,
    out: str | Path | None = None,
    replace: bool = False,
    project: str | Path | Settings | None = None,
    memory_bytes: int = MEMORY_BYTES,
    cores: int | None = None,
    now_us: int | None = None,
    progress: bool | Report | None = None,
) -> TrainingSet:
    """The features of every row of `spine`, as they were at the instant of the row.

    `spine` has a column of instants (`at`), the key columns of the features' entities, and whatever
    else you want to keep, in any order; rows that are there twice stay so. It is a frame of Polars
    or pandas, an Arrow table or reader, the path of a Parquet, Arrow, CSV or JSON-lines file or of
    a Delta table, or, with a `connection` of SQLAlchemy, a query. `features` are services, views
    or features, as definitions or by name; definitions need not be applied.

    `clock`: by `"event"` an event counts if it had happened before the instant; by `"known"` if it
    had also been in the log, `landing_delay` before the instant at least; by `"served"` values are
    those of the newest answer to a request for the key, at the instant or before, that the served
    log has: of all services, or of the one `served_by` (`"fraud"`, `"fraud@1"`), given at most
    `max_age` before the instant, to a request of the trace that the column `trace` names. `labels`
    are columns of the spine, or features, and how long after the instant each is known: a feature
    is read so much later, and a label that is not known yet is null. `keys` says which column is a
    key, where names differ: `{"card_id": "card"}`. `include` asks for more columns: `"status"`,
    `"event_time"`, `"bounds"`; by `"served"` for `"status"`, `"event_time"` (when the answer was
    given), `"request"` (the values that it brought), `"trace"`. `time_zone` is that of instants
    that name none, which are refused without it.

    With `out` the set is written to that folder as a Delta table with a manifest; else it is in
    memory. `project` is the folder of `tegula.toml`, the one that you are in if it is not said.
    About `memory_bytes` are kept in memory while it is made, the rest on disk. What takes longer
    than two seconds shows how far it is on a terminal and in a notebook; `progress` True shows it
    anywhere, False nowhere, and a function is told `(what, done, total)`.

    Raises `BadSpine` for rows that cannot be used, `UnknownFeature` or `UnknownService`,
    `DefinitionErrors`, `DatasetExists`, `NothingServed` by `"served"`, and what reading archive and
    log raises.
    """
    settings = (
        project
        if isinstance(project, Settings)
        else load_settings(None if project is None else Path(project))
    )
    options = Options(
        at=at,
        zone=time_zone,
        keys=dict(keys or {}),
        clock=clock,
        landing_us=parse_duration(landing_delay),
        served_by=served_by,
        max_age_us=None if max_age is None else parse_duration(max_age),
        trace=trace,
        include=tuple(include),
        memory_bytes=memory_bytes,
        cores=cores or os.cpu_count() or 1,
    )
    options.check()
    asked = resolve(features, labels, applied_definitions(settings))
    order = Order(
        asked,
        open_spine(spine, connection),
        options,
        wall_clock_us() if now_us is None else now_us,
    )
    with reporting(progress, "Reading the spine", unit="rows") as report:
        return made(order, settings, None if out is None else Path(out), report, replace=replace)


def made(
    order: Order, settings: Settings, out: Path | None, progress: Report, *, replace: bool = False
) -> TrainingSet:
    """The set of an order, in memory or in a folder."""
    making, statistics, rows_hash = Making(order), Statistics(), digest()
    writer = None if out is None else DatasetWriter(out, replace=replace)
    frames: list[pl.DataFrame] = []
    parent = settings.home / "datasets" if writer is None else writer.folder.parent
    try:
        with Workspace(parent, order.options.memory_bytes // 2) as workspace:
            for piece in make(making, settings, workspace, progress):
                rows = piece.rows
                rows_hash.update(bytes_of(canonical(rows)))
                statistics.add(rows, piece.statuses)
                if writer is None:
                    frames.append(rows)
                else:
                    writer.write(rows)
        manifest = manifest_of(making, statistics, rows_hash.hexdigest())
        if writer is None:
            return TrainingSet(manifest, pl.concat(frames))
        return TrainingSet(put(writer, manifest), path=writer.folder)
    finally:
        if writer is not None:
            writer.drop()
