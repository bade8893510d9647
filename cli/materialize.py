"""`tegula materialize`: what of a source is new or has changed becomes rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..backfill.imports.importing import Asked
from ..backfill.imports.tables import materialize as run
from ..backfill.imports.tables import newest_us
from ..connectors.rfc3339 import format_instant
from ..engine.amounts import number
from ..engine.deployed import Deployed
from ..engine.progress import Meter
from ..engine.runtime.clock import now_us
from ..engine.settings import load_settings
from ..schemas.errors import BadRequest
from ..schemas.time import parse_duration
from ..serving.protocol import parse_instant
from .exits import FAULT, OK
from .imports import Options, load, mapping_of, open_rows, stream_of, tell_bad
from .output import note, say, write_json


def materialize(
    project: Path | None, table: str, place: str | None, options: Options, as_json: bool
) -> int:
    """Import what of `place` or the query is new; `FAULT` if rows of it are no events."""
    settings = load_settings(project)
    deployed = load(settings)
    plan = stream_of(deployed, table)
    keys = keys_of(deployed, table)
    since_us = None if options.since is None else parse_instant(options.since, "--since")
    given_us = newest_us(settings, table) if since_us is None else since_us
    asked = Asked(
        plan,
        open_rows(settings, place, options.query, given_us),
        "",
        mapping_of(options.maps),
        delay_us=parse_duration(options.landing_delay),
        since_us=since_us,
        keys=keys,
    )
    for column in asked.converter.missing:
        note(f"The source has no column {column}: it is null in every row.", "yellow")
    with Meter(f"Materializing {table}", unit="rows", total=asked.source.rows) as meter:
        done = run(
            settings,
            asked,
            now_us(),
            lambda what, count, total: meter.update(count, total, f"{what} for {table}"),
        )
    entry = done.entry
    newest = None if entry is None or entry.last_us is None else format_instant(entry.last_us)
    if as_json:
        said: dict[str, Any] = {"table": table, "rows": done.rows, "newest": newest}
        write_json({**said, "read": done.held.read, "bad": dict(done.held.bad)})
    elif entry is None:
        say(f"{table} has all {number(done.held.kept)} rows already.")
    else:
        until = "" if newest is None else f", the newest of {newest}"
        say(f"{number(done.rows)} rows of {table} are new or have changed{until}.", "green")
    if not as_json:
        tell_bad(done.held)
    return FAULT if done.held.bad_count else OK


def keys_of(deployed: Deployed, table: str) -> tuple[str, ...]:
    """The key columns of a table. Raises `BadRequest` for a stream that is none."""
    for build in deployed.builds:
        if build.view == build.stream == table:
            return tuple(name for name, _ in build.entity_keys)
    raise BadRequest(
        f"the stream {table!r} is no table",
        where=table,
        hint="define it as tg.Table(…), or bring history into it by `tegula import`",
    )
