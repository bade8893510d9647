"""Where imported rows come from: files, Delta tables and queries, cut into chunks.

A chunk is what is read at a time and what a restart does not read again. Which chunks a source has,
and the rows of each in order, depend on the source alone: files in order of their paths, row groups
in order. A query is one chunk: who stops in it asks again.

Each source has a *mark*, which says what it is: paths, sizes and times of change; the version of a
Delta table; the text of a query with what it is given.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl
import pyarrow as pa
from pyarrow import dataset, fs

from ...schemas.errors import BadRequest, SettingsError
from ...state.delta_source import delta_files
from ...state.object_store import check_options, s3_files
from .texts import json_chunks, text_chunks

CHUNK_ROWS: Final = 524_288
"""Rows of a chunk, more or less: whole row groups."""

BATCH_ROWS: Final = 65_536

SUFFIXES: Final[Mapping[str, str]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".jsonl.gz": "json",
    ".ndjson.gz": "json",
}
"""The endings of files that can be read, and what they say of the content."""

_S3: Final = "s3://"

Rows = pl.DataFrame | list[bytes]
"""Rows as columns, or as records that are JSON already."""


class Chunk(Protocol):
    """Some rows of a source; `rows` is their number where that is known before."""

    @property
    def rows(self) -> int | None: ...

    def read(self) -> Iterator[Rows]:
        """The rows, in order, some at a time."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Rows from elsewhere: their chunks, the mark, and `columns` where the source names them.

    `is_text`: its columns are all text, to be read as the stream's types say (CSV). `pinned`: equal
    marks promise equal rows; a query promises nothing.
    """

    chunks: Sequence[Chunk]
    mark: str
    columns: tuple[str, ...] | None
    is_text: bool = False
    pinned: bool = True

    @property
    def rows(self) -> int | None:
        """How many rows there are, where that is known before they are read."""
        known = [chunk.rows for chunk in self.chunks]
        return None if None in known else sum(one for one in known if one is not None)


@dataclass(frozen=True, slots=True)
class _Groups:
    """Row groups of one Parquet file."""

    fragment: Any
    schema: pa.Schema
    rows: int

    def read(self) -> Iterator[Rows]:
        with _named(self.fragment.path):
            scanner = self.fragment.scanner(schema=self.schema, batch_size=BATCH_ROWS)
            for batch in scanner.to_batches():
                if batch.num_rows:
                    frame = pl.from_arrow(pa.Table.from_batches([batch]))
                    assert isinstance(frame, pl.DataFrame)
                    yield frame


def open_source(place: str, options: Mapping[str, str]) -> Source:
    """The rows at `place`: a file, a glob, a folder or a Delta table; a path or a URL of either.

    `options` are those of the object store that an `s3://` URL means; without them the environment
    says how it is reached. Raises `BadRequest` where there is nothing to read, and `SettingsError`
    for a place that cannot be reached.
    """
    if is_delta(place, options):
        found, version = delta_files(place, options if place.startswith(_S3) else {})
        return _parquet(found, place, f"delta {place} version {version}")
    files, infos = list_files(place, options)
    kinds = {kind_of(info.path) for info in infos}
    if not infos or len(kinds) > 1 or None in kinds:
        raise BadRequest(
            "there is nothing there that can be imported"
            if not infos or None in kinds
            else "these files are of several kinds",
            where=place,
            got=", ".join(sorted({Path(info.path).name for info in infos})[:4]) or "no files",
            expected=f"files that end in {', '.join(SUFFIXES)}, or a Delta table",
            hint="name the files, as in 'history/*.parquet', or give `--query`",
        )
    mark = json.dumps([[info.path, info.size, info.mtime_ns] for info in infos])
    (kind,) = kinds
    if kind == "parquet":
        paths = [info.path for info in infos]
        with _named(place):
            found = dataset.dataset(paths, filesystem=files, format="parquet", partitioning="hive")
        return _parquet(found, place, mark)
    if kind == "csv":
        chunks, columns = text_chunks(files, [info.path for info in infos])
        return Source(chunks, mark, columns, is_text=True)
    return Source(json_chunks(files, [info.path for info in infos]), mark, None)


def is_delta(place: str, options: Mapping[str, str]) -> bool:
    """Whether a Delta table lies there. Raises `SettingsError` for what cannot be reached."""
    if "://" not in place:
        return (Path(place).expanduser() / "_delta_log").is_dir()
    if "*" in place:
        return False
    with _reaching(place):
        files, path = _files_at(place.rstrip("/"), options)
        return bool(files.get_file_info(f"{path}/_delta_log").type == fs.FileType.Directory)


def _files_at(place: str, options: Mapping[str, str]) -> tuple[fs.FileSystem, str]:
    """What reaches a URL, and the path there."""
    if place.startswith(_S3) and options:
        check_options(options, "import_options")
        return s3_files(options), place.removeprefix(_S3)
    files, path = fs.FileSystem.from_uri(place)
    return files, str(path)


@contextmanager
def _reaching(place: str) -> Iterator[None]:
    """Turns what Arrow says of a place into an error that names it."""
    try:
        yield
    except (OSError, pa.ArrowException) as fault:
        raise SettingsError(
            "the source cannot be read",
            where=place,
            got=" ".join(str(fault).split()),
            hint="a bucket's store is reached by the setting `import_options`",
        ) from None


def kind_of(path: str) -> str | None:
    """What a file holds, by its ending; None if that says nothing.

    >>> kind_of("2024/may.csv.gz"), kind_of("may.parquet"), kind_of("may.txt")
    ('csv', 'parquet', None)
    """
    name = path.lower()
    return next((kind for end, kind in SUFFIXES.items() if name.endswith(end)), None)


def list_files(place: str, options: Mapping[str, str]) -> tuple[fs.FileSystem, list[fs.FileInfo]]:
    """The files at `place`, in order of their paths, and where they lie.

    A folder stands for all files below it whose names begin with neither `_` nor `.`.
    """
    with _reaching(place):
        if "://" in place:
            base, star, _ = place.partition("*")
            within = base.rpartition("/")[0] if star else place.rstrip("/")
            files, path = _files_at(within, options)
            pattern = f"{path}/{place[len(within) + 1 :]}" if star else None
        else:
            files = fs.LocalFileSystem()
            path = str(Path(place).expanduser().absolute())
            pattern = path if any(one in path for one in "*?[") else None
            if pattern is not None:
                path = str(_without_wildcards(Path(path)))
        info = files.get_file_info(path)
        if info.type == fs.FileType.File:
            return files, [info]
        if info.type == fs.FileType.NotFound:
            return files, []
        found = files.get_file_info(fs.FileSelector(path, recursive=True))
    kept = [
        one
        for one in found
        if one.type == fs.FileType.File
        and (_visible(one.path, path) if pattern is None else _matches(one.path, pattern))
    ]
    return files, sorted(kept, key=lambda one: str(one.path))


def _without_wildcards(path: Path) -> Path:
    while any(one in str(path) for one in "*?["):
        path = path.parent
    return path


def _visible(path: str, root: str) -> bool:
    return not any(map(_is_hidden, Path(path).relative_to(root).parts))


def _is_hidden(name: str) -> bool:
    """What others have not finished is called so."""
    return name.startswith(("_", "."))


def _matches(path: str, pattern: str) -> bool:
    """As a shell matches: `*` stands for no `/`, but `**` does, for visible folders."""
    parts, wanted = Path(path).parts, Path(pattern).parts
    if "**" in wanted:
        at = wanted.index("**")
        rest = wanted[at + 1 :]
        head, tail = parts[:at], parts[len(parts) - len(rest) :]
        if len(parts) < at + len(rest) or any(map(_is_hidden, parts[at : len(parts) - len(rest)])):
            return False
        return _same(head, wanted[:at]) and _same(tail, rest)
    return _same(parts, wanted)


def _same(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _parquet(found: Any, place: str, mark: str) -> Source:
    """Chunks of whole row groups, each of one file. Files may lack columns that others have."""
    chunks: list[Chunk] = []
    with _named(place):
        fragments = sorted(found.get_fragments(), key=lambda one: str(one.path))
        schemas = [found.schema, *(one.physical_schema for one in fragments)]
        schema = pa.unify_schemas(schemas, promote_options="permissive")
        for fragment in fragments:
            groups: list[int] = []
            rows = 0
            for group in fragment.row_groups:
                groups.append(group.id)
                rows += group.num_rows
                if rows >= CHUNK_ROWS:
                    chunks.append(_Groups(fragment.subset(row_group_ids=groups), schema, rows))
                    groups, rows = [], 0
            if groups:
                chunks.append(_Groups(fragment.subset(row_group_ids=groups), schema, rows))
    return Source(chunks, mark, tuple(schema.names))


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Turns what Arrow says of Parquet files into an error that names the place."""
    try:
        yield
    except (OSError, pa.ArrowException) as fault:
        got = " ".join(str(fault).split())
        raise BadRequest("Parquet files cannot be read", where=place, got=got) from None
