"""What the test driver asks for when it imports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..backfill.imports.importing import Asked
from ..backfill.imports.queries import query_source
from ..backfill.imports.sources import open_source
from ..engine.deployed import Deployed
from ..engine.plan import StreamPlan


def asked(
    stream: StreamPlan,
    source: str | Path,
    query: str | None,
    mapping: Mapping[str, str] | None,
    since_us: int | None,
    options: Mapping[str, str],
) -> Asked:
    """The rows of `source`, or of a query over it, for a stream; without a name yet."""
    place = str(source)
    rows = open_source(place, options) if query is None else query_source(query, place, since_us)
    return Asked(stream, rows, "", dict(mapping or {}))


def keys_of(deployed: Deployed, table: str) -> tuple[str, ...]:
    """The key columns of a table."""
    build = next(one for one in deployed.builds if one.view == table)
    return tuple(name for name, _ in build.entity_keys)
