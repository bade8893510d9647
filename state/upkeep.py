"""Keeping one Delta table healthy: small files merged, old ones deleted, its log kept short.

What is merged is written beside what is there, and takes its place in one commit; rows, their order
and the marks of exactly-once are what they were. A writer may append meanwhile: neither commit
hinders the other. Two that merge at once would put rows into the table twice, which the library
does not see (tried: `deltalake` 1.6 lets both remove the same file); so every such commit carries a
transaction of one name, and the library refuses the second.

A crash at any point leaves a table that is whole, and at most files that no version names; they are
deleted later. What was merged or never named is deleted once it is older than the retention, so
that readers who listed the table before go on; ours find the rows in the merged file even then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.transaction import AddAction, RemoveAction

from ..schemas.errors import MaintenanceRunning, TableDamaged, TableUnwritable, TegulaError
from .delta import LOG_RETENTION, LOG_RETENTION_DAY, MAINTENANCE
from .delta_files import list_files, path_of, read_rows, sync_log, usable, write_pieces
from .lake import Lake
from .merges import Merge, plan

Progress = Callable[[int, int], None]
"""Is told the bytes done, and those of all."""


@dataclass(frozen=True, slots=True)
class UpkeepPolicy:
    """How large files are to be, and how long what no version needs any more is kept."""

    file_bytes: int = 128 << 20
    retention_s: float = 86_400.0
    spare_bytes: int = 0
    """Space on the disk that merging leaves free."""


@dataclass
class UpkeepReport:
    """What was done to a table, or would be: files merged into `made`, and files deleted."""

    table: str
    files: int = 0
    size_bytes: int = 0
    merged: int = 0
    made: int = 0
    merged_bytes: int = 0
    made_bytes: int = 0
    deleted: int = 0
    faults: list[TegulaError] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**vars(self), "faults": [fault.as_dict() for fault in self.faults]}


class Upkeep:
    """Maintenance of the table at `lake`; `order` is its column of offsets, if rows have some.

    `now_us` is the wall clock, `writer` names this process in the table's history. Raises
    `TableUnwritable` if there is no table that can be read.
    """

    def __init__(
        self,
        lake: Lake,
        policy: UpkeepPolicy,
        *,
        order: str | None,
        now_us: Callable[[], int],
        writer: str = "maintenance",
    ) -> None:
        self._lake = lake
        self._policy = policy
        self._order = order
        self._now_us = now_us
        self._writer = writer
        options = None if lake.options is None else dict(lake.options)
        with usable(lake.name):
            self._table = DeltaTable(lake.name, storage_options=options)

    def merges(self) -> tuple[Merge, ...]:
        """What is to be merged, as of now."""
        with usable(self._lake.name):
            self._table.update_incremental()
            return plan(list_files(self._table), self._order, self._policy.file_bytes)

    def run(
        self,
        report: UpkeepReport | None = None,
        *,
        dry_run: bool = False,
        progress: Progress = lambda done, total: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> UpkeepReport:
        """Do all that there is to do; with `dry_run` only say what. `report` is filled meanwhile.

        A file that cannot be read stays as it is, with those beside it, and is reported as a fault.
        Raises `TableUnwritable` if the storage refuses, `MaintenanceRunning` if somebody else
        maintains the table at the same time.
        """
        report = report or UpkeepReport(self._lake.name)
        self._look(report)
        report.deleted = len(self._vacuum(dry_run=dry_run))
        merges = self.merges()
        done, total = 0, sum(one.size_bytes for one in merges)
        progress(done, total)
        for merge in merges:
            if stopping():
                break
            try:
                made = merge.size_bytes if dry_run else self._merge(merge, stopping)
            except MaintenanceRunning:
                raise
            except TegulaError as fault:
                if fault.retryable:
                    raise
                report.faults.append(fault)
                continue
            if made is None:
                break
            report.merged += len(merge.files)
            report.merged_bytes += merge.size_bytes
            report.made += 1
            report.made_bytes += made
            done += merge.size_bytes
            progress(done, total)
        if not dry_run:
            self._shorten_log()
        self._look(report)
        return report

    def _look(self, report: UpkeepReport) -> None:
        with usable(self._lake.name):
            files = list_files(self._table)
        report.files, report.size_bytes = len(files), sum(file["size_bytes"] for file in files)

    def _merge(self, merge: Merge, stopping: Callable[[], bool]) -> int | None:
        """Make one file of several; its bytes, or None if it was stopped before."""
        self._require_room(merge)
        types = self._types()
        try:
            added = self._write(merge, types, stopping)
        except _Stopped:
            return None
        self._replace(merge, added)
        return int(added.size)

    def _require_room(self, merge: Merge) -> None:
        free = self._lake.free_bytes()
        needed = merge.size_bytes + self._policy.spare_bytes
        if free is not None and free < needed:
            detail = f"{free >> 20} MiB are free, and merging needs {needed >> 20} MiB"
            raise TableUnwritable(where=self._lake.name, detail=detail)

    def _types(self) -> dict[str, pl.DataType]:
        """What a file of the table holds: every column but those that it is partitioned by."""
        with usable(self._lake.name):
            schema = pa.schema(self._table.schema().to_arrow())
            apart = set(self._table.metadata().partition_columns)
        empty = pl.DataFrame(schema.empty_table())
        return {name: dtype for name, dtype in empty.schema.items() if name not in apart}

    def _write(
        self, merge: Merge, types: Mapping[str, pl.DataType], stopping: Callable[[], bool]
    ) -> AddAction:
        """Write the merged file, durably; nobody knows of it yet."""
        pieces = self._pieces(merge, types, stopping)
        added = write_pieces(self._lake, merge.values, types, pieces)
        # As old as what it holds: readers that want the newest first go by this.
        modified_ms = max(int(file["modification_time"]) for file in merge.files)
        return replace(added, modification_time=modified_ms, data_change=False)

    def _pieces(
        self, merge: Merge, types: Mapping[str, pl.DataType], stopping: Callable[[], bool]
    ) -> Iterator[pl.DataFrame]:
        last, count = -(2**63), 0
        for file in merge.files:
            for rows in read_rows(self._lake, path_of(file)):
                if stopping():
                    raise _Stopped
                if self._order is not None:
                    offsets = rows[self._order]
                    if not offsets.is_sorted() or int(offsets[0]) <= last:
                        detail = f"{path_of(file)} does not ascend after offset {last}"
                        raise TableDamaged(where=self._lake.name, detail=detail)
                    last = int(offsets[-1])
                count += rows.height
                yield rows.select(_column(name, dtype, rows) for name, dtype in types.items())
        if count != merge.row_count:
            detail = f"{count} rows where the table says {merge.row_count}"
            raise TableDamaged(where=self._lake.name, detail=detail)

    def _replace(self, merge: Merge, added: AddAction) -> None:
        """Commit the merged file in the place of the others, if all of them are still there."""
        self._require_unchanged(merge)
        table, now_ms = self._table, self._now_us() // 1_000
        removed = [
            RemoveAction(
                path=path_of(file),
                data_change=False,
                deletion_timestamp=now_ms,
                size=int(file["size_bytes"]),
                partition_values=dict(merge.values),
            )
            for file in merge.files
        ]
        before = table.version()
        try:
            with usable(self._lake.name):
                table.create_write_transaction(
                    [added, *removed],
                    mode="append",
                    schema=table.schema(),
                    partition_by=list(merge.values),
                    commit_properties=CommitProperties(
                        custom_metadata={"tegula.writer": self._writer},
                        app_transactions=[Transaction(MAINTENANCE, before + 1)],
                    ),
                    post_commithook_properties=PostCommitHookProperties(create_checkpoint=False),
                )
                table.update_incremental()
                sync_log(self._lake, before, table.version())
        except TableUnwritable:
            with suppress(TableUnwritable):
                self._require_unchanged(merge)
            raise

    def _require_unchanged(self, merge: Merge) -> None:
        """Raise `MaintenanceRunning` if a file that is to be merged has been replaced."""
        with usable(self._lake.name):
            self._table.update_incremental()
            there = set(pa.table(self._table.get_add_actions())["path"].to_pylist())
        if any(file["path"] not in there for file in merge.files):
            raise MaintenanceRunning(where=self._lake.name)

    def _vacuum(self, *, dry_run: bool) -> set[str]:
        """Delete what no version of the retention names; what it was, or would be."""
        with usable(self._lake.name):
            self._table.update_incremental()
            return set(
                self._table.vacuum(
                    retention_hours=math.ceil(self._policy.retention_s / 3600),
                    dry_run=dry_run,
                    enforce_retention_duration=False,
                    full=True,
                )
            )

    def _shorten_log(self) -> None:
        """Sum the log up in a checkpoint, and delete entries that are older than a day."""
        with usable(self._lake.name):
            if LOG_RETENTION not in self._table.metadata().configuration:
                self._table.alter.set_table_properties({LOG_RETENTION: LOG_RETENTION_DAY})
            self._table.update_incremental()
            self._table.create_checkpoint()
            # What is deleted must not be missed because the checkpoint was not on the disk yet.
            self._lake.sync(f"_delta_log/{self._table.version():020}.checkpoint.parquet")
            self._lake.sync("_delta_log/_last_checkpoint")
            self._lake.sync("_delta_log")
            self._table.cleanup_metadata()


class _Stopped(Exception):
    """The maintenance is to end, in the middle of a file."""


def _column(name: str, dtype: pl.DataType, rows: pl.DataFrame) -> pl.Expr:
    there = pl.col(name) if name in rows.columns else pl.lit(None).alias(name)
    return there.cast(dtype)
