"""The archived events of some keys, each judged from its own row.

Whether an event was folded or expired is decided from what the archive wrote beside it: its time,
the partition's watermark at it, and what is said of copies and of what was driven again. Nothing
here goes through the steps that live ingest takes, nor through what they have stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from ...engine.deployed import columns_read
from ...engine.plan import Build, StreamPlan
from ...engine.steps.judge import Judge
from ...schemas.nodes import to_run
from ...schemas.redriven import COPY, LATE, is_redriven
from ...state.archive_files import ArchiveFiles
from ...state.delta_files import ROW_GROUP_ROWS
from ...windows.algebra import Bools, Int64s, Order
from ...windows.instants import EventRows
from ...windows.lifting import take_order, take_rows

_OWN: Final = ("_offset", "_log_us", "_watermark_us", "_change", "_code")
_KEY: Final = "_key"

Progress = Callable[[int], None]
"""Is told how many more archived records were read."""


@dataclass(frozen=True, slots=True)
class Events:
    """n events of some keys of a build that passed its `where`.

    `rows.key` numbers the keys. `log_us` int64 (n,); `folded` bool (n,): what the live state
    counts; `original` bool (n,): what is not driven again for having been too late. `partitions`
    names the ordinals of `rows.order`.
    """

    rows: EventRows
    log_us: Int64s
    folded: Bools
    original: Bools
    partitions: Mapping[int, str]

    def as_keys(self, chosen: Int64s, key: Int64s) -> EventRows:
        """The events at `chosen`, each under another number of a key."""
        rows = self.rows
        columns = tuple(take_rows(column, chosen) for column in rows.inputs)
        return EventRows(key, take_order(rows.order, chosen), columns)


class Archived:
    """The archive of one stream, read for some keys at a time."""

    def __init__(
        self, files: ArchiveFiles, stream: StreamPlan, ordinals: Mapping[str, int]
    ) -> None:
        self._files = files
        self._stream = stream
        self._ordinals = ordinals
        files.refresh()

    def ends(self) -> dict[int, int]:
        """By ordinal, the offset up to which a partition is archived."""
        return {
            ordinal: self._files.bounds(partition)[1]
            for partition, ordinal in self._ordinals.items()
        }

    def events(
        self,
        build: Build,
        keys: pl.DataFrame,
        oldest_us: int | None,
        progress: Progress = lambda count: None,
    ) -> Events:
        """The events of `keys`: distinct, numbered by their place; one with a null has none.

        None from before `oldest_us`. Raises what reading the archive raises. O(archived rows).
        """
        names = [name for name, _ in build.entity_keys]
        wanted = keys.select(names).with_row_index(_KEY)
        event_time = self._stream.event_time
        columns = dict.fromkeys((*_OWN, event_time, *columns_read(build)))
        found = []
        for partition in self._files.partitions():
            ordinal = self._ordinals.get(partition)
            for span in self._files.spans(partition, 0) if ordinal is not None else ():
                for rows in span.rows([*columns], 0, ROW_GROUP_ROWS):
                    progress(rows.height)
                    some = _good(rows, [*columns], self._stream).join(wanted, on=names, how="inner")
                    if oldest_us is not None:
                        some = some.filter(pl.col(event_time).to_physical() >= oldest_us)
                    if some.height:
                        found.append(some.with_columns(pl.lit(ordinal, pl.Int64).alias("_ordinal")))
        return self._judged(build, found)

    def _judged(self, build: Build, found: list[pl.DataFrame]) -> Events:
        names = {ordinal: partition for partition, ordinal in self._ordinals.items()}
        if not found:
            found = [self._nothing(build)]
        frame = pl.concat(found)
        if build.where is not None:
            frame = frame.filter(to_run(build.where).fill_null(False))
        event_us = _int64(frame[self._stream.event_time])
        watermark_us, log_us = _int64(frame["_watermark_us"]), _int64(frame["_log_us"])
        ordinal = _int64(frame["_ordinal"])
        redriven = np.array([o for o, name in names.items() if is_redriven(name)], np.int64)
        late = (frame["_change"] == LATE).fill_null(False).to_numpy()
        again = np.isin(ordinal, redriven) & late
        expired = _behind(event_us, watermark_us, build.expiry_us)
        mended = expired & ~_behind(event_us, watermark_us, build.foldable_us)
        inputs, _ = Judge(build).columns(frame, np.arange(frame.height))
        order = Order(event_us, ordinal, _int64(frame["_offset"]))
        rows = EventRows(_int64(frame[_KEY]), order, tuple(inputs))
        return Events(rows, log_us, np.where(again, mended, ~expired), ~again, names)

    def _nothing(self, build: Build) -> pl.DataFrame:
        types = {name: self._stream.schema[name].polars for name in columns_read(build)}
        own = {"_offset": pl.Int64(), "_log_us": pl.Int64(), "_watermark_us": pl.Int64()}
        return pl.DataFrame(
            schema={
                **own,
                "_change": pl.String(),
                self._stream.event_time: pl.Datetime("us", "UTC"),
                **types,
                _KEY: pl.Int64(),
                "_ordinal": pl.Int64(),
            }
        )


def _good(rows: pl.DataFrame, columns: list[str], stream: StreamPlan) -> pl.DataFrame:
    """The rows that are events and no copies of others, with all columns, in their types."""
    if "_code" in rows.columns:
        rows = rows.filter(pl.col("_code").is_null())
    if "_change" in rows.columns:
        rows = rows.filter(pl.col("_change").ne_missing(COPY))
    types = {name: stream.schema[name].polars for name in columns if name in stream.schema}
    there = set(rows.columns)
    return rows.select(
        (pl.col(name) if name in there else pl.lit(None).alias(name)).cast(
            types.get(name, pl.String() if name == "_change" else pl.Int64())
        )
        for name in columns
        if name != "_code"
    )


def _behind(event_us: Int64s, watermark_us: Int64s, bound_us: int | None) -> Bools:
    """Events further behind their watermark than a bound; None: none is."""
    if bound_us is None:
        return np.zeros(len(event_us), np.bool_)
    return event_us + bound_us < watermark_us  # added: there may be no watermark yet


def _int64(column: pl.Series) -> Int64s:
    return column.to_physical().cast(pl.Int64).to_numpy()
