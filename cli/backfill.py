"""`tegula backfill`: a view built anew from history beside the live one, and back again.

The running engine does the work: it is asked through the registry, and says in its report how far
it is. Where none runs, one is run here until the build has joined. Interrupting this command stops
the watching, not the work; the same command watches it again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ..backfill.estimate import Estimate, estimate
from ..backfill.switch import retire_others, roll_back, start
from ..engine.amounts import number, size, span
from ..engine.deployed import build_of
from ..engine.own import OwnAggregates
from ..engine.progress import Meter
from ..engine.runtime.clock import now_us
from ..engine.settings import Settings, load_settings
from ..schemas.definitions import Definitions
from ..schemas.errors import BadRequest, NotReady
from ..state.registry import BuildRow, Registry
from .children import Family, stopping_on_signals
from .dev import programs
from .exits import INTERRUPTED, OK
from .output import note, say, write_json
from .report import engine_report

ACTIONS: Final = ("plan", "rollback", "retire")
LOOK_S: Final = 0.5
FINISH_WITHIN_S: Final = 30.0
"""How long our own engine gets to mirror and archive the rest, so that it ends cleanly."""


def backfill(project: Path | None, words: Sequence[str], as_json: bool) -> int:
    """Do what the words say: `VIEW`, or `plan`, `rollback` or `retire` and a view."""
    if len(words) == 1:
        action, view = "run", words[0]
    elif len(words) == 2 and words[0] in ACTIONS:
        action, view = words
    else:
        raise BadRequest(
            "this does not say what to backfill",
            where=" ".join(words),
            expected=f"a view, or one of {', '.join(ACTIONS)} and a view",
            hint="tegula backfill spend",
        )
    settings = load_settings(project)
    registry = Registry(settings.registry_url_or_default)
    try:
        if action == "rollback":
            return _rollback(registry, view, as_json)
        if action == "retire":
            return _retire(registry, view, as_json)
        planned = estimate(settings, registry, view)
        if action == "plan":
            if as_json:
                write_json(asdict(planned))
            else:
                say(described(planned))
            return OK
        note(described(planned), "")
        return _run(settings, registry, view, as_json)
    finally:
        registry.close()


def described(planned: Estimate) -> str:
    """The estimate in a sentence."""
    return (
        f"{planned.view}: {number(planned.rows)} events, {size(planned.size_bytes)} in "
        f"{planned.files} files of stream {planned.stream}'s archive, about "
        f"{span(max(planned.seconds, 1.0))}; then what the log holds beyond it."
    )


def _run(settings: Settings, registry: Registry, view: str, as_json: bool) -> int:
    build = start(registry, view, now_us())
    if engine_report(settings) is None:
        note("No engine runs; one runs here until the build has joined.")
    with stopping_on_signals() as stop, _engine(settings, stop) as ended:
        seconds = _watch(settings, registry, build, stop, ended)
    if seconds is None:
        note(f"Build {build.id} goes on when an engine runs; `tegula backfill {view}` watches it.")
        return INTERRUPTED
    before = registry.catalogue().previous.get(view)
    back = None if before is None else f"tegula backfill rollback {view}"
    if as_json:
        write_json({"view": view, "build": build.id, "seconds": round(seconds, 1), "back": back})
    else:
        say(f"Build {build.id} serves {view}, after {span(seconds)}.", "green")
        if back:
            say(f"Back to build {before}: `{back}`; give it up: `tegula backfill retire {view}`.")
    return OK


@contextmanager
def _engine(settings: Settings, stop: threading.Event) -> Iterator[Family | None]:
    """An engine of our own, if none runs; else None, for somebody else's does the work."""
    if engine_report(settings) is not None:
        yield None
        return
    family = Family(programs(settings)[:1], report=note)
    family.start()
    try:
        family.wait_ready(stop)
        yield family
    finally:
        family.stop(FINISH_WITHIN_S)


def _watch(
    settings: Settings,
    registry: Registry,
    build: BuildRow,
    stop: threading.Event,
    family: Family | None,
) -> float | None:
    """Show how far the build is until it serves; the seconds it took, None if interrupted."""
    stream = build_of(build, Definitions(), OwnAggregates(settings.project)).stream
    with Meter(f"Backfilling {build.view}", unit="events") as meter:
        total = 0
        while not stop.is_set():
            if registry.catalogue().active.get(build.view) == build.id:
                return meter.elapsed_s
            report = engine_report(settings)
            if report is None or (family is not None and family.ended() is not None):
                raise NotReady(
                    "the engine ended before the build had joined",
                    where=f"build {build.id} of view {build.view!r}",
                    hint="`tegula run` shows why; the build goes on where it stopped",
                )
            behind = _behind(report, stream, build.id)
            if behind is not None:
                total = max(total, behind)
                meter.update(total - behind, total)
            stop.wait(LOOK_S)
    return None


def _behind(report: Mapping[str, Any], stream: str, build: int) -> int | None:
    """How many events the build has still to read, if the engine has begun with it."""
    behind = report.get("streams", {}).get(stream, {}).get("catching_up", {}).get(str(build))
    return None if behind is None else int(behind)


def _rollback(registry: Registry, view: str, as_json: bool) -> int:
    build, version = roll_back(registry, view)
    if as_json:
        write_json({"view": view, "build": build, "catalogue": version})
    else:
        say(f"Build {build} serves {view} again.", "green")
    return OK


def _retire(registry: Registry, view: str, as_json: bool) -> int:
    gone, active = retire_others(registry, view)
    if as_json:
        write_json({"view": view, "retired": gone, "serves": active})
    elif gone:
        say(f"Retired build {', '.join(map(str, gone))} of {view}; build {active} serves it.")
    else:
        say(f"Nothing to retire: {view} has no build but the one that serves it.")
    return OK
