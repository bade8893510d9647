"""Rows that a query of a database gives, a piece at a time, by way of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import sqlalchemy as sa

from ..schemas.errors import BadSpine


def query_rows(query: str, connection: Any, rows_max: int) -> Iterator[pl.DataFrame]:
    """The rows of a query in the order in which the database gives them, at most `rows_max` a time.

    `connection` is a URL or an engine of SQLAlchemy. A column has the type of the first piece in
    which it has a value. Raises `BadSpine` for what the database does not answer.
    """
    is_own = isinstance(connection, str)
    known: dict[str, pl.DataType] = {}
    try:
        engine = sa.create_engine(connection) if is_own else connection
        with engine.connect().execution_options(yield_per=rows_max) as link:
            rows = link.execute(sa.text(query))
            names = list(rows.keys())
            some = False
            for part in rows.partitions():
                piece = pl.DataFrame(
                    [tuple(row) for row in part],
                    schema=names,
                    orient="row",
                    infer_schema_length=None,
                    schema_overrides=known,
                )
                known |= {name: dtype for name, dtype in piece.schema.items() if dtype != pl.Null}
                some = True
                yield piece
            if not some:
                yield pl.DataFrame(schema=names)
        if is_own:
            engine.dispose()
    except sa.exc.SQLAlchemyError as fault:
        said = " ".join(str(getattr(fault, "orig", None) or fault).split())
        raise BadSpine("the query failed", where=query, got=said) from fault
