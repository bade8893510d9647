"""Checking the parity of a service: from its served log to a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ...engine.deployed import build_of
from ...engine.lake import lake_of
from ...engine.own import OwnAggregates
from ...engine.plan import Build
from ...engine.plan import compile as compile_plan
from ...engine.settings import Settings
from ...schemas.codec import load
from ...schemas.definitions import Definitions
from ...schemas.errors import TegulaError
from ...schemas.types import String
from ...state.archive_files import ArchiveFiles
from ...state.registry import BuildRow, Registry
from ...state.served_columns import holder, logged_type, status_column
from .causes import Served, Side, compare
from .events import Archived, Progress
from .recompute import plain
from .report import Report
from .sample import sampled


@dataclass(frozen=True, slots=True)
class _Entry:
    """A sampled row, one view of it: which build answered, and what it had applied."""

    row: int
    catalogue: int
    version: int
    build: int
    ends: dict[int, int]


@dataclass(frozen=True, slots=True)
class _Side:
    """A build, and the archive of its stream."""

    build: Build
    archived: Archived

    def read(self, keys: pl.DataFrame, at_us: int, progress: Progress) -> Side:
        """The events of keys that matter at instants from `at_us` on."""
        retention_us = self.build.shape.retention_us
        oldest_us = None if retention_us is None else at_us - retention_us
        return Side(self.build, self.archived.events(self.build, keys, oldest_us, progress))


def check(
    settings: Settings,
    registry: Registry,
    service: str,
    *,
    since_us: int,
    sample: int,
    seed: int,
    now_us: int,
    progress: Progress = lambda count: None,
) -> Report:
    """Recompute a sample of what a service has served since an instant, and compare.

    Needs no engine, and none is in the way. Raises what reading served log and archive raises.
    O(rows since then + archived events of the streams).
    """
    report = Report(service, now_us, since_us, seed)
    rows = sampled(lake_of(settings), service, since_us=since_us, count=sample, seed=seed)
    report.rows = rows.height
    if rows.height:
        _Check(report, settings, registry, rows, progress).run()
    report.cut()
    return report


class _Check:
    """One check of one service."""

    def __init__(
        self,
        report: Report,
        settings: Settings,
        registry: Registry,
        rows: pl.DataFrame,
        progress: Progress,
    ) -> None:
        self._report = report
        self._settings = settings
        self._registry = registry
        self._rows = rows
        self._progress = progress
        self._own = OwnAggregates(settings.project)
        self._builds = {row.id: row for row in registry.builds()}
        self._catalogue = registry.catalogue()
        head = registry.head()
        self._now = Definitions() if head is None else load(head.definitions, self._own)
        self._now_version = 0 if head is None else head.number

    def run(self) -> None:
        """Compare view by view, and within it by what answered."""
        pending: set[int] = set()
        for view, entries in self._entries().items():
            now = self._now_of(view)
            if now is None:
                self._report.skipped["no longer defined"] += len(entries)
                continue
            ends = now.archived.ends()
            by_answer: dict[tuple[int, int, int], list[_Entry]] = {}
            for one in entries:
                if any(at > ends.get(ordinal, at) for ordinal, at in one.ends.items()):
                    pending.add(one.row)
                else:
                    place = one.build, one.catalogue, one.version
                    by_answer.setdefault(place, []).append(one)
            for (build, catalogue, _), some in by_answer.items():
                self._compare(now, self._then_of(view, build, catalogue), some)
        self._report.pending = len(pending)

    def _entries(self) -> dict[str, list[_Entry]]:
        """What was served, by view."""
        found: dict[str, list[_Entry]] = {}
        columns = self._rows.select("_catalogue", "_version", "_applied").iter_rows()
        for row, (catalogue, version, applied) in enumerate(columns):
            for one in applied or ():
                if one["positions"] is None:
                    self._report.skipped["read under two marks"] += 1
                    continue
                ends = {at["partition"]: at["offset"] for at in one["positions"]}
                entry = _Entry(row, catalogue, version, one["build"], ends)
                found.setdefault(one["view"], []).append(entry)
        return found

    def _now_of(self, view: str) -> _Side | None:
        """The build that serves a view today; None if none does."""
        row = self._builds.get(self._catalogue.active.get(view, 0))
        return None if row is None else self._side(row, self._now)

    def _then_of(self, view: str, build: int, catalogue: int) -> _Side | None:
        """What answered, as it was defined then; None if that is as it is now."""
        row, version = self._builds.get(build), self._registry.definitions_at(catalogue)
        same = build == self._catalogue.active.get(view)
        if row is None or version is None or (same and version.number == self._now_version):
            return None
        return self._side(row, load(version.definitions, self._own))

    def _side(self, row: BuildRow, definitions: Definitions) -> _Side | None:
        """A build under some definitions; None, and said, where it cannot be had any more."""
        try:
            build = build_of(row, definitions, self._own)
            streams = compile_plan(definitions).streams
            if all(stream.name != build.stream for stream in streams):
                streams = compile_plan(load(row.definition, self._own)).streams
        except TegulaError as fault:
            self._report.faults.append(f"build {row.id} of view {row.view!r}: {fault}")
            return None
        stream = next(one for one in streams if one.name == build.stream)
        files = ArchiveFiles(lake_of(self._settings), stream.name, stream.schema)
        return _Side(build, Archived(files, stream, self._registry.partitions(stream.name)))

    def _compare(self, now: _Side, then: _Side | None, entries: list[_Entry]) -> None:
        rows = self._rows[[one.row for one in entries]]
        names = [name for name, _ in now.build.entity_keys]
        if any(name not in rows.columns for name in names):
            self._report.skipped["other keys"] += len(entries)
            return
        keys = rows.select(names).unique(maintain_order=True)
        place = rows.select(names).join(
            keys.with_row_index("_place"), on=names, how="left", maintain_order="left"
        )
        at = rows.select(pl.coalesce("_as_of", "_served")).to_series()
        values, statuses = _values(rows, (then or now).build)
        served = Served(
            key=place["_place"].to_numpy().astype(np.int64),
            names=[_readable(one) for one in rows.select(names).iter_rows(named=True)],
            at_us=at.to_physical().to_numpy(),
            served_us=rows["_served"].to_physical().to_numpy(),
            ends=[one.ends for one in entries],
            trace_ids=rows["_trace_id"].to_list(),
            values=values,
            statuses=statuses,
        )
        oldest_us = int(served.at_us.min())
        compare(
            self._report,
            served,
            now.read(keys, oldest_us, self._progress),
            None if then is None else then.read(keys, oldest_us, self._progress),
        )


def _values(rows: pl.DataFrame, build: Build) -> tuple[dict[str, list[Any]], dict[str, list[str]]]:
    """Values and statuses of those of a build's features that the rows have, by feature."""
    values, statuses = {}, {}
    for feature in build.shape.features:
        name = f"{build.view}:{feature.name}"
        status = status_column(name)
        column = holder(rows.schema, name, logged_type(feature.output))
        if column and status in rows.columns and not rows[status].null_count():
            values[feature.name] = [plain(one, feature.output) for one in rows[column].to_list()]
            statuses[feature.name] = rows[status].to_list()
    return values, statuses


def _readable(key: Mapping[str, Any]) -> dict[str, Any]:
    """A key for people and for JSON."""
    return {name: plain(value, String) for name, value in key.items()}
