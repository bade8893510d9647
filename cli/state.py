"""`tegula state` and `tegula rebuild`: is the state what its events say, and if not, make it so.

Both need the home at rest. Verifying changes nothing; rebuilding replaces the state of the keys
that are named, and of nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ..backfill import at_rest
from ..backfill.rebuild import rebuild as make_anew
from ..backfill.report import Check, Fault, Report
from ..backfill.verify import verify
from ..engine.amounts import number, size
from ..engine.progress import Meter
from ..engine.settings import load_settings
from ..schemas.errors import BadRequest
from .exits import FAULT, OK
from .key_words import keys_for
from .output import add_row, note, say, show, table, write_json

SHOWN_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags of `state verify` say."""

    sample: int
    view: str | None = None
    keys: Sequence[str] = ()
    seed: int | None = None


def state(project: Path | None, words: Sequence[str], options: Options, as_json: bool) -> int:
    """Do what the words say: `verify`."""
    if list(words) != ["verify"]:
        raise BadRequest(
            "this does not say what to do with the state",
            where=" ".join(words),
            expected="verify",
            hint="tegula state verify",
        )
    settings = load_settings(project)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    with at_rest.reading(settings) as home, Meter("Reading shards", unit="shards") as meter:
        builds = home.builds_of(options.view)
        keys = keys_for(builds, options.keys) if options.keys else None
        report = verify(
            home,
            builds=builds,
            sample=options.sample,
            seed=seed,
            keys=keys,
            progress=lambda what, done, total: meter.update(done, total, what),
        )
    if as_json:
        write_json(_as_dict(report))
    else:
        _print(report)
    return FAULT if report.fault_count else OK


def rebuild(project: Path | None, view: str, words: Sequence[str], as_json: bool) -> int:
    """Make the state of some keys of a view anew."""
    settings = load_settings(project)
    with at_rest.writing(settings) as home, Meter("Reading events", unit="events") as meter:
        keys = keys_for(home.builds_of(view), words)
        builds = [build for build in home.builds_of(view) if build.id in keys]
        done = make_anew(home, builds, keys, meter.advance)
    if as_json:
        write_json([asdict(one) for one in done])
        return OK
    for one in done:
        gone = f"; of {_keys(one.empty)} no event counts" if one.empty else ""
        say(
            f"Build {one.build} of {view}: {_keys(one.keys)} made anew from "
            f"{number(one.events)} records{gone}.",
            "green",
        )
    note("The online store follows when the engine runs.")
    return OK


def _print(report: Report) -> None:
    shown = table("check", "looked at", "faults", numbers=("faults",))
    for check in report.checks:
        add_row(shown, check.name, _looked_at(report, check), number(check.faults))
    show(shown)
    for check in report.checks:
        for said in check.notes:
            note(f"{check.name}: {said}")
    if not report.fault_count:
        say("Clean.", "green")
        return
    columns = ("check", "shard", "build", "key", "feature", "stored", "recomputed", "cause")
    faults = table(*columns, numbers=("shard", "build"))
    for fault in report.faults[:SHOWN_MAX]:
        add_row(
            faults,
            fault.check,
            fault.shard,
            fault.build,
            _key(fault.key),
            fault.feature,
            fault.stored,
            fault.recomputed,
            fault.cause + (f", at {fault.at}" if fault.at else ""),
        )
    show(faults)
    plural = "" if report.fault_count == 1 else "s"
    say(f"{number(report.fault_count)} fault{plural}.", "bold red")
    for hint in _hints(report.faults):
        note(hint)


def _keys(count: int) -> str:
    return f"{number(count)} key{'' if count == 1 else 's'}"


def _looked_at(report: Report, check: Check) -> str:
    parts = [
        size(count) if what == "bytes" else f"{what} {number(count)}"
        for what, count in check.counts.items()
        if count
    ]
    if check.name == "values":
        parts.append(f"seed {report.seed}")
    return ", ".join(parts) or "-"


def _key(key: Mapping[str, Any] | None) -> str | None:
    return None if key is None else ", ".join(f"{name}={value}" for name, value in key.items())


def _hints(faults: Sequence[Fault]) -> list[str]:
    """What to run, once for each kind of fault."""
    found = []
    if any(fault.check == "checksums" for fault in faults):
        found.append("A file is damaged: restore a checkpoint; `tegula checkpoint list`.")
    wrong = {one.view: one.key for one in reversed(faults) if one.key and one.check != "checksums"}
    for view, key in wrong.items():
        words = " ".join(f"--keys {name}={value}" for name, value in (key or {}).items())
        found.append(f"Make keys anew: `tegula rebuild --view {view} {words}`.")
    if any(fault.check in ("positions", "counters") for fault in faults):
        found.append("Positions or counts do not fit: see Symptoms in the page on operations.")
    return found


def _as_dict(report: Report) -> dict[str, Any]:
    return {
        "clean": not report.fault_count,
        "seed": report.seed,
        "checks": [
            {
                "check": check.name,
                "looked_at": dict(check.counts),
                "faults": check.faults,
                "notes": check.notes,
            }
            for check in report.checks
        ],
        "faults": [asdict(fault) for fault in report.faults],
    }
