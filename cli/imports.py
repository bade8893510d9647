"""`tegula import`: history from elsewhere as records of a stream."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backfill.imports.importing import Asked, Done, count, import_rows
from ..backfill.imports.queries import query_source
from ..backfill.imports.sources import Source, open_source
from ..backfill.imports.staging import Held
from ..connectors.rfc3339 import format_instant
from ..engine.amounts import number
from ..engine.deployed import Deployed, load_deployed
from ..engine.own import OwnAggregates
from ..engine.plan import StreamPlan
from ..engine.progress import Meter
from ..engine.runtime.clock import now_us
from ..engine.settings import Settings, load_settings
from ..schemas.errors import BadRequest, UnknownStream
from ..schemas.time import parse_duration
from ..serving.protocol import parse_instant
from ..state.registry import Registry
from .exits import FAULT, OK
from .output import note, say, write_json
from .report import engine_report

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags say."""

    query: str | None = None
    maps: Sequence[str] = ()
    name: str | None = None
    landing_delay: str = "0s"
    since: str | None = None
    until: str | None = None
    dry_run: bool = False


def import_(
    project: Path | None, stream: str, place: str | None, options: Options, as_json: bool
) -> int:
    """Import what `place` or the query holds; `FAULT` if rows of it are no events."""
    settings = load_settings(project)
    deployed = load(settings)
    plan = stream_of(deployed, stream)
    name = _named(options.name, place, options.query)
    source = open_rows(settings, place, options.query, None)
    asked = Asked(
        plan,
        source,
        name,
        mapping_of(options.maps),
        delay_us=parse_duration(options.landing_delay),
        since_us=None if options.since is None else parse_instant(options.since, "--since"),
        until_us=None if options.until is None else parse_instant(options.until, "--until"),
    )
    for column in asked.converter.missing:
        note(f"The source has no column {column}: it is null in every row.", "yellow")
    with Meter(f"Importing into {stream}", unit="rows", total=source.rows) as meter:

        def progress(what: str, done: int, total: int | None) -> None:
            meter.update(done, total, f"{what} for {stream}")

        if options.dry_run:
            held = count(settings, asked, now_us(), progress)
            _tell_held(asked.name, held, as_json, "Would import")
            return FAULT if held.bad_count else OK
        done = import_rows(settings, asked, now_us(), progress)
    _tell(settings, deployed, asked, done, as_json)
    return FAULT if done.held.bad_count else OK


def open_rows(
    settings: Settings, place: str | None, query: str | None, since_us: int | None
) -> Source:
    """The source that the command line names: a place, or a query and perhaps its database."""
    if query is not None:
        return query_source(query, place, since_us)
    if place is None:
        raise BadRequest(
            "it is not said what to import",
            expected="a path or URL, or --query and SQL",
            hint="tegula import payments 'history/*.parquet'",
        )
    return open_source(place, settings.source_options)


def mapping_of(maps: Sequence[str]) -> dict[str, str]:
    """`--map amount=paid_eur` as a mapping from the stream's column to the source's."""
    found = {}
    for one in maps:
        column, equals, source = one.partition("=")
        if not (column and equals and source):
            raise BadRequest(
                "this does not map a column",
                where="--map",
                got=one,
                expected="column of the stream=column of the source",
            )
        found[column] = source
    return found


def load(settings: Settings) -> Deployed:
    """What is deployed."""
    registry = Registry(settings.registry_url_or_default)
    try:
        return load_deployed(registry, own=OwnAggregates(settings.project))
    finally:
        registry.close()


def stream_of(deployed: Deployed, stream: str) -> StreamPlan:
    """The stream of that name. Raises `UnknownStream`."""
    if stream not in deployed.streams:
        raise UnknownStream(stream=stream, known=tuple(deployed.streams))
    return deployed.streams[stream]


def _named(name: str | None, place: str | None, query: str | None) -> str:
    """The import's name: as given, else of the last part of the path that names something."""
    if name is None:
        if query is not None:
            raise BadRequest(
                "an import by query needs a name",
                where="--name",
                hint="it is how the same import is known again: --name orders-2023",
            )
        parts = [re.sub(r"[^a-z0-9]+", "-", part.lower()) for part in (place or "").split("/")]
        said = [part.strip("-") for part in parts if part.strip("-")]
        name = said[-1][:64] if said else "import"
    if not _NAME.fullmatch(name) or name.endswith(".lock"):
        raise BadRequest(
            "this cannot name an import",
            where="--name",
            got=name,
            expected="at most 64 of a-z, 0-9, _, -, . and not one of the last three first",
        )
    return name


def described(held: Held) -> dict[str, Any]:
    """What rows were, for machines."""
    bounds = (held.first_us, held.last_us)
    first, last = (None if one is None else format_instant(one) for one in bounds)
    return {
        "events": held.good,
        "bad": dict(sorted(held.bad.items())),
        "left_out": held.left_out,
        "first": first,
        "last": last,
    }


def _tell_held(name: str, held: Held, as_json: bool, verb: str) -> None:
    if as_json:
        write_json({"name": name, **described(held)})
        return
    said = described(held)
    span = f", from {said['first']} to {said['last']}" if held.good else ""
    left = f" Left out by --since and --until: {number(held.left_out)}." if held.left_out else ""
    say(f"{verb} {number(held.good)} events{span}.{left}", "green" if held.good else "")
    tell_bad(held)


def tell_bad(held: Held) -> None:
    """What of the rows cannot be events, by code."""
    for code, rows in sorted(held.bad.items()):
        note(f"{code or 'Bad rows'}: {number(rows)} rows are no events.", "red")


def _tell(settings: Settings, deployed: Deployed, asked: Asked, done: Done, as_json: bool) -> None:
    views = sorted({build.view for build in deployed.builds if build.stream == asked.stream.name})
    entry = done.entry
    if as_json:
        write_json(
            {
                "name": entry.name,
                "before": done.before,
                **described(done.held),
                "offsets": [entry.first_offset, entry.first_offset + entry.count],
                "views": views,
            }
        )
        return
    if done.before:
        say(f"Import {entry.name} is there already, with the same rows. Nothing was done.")
        return
    _tell_held(entry.name, done.held, as_json, "Imported")
    if done.held.bad:
        note(f"They are dead letters: `tegula deadletter list {asked.stream.name}`.")
    if views:
        what = f"Views that take them up: {', '.join(views)}"
        runs = "" if engine_report(settings) else " when an engine runs"
        note(f"{what}{runs}; `tegula status` shows how far they are.")
    for build in deployed.builds:
        if build.stream == asked.stream.name and build.foldable_us != build.shape.retention_us:
            note(
                f"{build.view} has sessions, and keeps few old ones: `tegula backfill {build.view}`"
                " joins them as if the rows had come in time.",
                "yellow",
            )
