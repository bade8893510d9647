"""A finished training set: its rows, its statistics, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa

from ...schemas.time import Duration
from ...state.dataset_files import DatasetWriter, files_of
from .statistics import as_frame

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

_OLDEST: Final = pl.CompatLevel.oldest()


class TrainingSet:
    """Rows with features, in the order of their spine. In memory, or in a folder (`path`).

    Columns: those of the spine, then a column a feature, named `view:feature`; of those that were
    asked for beside the values `view:feature|status`, `|event_time`, `|start`, `|end`; by the clock
    `served` `|status`, `|served_at`, `|request`, `|trace_id`.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        frame: pl.DataFrame | None = None,
        path: Path | None = None,
    ) -> None:
        self.manifest = manifest
        self.path = path
        self._frame = frame

    @property
    def rows(self) -> int:
        """How many rows it has: as many as its spine."""
        return int(self.manifest["rows"])

    @property
    def late_rows(self) -> int:
        """In how many rows an event counts that was not known yet at the row's instant.

        By the clocks `known` and `served` there are none. For these rows training and serving
        differ.
        """
        return int(self.manifest["late_rows"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever uses it should know of the events that it was made from."""
        return tuple(self.manifest["notes"])

    @property
    def statistics(self) -> pl.DataFrame:
        """A row a column: counts, bounds, mean and standard deviation."""
        return as_frame(self.manifest["statistics"])

    @property
    def statuses(self) -> pl.DataFrame:
        """How often each feature has which status: columns `column`, `status`, `rows`."""
        counts = [
            (one["column"], status, rows)
            for one in self.manifest["statistics"]
            for status, rows in one.get("statuses", {}).items()
        ]
        return pl.DataFrame(
            counts,
            schema={"column": pl.String, "status": pl.String, "rows": pl.Int64},
            orient="row",
        )

    def pieces(self) -> Iterator[pl.DataFrame]:
        """Its rows, some at a time, in order."""
        if self._frame is not None:
            yield from self._frame.iter_slices()
        else:
            assert self.path is not None, "a set is in memory or in a folder"
            for file in files_of(self.path):
                yield from pl.scan_parquet(file).collect_batches(maintain_order=True)

    def to_polars(self) -> pl.DataFrame:
        """All rows as a frame of Polars."""
        if self._frame is not None:
            return self._frame
        assert self.path is not None, "a set is in memory or in a folder"
        return pl.scan_parquet(list(files_of(self.path))).collect()

    def to_arrow(self) -> pa.Table:
        """All rows as a table of Arrow."""
        return self.to_polars().to_arrow(compat_level=_OLDEST)

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a frame of pandas, which must be installed."""
        return self.to_arrow().to_pandas()

    def to_delta(self, path: str | Path, *, replace: bool = False) -> Path:
        """Write all rows as a Delta table, with the manifest in it; gives its folder.

        Raises `DatasetExists` where there is something already, unless it is to be replaced.
        """
        from .manifest import put

        writer = DatasetWriter(Path(path), replace=replace)
        try:
            for piece in self.pieces():
                writer.write(piece)
            put(writer, self.manifest)
            return writer.folder
        finally:
            writer.drop()

    def split_by_time(
        self, *cuts: str, embargo: Duration | None = None
    ) -> tuple[pl.DataFrame, ...]:
        """Rows before, between and after instants, with a gap of `embargo` before each.

        See `split.split_by_time`: labels of an earlier part are known when a later one begins.
        """
        from .split import split_by_time

        return split_by_time(self, *cuts, embargo=embargo)

    def split_by_entity(
        self,
        shares: Sequence[float] = (0.8, 0.2),
        *,
        keys: Sequence[str] | None = None,
        seed: int = 0,
    ) -> tuple[pl.DataFrame, ...]:
        """Rows by hash of their key: no key is in two parts. See `split.split_by_entity`."""
        from .split import split_by_entity

        return split_by_entity(self, shares, keys=keys, seed=seed)

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else str(self.path)
        return f"TrainingSet({self.rows} rows, {len(self.manifest['columns'])} features, {where})"
