"""Training sets on disk: a folder that is a Delta table, written once and put in place whole.

Nothing is there before everything is: the table is written beside its place and renamed. So a
reader sees the whole set or none, and a build that was killed is simply begun again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction, RemoveAction

from ..schemas.errors import BadSpine, DatasetExists
from .delta_files import Part, usable, write_file
from .durable import sync_file
from .lake import LocalLake

FILE_ROWS: Final = 1 << 20
"""Rows of a file at most; a file is in memory while it is written."""

NO_DELTA: Final = (pl.Duration, pl.Time, pl.Object, pl.Null, pl.Int128)
"""Types that no Delta table has."""

_BUILDING: Final = ".building-"
_REPLACED: Final = ".replaced-"


class DatasetWriter:
    """Writes a table at `folder`, visible once it is `put`. Raises `DatasetExists`, `SinkError`.

    What is there is only replaced where `replace` says so.
    """

    def __init__(self, folder: Path, *, replace: bool = False) -> None:
        self.folder = folder.absolute()
        self._replace = replace
        _finish_replacing(self.folder)
        self._check()
        for left in self.folder.parent.glob(f".{self.folder.name}{_BUILDING}*"):
            shutil.rmtree(left, ignore_errors=True)  # of a build that was killed
        name = f".{self.folder.name}{_BUILDING}{uuid4().hex[:8]}"
        self.building = self.folder.parent / name
        self._actions: list[AddAction | RemoveAction] = []
        self._waiting: list[pl.DataFrame] = []
        self._rows = 0
        self._schema: pl.Schema | None = None
        self.hashes: list[str] = []
        """SHA-256 of each file, in order."""

    def _check(self) -> None:
        there = self.folder.exists() and (self.folder.is_file() or any(self.folder.iterdir()))
        if there and not self._replace:
            raise DatasetExists(where=str(self.folder))

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows; of any number."""
        frame = frame.select(delta_column(column) for column in frame.iter_columns())
        self._schema = frame.schema
        self._waiting.append(frame)
        self._rows += frame.height
        while self._rows >= FILE_ROWS:
            waiting = pl.concat(self._waiting)
            self._write(waiting[:FILE_ROWS])
            self._waiting = [waiting[FILE_ROWS:]]
            self._rows = len(self._waiting[0])

    def _write(self, rows: pl.DataFrame) -> None:
        name = f"part-{len(self._actions):05}.parquet"
        action = write_file(LocalLake(self.building), Part({}, rows), name)
        with usable(self.building), (self.building / action.path).open("rb") as file:
            self.hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
        self._actions.append(action)

    def finish(self) -> None:
        """Write the rest, and the table's log. Nothing is visible yet."""
        assert self._schema is not None, "a set has columns, if not rows"
        if self._rows or not self._actions:
            rows = pl.concat(self._waiting)
            self._write(rows)
        self._waiting = []
        with usable(self.building):
            empty = pl.DataFrame(schema=self._schema).to_arrow(compat_level=_OLDEST)
            columns = Schema.from_arrow(empty.schema)
            table = DeltaTable.create(str(self.building), columns, name=self.folder.name)
            table.create_write_transaction(
                self._actions, mode="append", schema=table.schema(), partition_by=[]
            )

    def add(self, path: str, content: bytes) -> None:
        """Put a file of another kind beside the table's."""
        with usable(self.building), LocalLake(self.building).stream(path) as file:
            file.write(content)

    def put(self) -> None:
        """Let the folder be what was written, in one step."""
        with usable(self.folder):
            if self.folder.exists():
                self._check()
                aside = self.folder.parent / f".{self.folder.name}{_REPLACED}{uuid4().hex[:8]}"
                self.folder.replace(aside)
                self.building.replace(self.folder)
                shutil.rmtree(aside, ignore_errors=True)
            else:
                self.building.replace(self.folder)
            sync_file(self.folder.parent)

    def drop(self) -> None:
        """Forget what was written; harmless after `put`."""
        shutil.rmtree(self.building, ignore_errors=True)


_OLDEST: Final = pl.CompatLevel.oldest()


def _finish_replacing(folder: Path) -> None:
    """Put back what a killed build had moved aside, if nothing came in its place."""
    for aside in folder.parent.glob(f".{folder.name}{_REPLACED}*"):
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.replace(folder)


def delta_column(column: pl.Series) -> pl.Series:
    """A column in a type that Delta has. Raises `BadSpine` for one that has none.

    >>> delta_column(pl.Series("a", [1], pl.UInt8)).dtype, delta_column(pl.Series("a", ["x"])).dtype
    (Int64, String)
    """
    dtype = column.dtype
    if dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if dtype.is_unsigned_integer():
        return column.cast(pl.Int64)
    if isinstance(dtype, pl.Datetime) and dtype.time_unit != "us":
        return column.dt.cast_time_unit("us")
    if dtype in NO_DELTA:
        raise BadSpine(
            "a Delta table has no such type",
            where=f"column {column.name!r}",
            got=str(dtype),
            hint="cast the column, or leave it out",
        )
    return column


def scan_delta(path: Path, version: int | None = None) -> pl.LazyFrame:
    """The rows of a Delta table, in the order of its files' names within their commits."""
    with usable(path):
        table = DeltaTable(str(path), version=version)
        actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        if any(name.startswith("partition.") for name in (actions[0] if actions else {})):
            return pl.scan_delta(table)
        # In the order in which they were added: the library gives the newest first.
        uris = sorted(actions, key=lambda action: (action["modification_time"], action["path"]))
        files = [path / action["path"] for action in uris]
    return pl.scan_parquet(files, hive_partitioning=False)


def delta_version(path: Path) -> int:
    """The table's newest version. Raises `TableUnwritable`."""
    with usable(path):
        return DeltaTable(str(path)).version()


def files_of(folder: Path) -> Iterator[Path]:
    """The data files of a table that a `DatasetWriter` wrote, in their order."""
    with usable(folder):
        table = DeltaTable(str(folder))
        actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    for action in sorted(actions, key=lambda one: one["path"]):
        yield folder / action["path"]


__all__ = ["DatasetWriter", "delta_column", "delta_version", "files_of", "scan_delta"]
