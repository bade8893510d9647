"""`tegula parity`: is what was served what history says, and if not, why.

Needs no engine and no server, and is in the way of neither. What it finds is kept in the home, from
where servers show it as metrics.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from ..backfill.parity import CAUSES, Difference, Report, check
from ..connectors import rfc3339
from ..engine.amounts import number
from ..engine.progress import Meter
from ..engine.runtime.clock import now_us
from ..engine.settings import Settings, load_settings
from ..schemas.codec import load
from ..schemas.errors import BadDuration, BadRequest, NothingApplied, UnknownService
from ..schemas.time import parse_duration
from ..state.registry import Registry
from .exits import FAULT, OK
from .output import add_row, note, say, show, table, write_json

_NICENESS: Final = 15
_STYLES: Final = {"unexplained": "bold red", "definition": "cyan"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags say; one in the `background` gives way to all other processes."""

    service: str | None = None
    since: str = "1d"
    sample: int | None = None
    seed: int | None = None
    background: bool = False


def parity(project: Path | None, options: Options, as_json: bool) -> int:
    """Check the services, keep what was found, and print it; 1 if a difference has no cause."""
    settings = load_settings(project)
    if options.background:
        os.nice(_NICENESS)
    at_us = now_us()
    since_us = since(options.since, at_us)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    with (
        closing(Registry(settings.registry_url_or_default)) as registry,
        Meter("Reading the archive", unit="records") as meter,
    ):
        reports = []
        for service in _services(settings, registry, options.service):
            report = check(
                settings,
                registry,
                service,
                since_us=since_us,
                sample=options.sample or settings.parity_sample,
                seed=seed,
                now_us=at_us,
                progress=meter.advance,
            )
            report.keep(settings.parity_path)
            reports.append(report)
    if as_json:
        write_json([report.as_dict() for report in reports])
    else:
        _print(settings, reports)
    return FAULT if any(report.causes["unexplained"] for report in reports) else OK


def since(text: str, now_us: int) -> int:
    """The instant that a flag means: so long ago, or as it is written. Raises `BadRequest`.

    >>> since("1s", 3_000_000), since("1970-01-01T00:00:01Z", 3_000_000)
    (2000000, 1000000)
    """
    at_us = rfc3339.parse_one(text)
    if at_us is not None:
        return at_us
    try:
        return now_us - parse_duration(text)
    except BadDuration:
        raise BadRequest(
            "this is neither a span nor an instant",
            where="--since",
            got=repr(text),
            expected="such as 6h, 7d or 2024-05-01T12:00:00Z",
        ) from None


def _services(settings: Settings, registry: Registry, wanted: str | None) -> list[str]:
    head = registry.head()
    if head is None:
        raise NothingApplied(where=str(settings.project))
    known = list(dict.fromkeys(one.name for one in load(head.definitions).services))
    if wanted is None:
        return known
    if wanted not in known:
        raise UnknownService(service=wanted, known=tuple(known))
    return [wanted]


def _print(settings: Settings, reports: Sequence[Report]) -> None:
    shown = table(
        "service", "rows", "values", "equal", *CAUSES, numbers=("rows", "values", "equal", *CAUSES)
    )
    for report in reports:
        share = report.share_equal
        add_row(
            shown,
            report.service,
            number(report.rows),
            number(report.compared),
            None if share is None else f"{share:.4%}",
            *(number(report.causes[cause]) for cause in CAUSES),
        )
    show(shown)
    for report in reports:
        for said in _notes(settings, report):
            note(f"{report.service}: {said}")
        for difference in report.differences:
            for line, style in _diff(difference):
                say(line, style)
    hidden = sum(report.different - len(report.differences) for report in reports)
    if hidden:
        note(f"{number(hidden)} more; --service and --since narrow them down.")


def _notes(settings: Settings, report: Report) -> Iterator[str]:
    if not report.rows:
        yield "nothing was kept of what it served; `served_share` says how much is"
        return
    if report.pending:
        yield f"{number(report.pending)} rows rest on events that are not archived yet"
    if report.floats:
        yield f"{number(report.floats)} values differ in the last digits of a float, within bounds"
    for what, count in sorted(report.skipped.items()):
        if count:
            yield f"not compared, {what}: {number(count)}"
    yield from report.faults
    share = report.share_equal
    if share is not None and share < settings.parity_objective:
        yield f"{share:.4%} equal is below the objective of {settings.parity_objective:.4%}"
    yield f"seed {report.seed}"


def _diff(one: Difference) -> Iterator[tuple[str, str]]:
    """A difference as a diff: what was served, what history says, and the events between them."""
    key = ", ".join(f"{name}={value}" for name, value in one.key.items())
    yield f"\n{one.cause}: {one.feature} of {key}, at {one.at}", _STYLES.get(one.cause, "yellow")
    yield f"- served      {_value(one.served)}  {one.served_status}", "red"
    yield f"+ recomputed  {_value(one.recomputed)}  {one.recomputed_status}", "green"
    for event in one.events:
        place = f"{event.partition}:{event.offset}"
        yield f"  event {place} of {event.event_time}, logged {event.log_time}", "dim"
    yield f"  build {one.build}, trace {one.trace_id}", "dim"


def _value(value: Any) -> str:
    return orjson.dumps(value).decode()
