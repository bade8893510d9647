"""A sample of what serving answered, from the served log of one service.

The rows with the least hashes under a seed: which they are does not depend on how the log is cut
into files, and memory holds the sample and one file.
"""

from __future__ import annotations

import polars as pl

from ...state.lake import Lake
from ...state.served import ServedTable

_HASH = "_hash"


def sampled(lake: Lake, service: str, *, since_us: int, count: int, seed: int) -> pl.DataFrame:
    """At most `count` rows that were served at or after an instant, oldest first.

    Columns as `state.served` has them; empty, and without columns, where nothing was served. Raises
    `TableUnwritable` if the log cannot be read. O(rows since then).
    """
    kept: pl.DataFrame | None = None
    for rows in ServedTable(lake, service).since(since_us):
        hashed = rows.with_columns(
            pl.struct("_writer", "_sequence", "_row").hash(seed).alias(_HASH)
        ).bottom_k(count, by=_HASH)
        both = hashed if kept is None else pl.concat([kept, hashed], how="diagonal")
        kept = both.bottom_k(count, by=_HASH)
    if kept is None:
        return pl.DataFrame()
    return kept.drop(_HASH).sort("_served", "_writer", "_sequence", "_row")
