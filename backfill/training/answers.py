"""The served logs that a set takes its values from: which they are, how far each was read.

Of each writer the answers below a number are read, and the numbers are part of a set's manifest. So
the same answers come again, however the log's files were merged since, and whatever was written
late or after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ...engine.lake import lake_of
from ...engine.settings import Settings
from ...schemas.definitions import Definitions
from ...schemas.errors import NothingServed
from ...state.served import ServedTable, served_services
from ...state.served_columns import status_column
from .applied import applied_definitions


@dataclass
class AnswerLog:
    """One service's served log, read up to `ends` (by writer; None: all of it).

    `share` is the share of its answers that is kept now. `rows` and `writers` are whole once all
    was read: how many rows were in reach, and below which number of each writer.
    """

    service: str
    table: ServedTable
    share: float
    ends: Mapping[str, int] | None = None
    rows: int = 0
    writers: dict[str, int] = field(default_factory=dict)

    def read(
        self,
        columns: Sequence[str],
        first_us: int | None,
        last_us: int,
        progress: Callable[[int], None] = lambda count: None,
    ) -> Iterator[pl.DataFrame]:
        """Rows that were served at instants `[first_us, last_us]`, file by file.

        A frame has those of `columns`, and of those with a type in their name, that its file has.
        Raises `TableUnwritable`, `TableFileLost`.
        """
        for rows in self.table.between(first_us, last_us, columns, progress):
            mine = rows if self.ends is None else _below(rows, self.ends)
            self.rows += mine.height
            ends = mine.group_by("_writer").agg(pl.col("_sequence").max() + 1)
            for writer, end in ends.iter_rows():
                self.writers[writer] = max(end, self.writers.get(writer, 0))
            yield mine

    @property
    def facts(self) -> dict[str, Any]:
        """What was read, for the manifest."""
        return {
            "table": self.table.identity,
            "version": self.table.version,
            "share": self.share,
            "rows": self.rows,
            "writers": dict(sorted(self.writers.items())),
        }


def _below(rows: pl.DataFrame, ends: Mapping[str, int]) -> pl.DataFrame:
    """The rows of known writers below their ends."""
    end = pl.col("_writer").replace_strict(
        list(ends), list(ends.values()), default=0, return_dtype=pl.Int64
    )
    return rows.filter(pl.col("_sequence") < end)


def open_logs(
    settings: Settings,
    features: Sequence[str],
    service: str | None,
    ends: Mapping[str, Mapping[str, int]] | None,
) -> list[AnswerLog]:
    """The logs that have answers for some of `features`, by service.

    Those of `service`, if one is named; those of a set that was made before, if `ends` has them.
    Raises `NothingServed` where there are none, and what opening them raises.
    """
    lake = lake_of(settings)
    there = served_services(lake)
    if ends is not None:
        wanted = [one for one in there if one in ends]
    else:
        wanted = [one for one in there if service in (None, one)]
    shares = _shares(settings)
    found = []
    for one in wanted:
        table = ServedTable(lake, one)
        table.refresh()
        # A table without rows is one whose first answers are being written.
        if table.count() and any(status_column(name) in table.columns for name in features):
            of_before = None if ends is None else ends[one]
            share = shares.get(one, settings.served_share)
            found.append(AnswerLog(one, table, share, of_before))
    if not found:
        raise NothingServed(features=features, service=service, known=there)
    return found


def _shares(settings: Settings) -> dict[str, float]:
    """The shares that services have of their own."""
    applied = applied_definitions(settings) or Definitions()
    services = sorted(applied.services, key=lambda one: one.version)
    return {
        one.name: settings.served_share if one.served_share is None else one.served_share
        for one in services
    }
