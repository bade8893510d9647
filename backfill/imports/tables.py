"""Materialisation of a table: of a source, the rows that are new or have changed.

Each materialisation is an import. What tells a row of the table from others is its key and its
validity time; its content is all its columns. A row is imported if the table has none such yet, or
one with another content: the later one then counts, because it has the later position. So reading
the whole source again imports nothing, and a correction is one more row, which landed when it was
imported. Rows that the source has no more stay: what a table said at an instant in the past is not
forgotten.

Beside its parts an import keeps `rows.parquet`: which rows it brought, as hashes (128 bits of key
and time, 64 of the content).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from ...connectors.imports import Import, ImportFile
from ...engine.settings import Settings
from ...state.durable import write_durably
from .importing import SIZES, STAGING, Asked, Progress, Sizes, adding, begin, hold, opened, rules
from .merging import Chosen, landed, merge
from .staging import NO_TIME_US, Held, Judge, Run, ids_of, stage, times_of

NAME: Final = "materialize"
ROWS: Final = "rows.parquet"
_ID: Final = ["id_high", "id_low"]
_IDS: Final = {"id_high": pl.UInt64(), "id_low": pl.UInt64(), "content": pl.UInt64()}


@dataclass(frozen=True, slots=True)
class Materialized:
    """What a materialisation found in the source, and what of it was new or had changed.

    `entry` is None where there was nothing to import.
    """

    held: Held
    entry: Import | None

    @property
    def rows(self) -> int:
        """Rows that were imported."""
        return 0 if self.entry is None else self.entry.count


def newest_us(settings: Settings, table: str) -> int | None:
    """The newest validity time that was materialised; None before the first."""
    with opened(settings, table) as file:
        return max((one.last_us for one in _own(file) if one.last_us is not None), default=None)


def materialize(
    settings: Settings, asked: Asked, now_us: int, progress: Progress, sizes: Sizes = SIZES
) -> Materialized:
    """Import what of the source is new or has changed; `asked.keys` are the table's.

    One that was stopped goes on if it is asked for the same again. Raises what `import_rows`
    raises, but for `ImportChanged`. Memory: 32 bytes a row of the source and of the table.
    """
    root = settings.imports_path(asked.stream.name).with_suffix("")
    with hold(root / NAME), opened(settings, asked.stream.name) as file:
        before = _own(file)
        for one in before:
            shutil.rmtree(root / one.name / STAGING, ignore_errors=True)
        asked = replace(asked, name=f"{NAME}-{len(before) + 1:06d}")
        folder = root / asked.name
        began_us = begin(folder, asked, now_us)
        judge = Judge(rules(settings, asked, began_us), asked.converter)
        reading = adding(progress, "Reading", asked.source.rows)
        runs, held = stage(folder / STAGING, asked.source.chunks, judge, reading, sizes.run_rows)
        changed = _changed(runs, [root / one.name / ROWS for one in before])
        if not changed.height:
            shutil.rmtree(folder)
            return Materialized(held, None)
        chosen = _rows_by_run(changed)
        writing = adding(progress, "Sorting", changed.height)
        landing = landed(began_us, asked.delay_us)
        parts = merge(folder, runs, chosen, landing, writing, sizes.part_rows)
        write_durably(folder / ROWS, changed.select(*_IDS).write_parquet)
        entry = file.add(_entry(asked, runs, chosen, began_us), parts)
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        return Materialized(held, entry)


def _own(file: ImportFile) -> list[Import]:
    return [one for one in file.imports() if one.name.startswith(f"{NAME}-")]


def _changed(runs: Sequence[Run], indices: Sequence[Path]) -> pl.DataFrame:
    """Of each row of the table the last in the source, where the table has it not, or otherwise."""
    found = ids_of(runs)
    if not found.height:
        return found
    found = found.unique(_ID, keep="last", maintain_order=True)
    if not indices:
        return found.with_columns(corrects=pl.lit(False))
    known = pl.concat([pl.read_parquet(path) for path in indices])
    known = known.unique(_ID, keep="last", maintain_order=True)
    changed = found.join(known, on=[*_IDS], how="anti", maintain_order="left")
    there = known.select(*_ID, corrects=pl.lit(True))
    changed = changed.join(there, on=_ID, how="left", maintain_order="left")
    return changed.with_columns(pl.col("corrects").fill_null(False))


def _rows_by_run(changed: pl.DataFrame) -> dict[int, Chosen]:
    return {
        int(number): Chosen(rows["row"].cast(pl.Int64).to_numpy(), rows["corrects"].to_numpy())
        for (number,), rows in changed.sort("run", "row").group_by("run", maintain_order=True)
    }


def _entry(asked: Asked, runs: Sequence[Run], chosen: dict[int, Chosen], began_us: int) -> Import:
    times = np.concatenate([times_of(runs[number])[one.rows] for number, one in chosen.items()])
    good = times[(times != NO_TIME_US) & (times <= began_us + asked.stream.ahead_us)]
    return Import(
        name=asked.name,
        first_offset=0,
        count=len(times),
        bad=len(times) - len(good),
        imported_us=began_us,
        delay_us=asked.delay_us,
        first_us=int(good.min()) if len(good) else None,
        last_us=int(good.max()) if len(good) else None,
        digest="",
        request=asked.described,
    )
