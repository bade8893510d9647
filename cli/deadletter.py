"""`tegula deadletter`: records that did not count: which, why, and once more.

Dead letters could not become events; what a view found too old for its `allowed_lateness` are
events of which that view has nothing. Both are read from the lake, so no engine has to run; one
that runs writes there every few seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ..backfill import redrive as again
from ..backfill.redrive import Choice, Found, Mend
from ..connectors.rfc3339 import format_instant
from ..engine.amounts import number
from ..engine.deployed import Deployed, load_deployed
from ..engine.lake import lake_of
from ..engine.plan import Build, StreamPlan
from ..engine.runtime.clock import now_us
from ..engine.settings import Settings, load_settings
from ..schemas.errors import BadRequest, UnknownStream, UnknownView
from ..state.dead_letter import DeadLetter
from ..state.registry import Registry
from .exits import OK
from .output import add_row, note, say, show, table, write_json
from .project import load_function
from .report import engine_report

ACTIONS: Final = ("list", "show", "redrive")
_SHOWN_BYTES: Final = 60


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags say."""

    code: str | None = None
    partition: str | None = None
    first: int = 0
    last: int | None = None
    expired: str | None = None
    mend: str | None = None
    limit: int = 20
    dry_run: bool = False

    @property
    def choice(self) -> Choice:
        """Which records these are."""
        end = 2**63 - 1 if self.last is None else self.last + 1
        return Choice(self.partition, self.code, self.first, end)


def deadletter(project: Path | None, words: Sequence[str], options: Options, as_json: bool) -> int:
    """Do what the words say: `list [STREAM]`, `show STREAM PARTITION OFFSET`, `redrive STREAM`."""
    settings = load_settings(project)
    registry = Registry(settings.registry_url_or_default)
    try:
        deployed = load_deployed(registry)
    finally:
        registry.close()
    match words:
        case ["list"]:
            return _counts(settings, deployed, as_json)
        case ["list", stream]:
            return _list(settings, deployed, _stream(deployed, stream), options, as_json)
        case ["show", stream, partition, offset] if offset.isdigit():
            return _show(settings, _stream(deployed, stream), partition, int(offset), as_json)
        case ["redrive", stream]:
            return _redrive(settings, deployed, _stream(deployed, stream), options, as_json)
    raise BadRequest(
        "this does not say what to do with which dead letters",
        where=" ".join(words),
        expected="list [STREAM], show STREAM PARTITION OFFSET, or redrive STREAM",
        hint="tegula deadletter list",
    )


def _stream(deployed: Deployed, name: str) -> StreamPlan:
    if name not in deployed.streams:
        raise UnknownStream(stream=name, known=tuple(deployed.streams))
    return deployed.streams[name]


def _build(deployed: Deployed, stream: StreamPlan, view: str) -> Build:
    """The newest build of a view of the stream: what it finds too old is a matter of its own."""
    builds = [build for build in deployed.builds if build.stream == stream.name]
    of_view = [build for build in builds if build.view == view]
    if not of_view:
        raise UnknownView(view=view, known=sorted({build.view for build in builds}))
    return max(of_view, key=lambda build: build.id)


def _counts(settings: Settings, deployed: Deployed, as_json: bool) -> int:
    counts = {
        name: DeadLetter(lake_of(settings), name).counts() for name in sorted(deployed.streams)
    }
    if as_json:
        write_json(counts)
        return OK
    if not any(counts.values()):
        say("No dead letters.", "green")
        return OK
    shown = table("stream", "code", "records", numbers=("records",))
    for stream, by_code in counts.items():
        for code, count in by_code.items():
            add_row(shown, stream, code, number(count))
    show(shown)
    return OK


def _list(
    settings: Settings, deployed: Deployed, stream: StreamPlan, options: Options, as_json: bool
) -> int:
    found: list[Mapping[str, Any]]
    if options.expired is not None:
        build = _build(deployed, stream, options.expired)
        late = again.expired(settings, stream, build, options.choice)
        found = [_as_dict(one) for one in islice(late, options.limit)]
    else:
        letters = DeadLetter(lake_of(settings), stream.name)
        records = letters.list(limit=options.limit, code=options.code, partition=options.partition)
        found = [_as_dict(one) for one in records]
    if as_json:
        write_json(found)
        return OK
    if not found:
        say("None.", "green")
        return OK
    shown = table("partition", "offset", "logged", "code", "reason", "record", numbers=("offset",))
    for one in found:
        raw = str(one["raw"])
        cut = raw if len(raw) <= _SHOWN_BYTES else raw[: _SHOWN_BYTES - 1] + "…"
        values = (one["partition"], one["offset"], one["logged"], one["code"], one["reason"], cut)
        add_row(shown, *values)
    show(shown)
    return OK


def _as_dict(one: Any) -> dict[str, Any]:
    """A record for people and machines; bytes that are no UTF-8 are escaped as Python does."""
    return {
        "partition": one.partition,
        "offset": one.offset,
        "logged": format_instant(one.log_us),
        "code": one.code,
        "reason": one.reason,
        "raw": one.raw.decode(errors="backslashreplace"),
    }


def _show(
    settings: Settings, stream: StreamPlan, partition: str, offset: int, as_json: bool
) -> int:
    record = DeadLetter(lake_of(settings), stream.name).show(partition, offset)
    if record is None:
        raise BadRequest(
            "no dead letter lies there",
            where=f"stream {stream.name!r}, partition {partition}, offset {offset}",
            hint=f"tegula deadletter list {stream.name}",
        )
    found = {**_as_dict(record), "taken_in": format_instant(record.ingested_us)}
    if as_json:
        write_json(found)
        return OK
    for name, value in found.items():
        if name != "raw":
            note(f"{name.replace('_', ' '):<10} {value}", "")
    say(str(found["raw"]))
    return OK


def _redrive(
    settings: Settings, deployed: Deployed, stream: StreamPlan, options: Options, as_json: bool
) -> int:
    found: Iterable[Found]
    if options.expired is not None:
        build = _build(deployed, stream, options.expired)
        again.may_count(build)
        found = again.expired(settings, stream, build, options.choice)
    else:
        found = again.dead(settings, stream, options.choice)
    mend = None if options.mend is None else _mend(settings, options.mend)
    if options.dry_run:
        count = sum(1 for one in found if mend is None or mend(one.raw) is not None)
        if as_json:
            write_json({"would_drive": count})
        else:
            say(f"Would be driven again, but for those that were before: {number(count)}.")
        return OK
    done = again.redrive(settings, stream.name, found, now_us(), mend)
    if as_json:
        write_json({"driven": done.driven, "before": done.before, "left_out": done.left_out})
        return OK
    say(
        f"Driven again: {number(done.driven)}; before already: {number(done.before)}; "
        f"left out: {number(done.left_out)}.",
        "green" if done.driven else "",
    )
    if done.driven and engine_report(settings) is None:
        note("No engine runs; the next one takes them up.")
    elif done.driven:
        note("The engine takes them up; `tegula status` shows what becomes of them.")
    return OK


def _mend(settings: Settings, name: str) -> Mend:
    """The user's function of a record's bytes; what it raises names the function and the record."""
    function = load_function(settings.project, name)

    def mended(raw: bytes) -> bytes | None:
        shown = raw[:_SHOWN_BYTES].decode(errors="backslashreplace")
        try:
            made = function(raw)
        except Exception as fault:
            raise BadRequest(
                f"the function raised {type(fault).__name__}: {fault}",
                where=f"{name}, record {shown}",
                expected="the record's bytes as they are to be, or None to leave it out",
                hint="mend the function and ask again: what was driven again before is not twice",
            ) from fault
        if made is not None and not isinstance(made, bytes):
            raise BadRequest(
                "the function gave something that is no record",
                where=f"{name}, record {shown}",
                got=type(made).__name__,
                expected="bytes, or None to leave it out",
            )
        return made

    return mended
