"""Taking in a spine: every row is looked at once, before anything is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from ...connectors.rfc3339 import format_instant
from ...engine.progress import Report
from ...schemas.errors import BadSpine
from .asked import Asked
from .fingerprint import bytes_of, canonical
from .instants import instants_of
from .options import TRACE, Options
from .order import Order
from .spine import PIECE_ROWS, encoded_keys
from .spool import Spool, Workspace

AT_US: Final = "_tegula_at_us"
"""The column of instants that is kept beside a spine's own."""


@dataclass
class Intake:
    """A spine that was taken in: its rows, and beside them `_at_us` and a key an entity.

    `first_us` and `last_us` are its first and its last instant; the last lies before the first
    where it has no rows.
    """

    given: Spool
    keyed: Spool
    schema: pl.Schema
    piece_rows: list[int] = field(default_factory=list)
    rows: int = 0
    hash: str = ""
    first_us: int = 2**62
    last_us: int = -(2**62)


def take_in(order: Order, workspace: Workspace, progress: Report) -> Intake:
    """Read the spine. Raises `BadSpine` for the first thing that is wrong with it."""
    taken: Intake | None = None
    digest = hashlib.sha256()
    for piece in even(order.spine.pieces()):
        if taken is None:
            check_columns(piece.schema, order.asked, order.options)
            taken = Intake(workspace.spool(), workspace.spool(), piece.schema)
        at_us = _instants(piece, order, taken.rows)
        keys = [
            encoded_keys(piece, entity, order.options.keys, order.options.zone, taken.rows)
            for entity in order.asked.entities
        ]
        named = [one.alias(f"_key{number}") for number, one in enumerate(keys)]
        taken.given.append(piece.with_columns(pl.Series(AT_US, at_us)))
        beside = [pl.Series("_at_us", at_us), *_traces(piece, order.options)]
        taken.keyed.append(pl.DataFrame([*beside, *named]))
        if len(at_us):
            taken.first_us = min(taken.first_us, int(at_us.min()))
            taken.last_us = max(taken.last_us, int(at_us.max()))
        taken.piece_rows.append(piece.height)
        taken.rows += piece.height
        digest.update(bytes_of(canonical(piece)))
        progress("Reading the spine", taken.rows, None)
    if taken is None:
        raise BadSpine("the spine has no columns", expected="a column of instants, and of keys")
    taken.hash = digest.hexdigest()
    return taken


def even(pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in pieces of `PIECE_ROWS`, the last one shorter: at least one piece.

    So nothing depends on how whatever holds a spine cuts it. Raises `BadSpine` where columns change
    half-way.
    """
    waiting: list[pl.DataFrame] = []
    schema: pl.Schema | None = None
    rows = done = 0
    for given in pieces:
        piece = plain(given)
        schema = schema or piece.schema
        waiting.append(_alike(piece, schema, done + rows))
        rows += piece.height
        while rows >= PIECE_ROWS:
            whole = pl.concat(waiting)
            yield whole[:PIECE_ROWS]
            waiting, rows, done = [whole[PIECE_ROWS:]], rows - PIECE_ROWS, done + PIECE_ROWS
    if rows or (waiting and not done):
        yield pl.concat(waiting)


def plain(piece: pl.DataFrame) -> pl.DataFrame:
    """Categories as texts: their numbers differ from file to file."""
    categories = [
        name for name, dtype in piece.schema.items() if dtype in (pl.Categorical, pl.Enum)
    ]
    return piece.with_columns(pl.col(categories).cast(pl.String)) if categories else piece


def _alike(piece: pl.DataFrame, schema: pl.Schema, first_row: int) -> pl.DataFrame:
    """A piece in the types of the first."""
    if piece.schema == schema:
        return piece
    try:
        return piece.select(pl.col(n).cast(d) for n, d in schema.items())
    except pl.exceptions.PolarsError as fault:
        raise BadSpine(
            "the spine's columns change half-way",
            where=f"row {first_row}",
            got=", ".join(f"{n}: {d}" for n, d in piece.schema.items()),
            expected=", ".join(f"{n}: {d}" for n, d in schema.items()),
        ) from fault


def check_columns(schema: pl.Schema, asked: Asked, options: Options) -> None:
    """Raises `BadSpine` for columns that lack, all of them at once, and for names that clash."""
    keys = {options.keys.get(name, name) for entity in asked.entities for name, _ in entity}
    traces = [] if options.trace is None else [options.trace]
    wanted = [options.at, *sorted(keys), *traces, *asked.labels]
    missing = [name for name in dict.fromkeys(wanted) if name not in schema]
    if missing:
        raise BadSpine(
            f"the spine has no column {', '.join(map(repr, missing))}",
            where="spine",
            got=", ".join(schema),
            expected="the instants, every key column of the features, and the labels",
            hint="`at` names the column of instants; `keys` says which one is a key, by its name",
        )
    taken = [name for name in schema if name in asked.columns or name.startswith("_tegula")]
    if taken:
        raise BadSpine(
            "the spine has a column with the name of a feature",
            where=f"column {taken[0]!r}",
            hint="rename it, or leave it out",
        )


def _instants(piece: pl.DataFrame, order: Order, first_row: int) -> np.ndarray:
    where = f"column {order.options.at!r}"
    at_us = instants_of(piece[order.options.at], order.options.zone, first_row, where)
    future = np.flatnonzero(at_us > order.now_us)
    if len(future):
        row = int(future[0])
        raise BadSpine(
            f"row {first_row + row} of the spine lies in the future",
            where=where,
            got=str(format_instant(int(at_us[row]))),
            expected=f"instants up to now, {format_instant(order.now_us)}",
            hint="nobody knows yet what will be served then; leave such rows out",
        )
    return at_us


def _traces(piece: pl.DataFrame, options: Options) -> list[pl.Series]:
    """The column of trace ids, as the served log writes them, if there is to be one."""
    if options.trace is None:
        return []
    column = piece[options.trace]
    if column.dtype not in (pl.String, pl.Null):
        raise BadSpine(
            "this column holds no trace ids",
            where=f"column {options.trace!r}",
            got=str(column.dtype),
            expected="text of 32 hex digits",
        )
    return [column.cast(pl.String).str.to_lowercase().alias(TRACE)]
