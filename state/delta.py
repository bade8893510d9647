"""Delta tables whose appends carry positions, so that every row arrives exactly once.

An append commits its files together with one *mark* a partition: all offsets below `next_offset`
are in the table. Marks are Delta application transactions, which outlive checkpoints and the
cleaning of the log. The library appends a repeated transaction again (tried), so whoever appends
reads the marks first and leaves out what lies below them. Should two writers race, the library
refuses the second commit of one mark: nothing doubles, the loser refreshes and finds its rows done.

A mark has a number of its owner's beside the position (`value`), kept as a second transaction of
the same commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.transaction import AddAction, RemoveAction

from ..schemas.errors import TableLost, TableMismatch, TableUnwritable
from .delta_files import Part, list_files, opened, sync_log, usable, write_file
from .lake import Lake

MAINTENANCE: Final = "tegula.maintenance"
"""The transaction of every commit that removes files: Delta refuses the second of two at once."""

LOG_RETENTION: Final = "delta.logRetentionDuration"
LOG_RETENTION_DAY: Final = "interval 24 hours"
"""How long entries of a table's log stay that a checkpoint sums up."""


@dataclass(frozen=True, slots=True)
class Mark:
    """All offsets below `next_offset` of a partition are in the table; `value` is the owner's."""

    next_offset: int
    value: int = 0


class MarkedTable:
    """One Delta table, `lake`, created when first written; not safe for several threads.

    `columns` is the schema, `partition_by` some of its names, `app` the prefix of the marks' names
    (`app/partition`), `writer` names the writing process in each commit's metadata. Columns that
    an existing table lacks are added; columns that it has besides are filled with nulls.
    """

    def __init__(
        self,
        lake: Lake,
        columns: pa.Schema,
        *,
        partition_by: tuple[str, ...],
        app: str,
        writer: str,
    ) -> None:
        self.lake = lake
        self._columns = columns
        self._partition_by = list(partition_by)
        self._app = app
        self._writer = writer
        self._options = None if lake.options is None else dict(lake.options)
        self._table: DeltaTable | None = None
        self._conforms = False
        self._synced: int | None = None
        self._seen: dict[str, Mark] = {}
        self._known: dict[str, Mark | None] = {}  # marks, as of version …
        self._known_version = -1

    def refresh(self) -> None:
        """Take in what has been committed, by whomever. Raises `TableUnwritable`, `TableLost`."""
        try:
            if self._table is None:
                self._table = opened(self.lake)
                if self._table is not None and self._synced is None:
                    # Who has written the newest entry may have died before it was on the disk.
                    self._synced = self._table.version() - 1
            else:
                with usable(self.lake.name):
                    self._table.update_incremental()
            now = {partition: self._read_mark(partition) for partition in self._seen}
        except TableUnwritable:
            self._forget()
            raise
        for partition, seen in self._seen.items():
            mark = now[partition]
            if mark is None or mark.next_offset < seen.next_offset:
                raise TableLost(
                    where=self.lake.name,
                    partition=partition,
                    got=f"rows up to offset {mark.next_offset}" if mark else "no rows",
                    expected=f"rows up to offset {seen.next_offset}",
                )

    def mark(self, partition: str) -> Mark | None:
        """The partition's mark as of the last refresh or append; None if it has no rows."""
        mark = self._read_mark(partition)
        if mark is not None:
            self._seen[partition] = mark
        return mark

    @property
    def types(self) -> dict[str, str]:
        """The table's columns with their types in Delta's words, as of the last refresh."""
        if self._table is None:
            return {}
        return {field.name: str(field.type) for field in self._table.schema().fields}

    def partitions(self, column: str) -> tuple[str, ...]:
        """Values of a column that the table is partitioned by, sorted; as of the last refresh."""
        if self._table is None:
            return ()
        return tuple(sorted({values[column] for values in self._table.partitions()}))

    @property
    def version(self) -> int:
        """The table's version as of the last refresh or append; -1 as long as there is none."""
        return -1 if self._table is None else self._table.version()

    @property
    def identity(self) -> str:
        """The table's id; empty as long as there is none."""
        return "" if self._table is None else str(self._table.metadata().id)

    def files(self) -> list[dict[str, Any]]:
        """The table's files as of the last refresh, oldest first, with Delta's statistics.

        `path`, `num_records`, `size_bytes`, and for each column `min.…`, `max.…`, `null_count.…`.
        """
        if self._table is None:
            return []
        with usable(self.lake.name):
            return list_files(self._table)

    def append(self, parts: Sequence[Part], marks: Mapping[str, Mark]) -> None:
        """Append a file for each part and move `marks`, in one commit; durable on return.

        A part may lack columns: they are null. Raises `TableUnwritable` if the commit may not have
        happened: `refresh` tells whether it has.
        """
        transactions = []
        for partition, mark in marks.items():
            name = self._name(partition)
            transactions.append(Transaction(name, mark.next_offset - 1))
            transactions.append(Transaction(f"{name}#value", mark.value))
        table = self._open_or_create()
        before = table.version()
        try:
            types = self._types(table)
            added: list[AddAction | RemoveAction] = [
                write_file(self.lake, _filled(part, types)) for part in parts
            ]
            with usable(self.lake.name):
                table.create_write_transaction(
                    added,
                    mode="append",
                    schema=table.schema(),
                    partition_by=self._partition_by,
                    commit_properties=CommitProperties(
                        custom_metadata={"tegula.writer": self._writer},
                        app_transactions=transactions,
                    ),
                    # Old entries go with maintenance, which makes a checkpoint durable before.
                    post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
                )
                table.update_incremental()
                sync_log(self.lake, -1 if self._synced is None else self._synced, table.version())
        except TableUnwritable:
            self._forget()
            raise
        self._synced = table.version()
        self._seen.update(marks)
        if table.version() == before + 1:  # nobody else has committed meanwhile
            self._known.update(marks)
            self._known_version = table.version()

    def drop(self, predicate: str, kept_hours: int = 7 * 24) -> int:
        """Delete the rows of whole partitions, by a condition in SQL; returns how many files went.

        What reads the table as it was may do so for `kept_hours` more; then the files go, with the
        next call. Raises `TableUnwritable`.
        """
        self.refresh()
        if self._table is None:
            return 0
        # Files that are being merged meanwhile would come back: one of the two is refused.
        alone = Transaction(MAINTENANCE, self._table.version() + 1)
        with usable(self.lake.name):
            done = self._table.delete(
                predicate, commit_properties=CommitProperties(app_transactions=[alone])
            )
            self._table.vacuum(kept_hours, dry_run=False)
        return int(done.get("num_removed_files", 0))

    def _types(self, table: DeltaTable) -> dict[str, pl.DataType]:
        """What a file of the table holds: every column but those that it is partitioned by."""
        empty = pl.DataFrame(pa.schema(table.schema().to_arrow()).empty_table())
        return {n: dtype for n, dtype in empty.schema.items() if n not in self._partition_by}

    def _forget(self) -> None:
        """What the library believes of the table may be wrong: it is to be read anew."""
        self._table = None
        self._conforms = False
        self._known_version = -1

    def _name(self, partition: str) -> str:
        return f"{self._app}/{partition}"

    def _read_mark(self, partition: str) -> Mark | None:
        """The partition's mark at this version; the library reads Delta's log for each."""
        if self._table is None:
            return None
        if self._known_version != self._table.version():
            self._known, self._known_version = {}, self._table.version()
        if partition not in self._known:
            with usable(self.lake.name):
                last_offset = self._table.transaction_version(self._name(partition))
                value = self._table.transaction_version(f"{self._name(partition)}#value")
            mark = None if last_offset is None else Mark(last_offset + 1, value or 0)
            self._known[partition] = mark
        return self._known[partition]

    def _open_or_create(self) -> DeltaTable:
        if self._table is None:
            with usable(self.lake.name):
                self._table = DeltaTable.create(
                    self.lake.name,
                    Schema.from_arrow(self._columns),
                    mode="ignore",
                    partition_by=self._partition_by,
                    name=self._app,
                    configuration={LOG_RETENTION: LOG_RETENTION_DAY},
                    storage_options=self._options,
                )
        if not self._conforms:
            self._add_columns(self._table)
            self._conforms = True
        return self._table

    def _add_columns(self, table: DeltaTable) -> None:
        there = {field.name: field for field in table.schema().fields}
        wanted = Schema.from_arrow(self._columns).fields
        for field in wanted:
            known = there.get(field.name, field)
            if known.type != field.type:
                raise TableMismatch(
                    where=self.lake.name,
                    column=field.name,
                    got=str(known.type),
                    expected=str(field.type),
                )
        added = [field for field in wanted if field.name not in there]
        if added:
            with usable(self.lake.name):
                table.alter.add_columns(added)


def _filled(part: Part, types: Mapping[str, pl.DataType]) -> Part:
    """`part` with the columns `types`, in their order; null where it had none."""
    there = part.rows.columns
    missing = [
        pl.lit(None, dtype).alias(name) for name, dtype in types.items() if name not in there
    ]
    return replace(part, rows=part.rows.with_columns(missing).select(*types))
