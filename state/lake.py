"""Where Delta tables lie: a folder here, or a bucket behind the S3 protocol (`lake_s3.py`).

    log/<stream>              the archive
    dead_letter/<stream>      records that could not become events

Delta's log is the library's affair, which knows both kinds of place by a URI; what is here are the
data files, which we write and read ourselves. Promise: what was written by `stream` is whole, and
survives a loss of power. What the place refuses comes as `OSError`, or as what the
libraries raise: `delta_files.usable` gives it a name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import polars as pl
from pyarrow.parquet import FileMetaData, read_metadata

from .durable import sync_file


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that was written: its bytes, and when that was, ms since the epoch."""

    size_bytes: int
    modified_ms: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A part of a Parquet file that is decoded by itself: its number, first row, and rows."""

    number: int
    first: int
    size: int


class RowFile(Protocol):
    """A Parquet file that is read a piece at a time."""

    @property
    def metadata(self) -> FileMetaData:
        """What it says of itself."""
        ...

    def rows(
        self, columns: Sequence[str], group: RowGroup, rows_max: int
    ) -> Iterator[pl.DataFrame]:
        """The rows of one group in their order, at most `rows_max` a frame."""
        ...


class Lake(Protocol):
    """A folder of the lake, such as a table's; paths are relative to it, with `/` between."""

    @property
    def name(self) -> str:
        """The folder, as errors name it and as Delta finds it."""
        ...

    @property
    def options(self) -> Mapping[str, str] | None:
        """What Delta needs to know to reach it."""
        ...

    def below(self, path: str) -> Lake:
        """A folder in it, which need not be there."""
        ...

    def folders(self) -> Sequence[str]:
        """The names of the folders in it, sorted; none where it is not there."""
        ...

    def stream(self, path: str) -> AbstractContextManager[Any]:
        """A context with a file to be written from beginning to end; durable when it has ended.

        Where it ends by an error, nothing is there.
        """
        ...

    def stored(self, path: str) -> Stored:
        """What is there. Raises `FileNotFoundError`."""
        ...

    def file(self, path: str) -> RowFile:
        """A Parquet file, to be read."""
        ...

    def sync(self, path: str) -> None:
        """Make a file that somebody else wrote survive a loss of power; `""` is the folder."""
        ...

    def free_bytes(self) -> int | None:
        """What can still be written there; None where nobody knows."""
        ...


class LocalLake:
    """A folder on a disk of this machine, or one that it has mounted."""

    options: Mapping[str, str] | None = None

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = str(root)

    def below(self, path: str) -> LocalLake:
        return LocalLake(self.root / path)

    def folders(self) -> Sequence[str]:
        try:
            with os.scandir(self.root) as found:
                return sorted(one.name for one in found if one.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    @contextmanager
    def stream(self, path: str) -> Iterator[IO[bytes]]:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with place.open("wb") as file:
                yield file
        except BaseException:
            with suppress(OSError):
                place.unlink()
            raise
        sync_file(place)
        for folder in Path(path).parents:
            sync_file(self.root / folder)

    def stored(self, path: str) -> Stored:
        status = (self.root / path).stat()
        return Stored(status.st_size, status.st_mtime_ns // 1_000_000)

    def file(self, path: str) -> RowFile:
        return _LocalFile(self.root / path)

    def sync(self, path: str) -> None:
        sync_file(self.root / path)

    def free_bytes(self) -> int | None:
        there = next((one for one in (self.root, *self.root.parents) if one.exists()), Path("/"))
        return shutil.disk_usage(there).free


class _LocalFile:
    def __init__(self, path: Path) -> None:
        self.metadata = read_metadata(path)
        self._scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)

    def rows(
        self, columns: Sequence[str], group: RowGroup, rows_max: int
    ) -> Iterator[pl.DataFrame]:
        file, end = self._scan.select(columns), group.first + group.size
        for first in range(group.first, end, rows_max):
            yield file.slice(first, min(rows_max, end - first)).collect()


def as_lake(root: Path | Lake) -> Lake:
    """A folder of this machine as a lake; a lake as it is."""
    return LocalLake(root) if isinstance(root, Path) else root
