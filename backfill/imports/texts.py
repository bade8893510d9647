"""Rows of text files: CSV, and newline-delimited JSON. A file is a chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import pyarrow as pa
from pyarrow import csv, fs

from ...schemas.errors import BadRequest

_BLOCK_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class _Csv:
    files: fs.FileSystem
    path: str
    columns: tuple[str, ...]
    rows: int | None = None

    def read(self) -> Iterator[pl.DataFrame | list[bytes]]:
        """Columns of text; lines that are no rows of the file come as they are, after them."""
        odd: list[bytes] = []

        def keep(row: Any) -> str:
            odd.append(row.text.encode())
            return "skip"

        with _named(self.path), opened(self.files, self.path) as stream:
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                _parsing(keep),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(self.columns, pa.large_string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                ),
            )
            for batch in reader:
                frame = pl.from_arrow(pa.Table.from_batches([batch]))
                assert isinstance(frame, pl.DataFrame)
                yield frame
                if odd:
                    yield odd[:]
                    odd.clear()
        if odd:
            yield odd


def text_chunks(files: fs.FileSystem, paths: Sequence[str]) -> tuple[list[_Csv], tuple[str, ...]]:
    """A chunk a CSV file, and the columns of all. Raises `BadRequest` for an empty file."""
    headers = [_header(files, path) for path in paths]
    chunks = [_Csv(files, path, header) for path, header in zip(paths, headers, strict=True)]
    return chunks, tuple(dict.fromkeys(name for header in headers for name in header))


def _parsing(odd: Callable[[Any], str]) -> csv.ParseOptions:
    return csv.ParseOptions(invalid_row_handler=odd, newlines_in_values=True)


def _header(files: fs.FileSystem, path: str) -> tuple[str, ...]:
    with _named(path), opened(files, path) as stream:
        options = csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
        reader = csv.open_csv(stream, options, _parsing(lambda row: "skip"))
        return tuple(reader.schema.names)


@dataclass(frozen=True, slots=True)
class _Json:
    files: fs.FileSystem
    path: str
    rows: int | None = None

    def read(self) -> Iterator[list[bytes]]:
        with _named(self.path), opened(self.files, self.path) as stream:
            begun = b""
            while piece := stream.read(_BLOCK_BYTES):
                whole, newline, begun = (begun + piece).rpartition(b"\n")
                if newline and (lines := _lines(whole)):
                    yield lines
            if lines := _lines(begun):
                yield lines


def json_chunks(files: fs.FileSystem, paths: Sequence[str]) -> list[_Json]:
    """A chunk a file of newline-delimited JSON; blank lines are none."""
    return [_Json(files, path) for path in paths]


def _lines(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.strip()]


def opened(files: fs.FileSystem, path: str) -> Any:
    """A file as a stream of bytes, unpacked if its name says that it is packed."""
    return files.open_input_stream(path, compression="gzip" if path.endswith(".gz") else None)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Turns what Arrow says of a file into an error that names it."""
    try:
        yield
    except OSError as fault:  # which a damaged gzip is, too
        got = " ".join(str(fault).split())
        raise BadRequest("a file of the source cannot be read", where=path, got=got) from None
    except pa.ArrowException as fault:
        raise BadRequest(
            "this CSV file cannot be read",
            where=path,
            got=" ".join(str(fault).split()),
            expected="UTF-8, commas, a first line that names the columns",
            hint="give `--query` for other kinds: SELECT * FROM read_csv('…', delim = ';')",
        ) from None
