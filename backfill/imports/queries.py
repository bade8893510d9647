"""Rows that a query gives, run by DuckDB: over files, over a DuckDB database, over what it reads.

DuckDB is an extra (`tegula[sql]`), imported only here. A query is one chunk. Rows keep the order in
which it gives them; a query without ORDER BY may give rows of one instant in another order the next
time, which decides nothing but ties.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa

from ...schemas.errors import BadRequest
from .sources import BATCH_ROWS, Source

SINCE: Final = "$since"
"""In a query: the instant from which on rows are wanted, a TIMESTAMPTZ."""


@dataclass(frozen=True, slots=True)
class _Query:
    database: str | None
    query: str
    since_us: int | None
    rows: int | None = None

    def read(self) -> Iterator[pl.DataFrame]:
        with _connected(self.database) as connection, _named(self.query):
            given = _given(self.query, self.since_us)
            relation = connection.sql(self.query, params=given or None)
            for batch in relation.to_arrow_reader(BATCH_ROWS):
                if batch.num_rows:
                    frame = pl.from_arrow(pa.Table.from_batches([batch]))
                    assert isinstance(frame, pl.DataFrame)
                    yield frame


def query_source(query: str, database: str | None, since_us: int | None = None) -> Source:
    """The rows of `query`, over a DuckDB database or without one (None, or the empty text).

    `$since` in it stands for `since_us`; before all times where that is None. Raises `BadRequest`
    where DuckDB is not installed, or does not take the query.
    """
    database = database or None
    with _connected(database) as connection, _named(query):
        given = _given(query, since_us)
        relation = connection.sql(query, params=given or None)
        if relation is None:
            raise BadRequest("the query gives no rows", where=query, expected="a SELECT")
        columns = tuple(map(str, relation.columns))
    mark = json.dumps({"query": query, "database": _mark(database), "since_us": since_us})
    return Source([_Query(database, query, since_us)], mark, columns, pinned=False)


def _given(query: str, since_us: int | None) -> dict[str, Any]:
    if SINCE not in query:
        return {}
    since_us = since_us if since_us is not None else -62_135_596_800_000_000
    seconds, rest_us = divmod(since_us, 1_000_000)
    at = datetime.fromtimestamp(0, UTC).timestamp() + seconds
    return {"since": datetime.fromtimestamp(at, UTC).replace(microsecond=rest_us)}


def _mark(database: str | None) -> list[Any] | None:
    if database is None:
        return None
    status = Path(database).stat()
    return [database, status.st_size, status.st_mtime_ns]


def _connected(database: str | None) -> Any:
    try:
        import duckdb
    except ModuleNotFoundError:
        raise BadRequest(
            "queries need DuckDB, which is not installed",
            where="--query",
            hint="pip install 'tegula[sql]'",
        ) from None
    if database is not None and not Path(database).is_file():
        raise BadRequest(
            "there is no such DuckDB database",
            where=database,
            expected="with `--query`, a DuckDB database or nothing: the query itself names files",
        )
    try:
        connection = duckdb.connect(database or ":memory:", read_only=database is not None)
        connection.execute("SET TimeZone = 'UTC'")
    except duckdb.Error as fault:
        raise BadRequest(
            "the DuckDB database cannot be read", where=database or "", got=_one_line(fault)
        ) from None
    return connection


@contextmanager
def _named(query: str) -> Iterator[None]:
    """Turns what DuckDB raises into an error that names the query."""
    import duckdb

    try:
        yield
    except duckdb.Error as fault:
        raise BadRequest(
            "DuckDB does not take the query", where=query, got=_one_line(fault)
        ) from None


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())
