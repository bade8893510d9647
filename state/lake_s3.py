"""The lake in a bucket behind the S3 protocol.

An object is there whole or not at all, and stays once it is. Two commits of one version cannot both
happen: Delta's entries are put only where none is (`If-None-Match`), which the store must know;
AWS, MinIO, Ceph and R2 do. A process that dies while it writes a large file leaves an upload that
the bucket's own rule for unfinished ones has to remove.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import polars as pl
from pyarrow import fs
from pyarrow.parquet import FileMetaData, ParquetFile

from ..schemas.errors import SettingsError
from .lake import Lake, LocalLake, RowFile, RowGroup, Stored
from .object_store import check_options, delta_options, s3_files


def open_lake(place: str, options: Mapping[str, str], project: Path) -> Lake:
    """The lake at `place`: `s3://bucket/prefix`, or a folder, relative to the project's.

    Nothing is touched yet. Raises `SettingsError` for a place or option that means nothing.
    """
    scheme, _, rest = place.partition("://")
    if "://" not in place:
        return LocalLake(project / Path(place).expanduser())
    if scheme == "file":
        return LocalLake(Path(rest))
    if scheme != "s3" or not rest.strip("/"):
        raise SettingsError(
            "the lake cannot lie there",
            where="lake",
            got=place,
            expected="a folder, or s3://bucket/prefix",
        )
    check_options(options, "lake_options")
    return ObjectLake(s3_files(options), rest.strip("/"), delta_options(options))


class ObjectLake:
    """A folder of the lake in a bucket; `root` is bucket and prefix."""

    def __init__(self, files: fs.FileSystem, root: str, options: Mapping[str, str]) -> None:
        self._files = files
        self._root = root
        self.name = f"s3://{root}"
        self.options: Mapping[str, str] | None = options

    def below(self, path: str) -> ObjectLake:
        assert self.options is not None
        return ObjectLake(self._files, f"{self._root}/{path}", self.options)

    def folders(self) -> Sequence[str]:
        selector = fs.FileSelector(self._root, allow_not_found=True)
        found = self._files.get_file_info(selector)
        return sorted(one.base_name for one in found if one.type == fs.FileType.Directory)

    @contextmanager
    def stream(self, path: str) -> Iterator[IO[bytes]]:
        file: Any = self._files.open_output_stream(f"{self._root}/{path}")
        try:
            yield file
        except BaseException:
            with suppress(OSError):  # closing it puts what was written; nobody has named it
                file.close()
                self._files.delete_file(f"{self._root}/{path}")
            raise
        file.close()

    def stored(self, path: str) -> Stored:
        info = self._files.get_file_info(f"{self._root}/{path}")
        if info.type == fs.FileType.NotFound:
            raise FileNotFoundError(f"{self.name}/{path}")
        return Stored(int(info.size), int(info.mtime_ns or 0) // 1_000_000)

    def file(self, path: str) -> RowFile:
        return _ObjectFile(self._files, f"{self._root}/{path}")

    def sync(self, path: str) -> None:
        """What was put is kept."""

    def free_bytes(self) -> int | None:
        return None


class _ObjectFile:
    def __init__(self, files: fs.FileSystem, path: str) -> None:
        self._file = ParquetFile(files.open_input_file(path), pre_buffer=True)
        self.metadata: FileMetaData = self._file.metadata

    def rows(
        self, columns: Sequence[str], group: RowGroup, rows_max: int
    ) -> Iterator[pl.DataFrame]:
        rows = pl.DataFrame(self._file.read_row_group(group.number, columns=list(columns)))
        yield from rows.iter_slices(rows_max)
