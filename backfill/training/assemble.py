"""Rows in the spine's order again: its own columns, then features and labels as they were asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from ...schemas.outcomes import Status
from .asked import Asked
from .intake import AT_US, Intake
from .options import Options
from .spool import Spool

STATUSES: Final = tuple(status.name for status in Status)
UNKNOWN: Final = "NOT_KNOWN_YET"
"""Of a label: its outcome delay is not over."""
NOT_SERVED: Final = "NOT_SERVED"
"""By the clock `served`: nobody had been answered what is asked for, or not lately enough."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of the set; in how many of them late events count; statuses by feature."""

    rows: pl.DataFrame
    late: int
    statuses: Mapping[str, Mapping[str, int]]


def assembled(
    asked: Asked, options: Options, taken: Intake, outputs: Sequence[Sequence[Spool]], now_us: int
) -> Iterator[Piece]:
    """The set, piece by piece.

    `outputs` holds for each part the spools of its buckets, each with a frame a piece.
    """
    readers = [[spool.read() for spool in of_part] for of_part in outputs]
    for given in taken.given.read():
        columns: dict[str, pl.Series] = {}
        late = np.zeros(given.height, np.bool_)
        for of_part in readers:
            frame = pl.concat([next(one) for one in of_part]).sort("_row")
            late |= frame["_late"].to_numpy()
            columns |= {column.name: column for column in frame.iter_columns()}
        for name in asked.columns:
            columns[f"{name}|status"] = _named(columns[f"{name}|status"])
        at_us = given[AT_US]
        told = _told(asked, columns, at_us, now_us)
        own = given.drop(AT_US)
        out = [_label(own[name], at_us, asked.labels.get(name), now_us) for name in own.columns]
        for name in asked.columns:
            out.extend(_columns(name, told, options))
        statuses = {name: _counts(told[f"{name}|status"]) for name in asked.columns}
        yield Piece(pl.DataFrame(out), int(late.sum()), statuses)


def _told(
    asked: Asked, columns: Mapping[str, pl.Series], at_us: pl.Series, now_us: int
) -> dict[str, pl.Series]:
    """The columns without labels that are not known yet."""
    told = dict(columns)
    for part in asked.parts:
        if part.delay_us:
            unknown = at_us + part.delay_us > now_us
            mine = [name for name in columns if name.partition("|")[0] in part.columns]
            told |= {name: _unknown(columns[name], unknown) for name in mine}
    return told


def _named(statuses: pl.Series) -> pl.Series:
    """Statuses by name: answers have them so, what is computed has them by number."""
    if statuses.dtype == pl.String:
        return statuses
    return statuses.replace_strict(range(len(STATUSES)), STATUSES, return_dtype=pl.String)


def _counts(statuses: pl.Series) -> dict[str, int]:
    return dict(statuses.value_counts().iter_rows())


def _columns(name: str, columns: Mapping[str, pl.Series], options: Options) -> Iterator[pl.Series]:
    yield columns[name]
    for extra in options.extras:
        yield columns[f"{name}|{extra}"]


def _unknown(column: pl.Series, unknown: pl.Series) -> pl.Series:
    """Nothing where a label is not known yet."""
    if column.name.endswith("|status"):
        return column.set(unknown, UNKNOWN)
    return pl.select(pl.when(~unknown).then(column).alias(column.name)).to_series()


def _label(column: pl.Series, at_us: pl.Series, delay_us: int | None, now_us: int) -> pl.Series:
    """A column of the spine; a label is null while its outcome delay is not over."""
    if not delay_us:
        return column
    return _unknown(column, at_us + delay_us > now_us)
