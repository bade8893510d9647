"""`tegula status`: what is deployed, how far the engine is, what became of every record."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..connectors.rfc3339 import format_instant
from ..engine.amounts import number, size, span
from ..engine.disk import DiskGuard, disk_said
from ..engine.runtime.clock import now_us
from ..engine.settings import Settings, load_settings
from ..schemas.errors import RegistryMissing
from ..state.registry import Registry
from .exits import OK
from .output import add_row, say, show, table, write_json
from .report import engine_report

COUNTS: Final = {
    "folded": "folded",
    "late": "of them late",
    "filtered": "filtered",
    "duplicate": "dup.",
    "expired": "expired",
    "dead_lettered": "dead",
}
"""What became of records, and the columns that show it."""


def status(project: Path | None, as_json: bool) -> int:
    """Print what is known of the project now; needs neither engine nor server to run."""
    settings = load_settings(project)
    facts = gather(settings)
    if as_json:
        write_json(facts)
    else:
        _print(settings, facts)
    return OK


def gather(settings: Settings) -> dict[str, Any]:
    """Everything that `status` shows, as plain JSON values."""
    report = engine_report(settings)
    return {
        "project": str(settings.project),
        **_registered(settings),
        "engine": None if report is None else _engine(report),
        "streams": {} if report is None else dict(report.get("streams", {})),
        "archive": {} if report is None else dict(report.get("archive", {})),
        "outcomes": {} if report is None else _outcomes(report),
        "not_finite": {} if report is None else _not_finite(report),
        "keys": {} if report is None else _weights(report),
        "disk": DiskGuard.of(settings).report(),
        "stores": {name: disk_bytes(path) for name, path in _stores(settings)},
    }


def _registered(settings: Settings) -> dict[str, Any]:
    registry = Registry(settings.registry_url_or_default)
    try:
        head, catalogue = registry.head(), registry.catalogue()
        builds = registry.builds(("planned", "catching_up", "live"))
    except RegistryMissing:
        return {"version": None, "builds": []}
    finally:
        registry.close()
    version = None
    if head is not None:
        version = {
            "number": head.number,
            "author": head.author,
            "message": head.message,
            "created": format_instant(head.created_us),
        }
    return {
        "version": version,
        "builds": [
            {
                "id": build.id,
                "view": build.view,
                "status": build.status,
                "serves": catalogue.active.get(build.view) == build.id,
                "version": build.version,
            }
            for build in builds
        ],
    }


def _engine(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pid": report["pid"],
        "workers": report.get("workers", 1),
        "workers_here": report.get("here", [0]),
        "up_s": round((now_us() - int(report["started_us"])) / 1e6, 1),
        "events_per_second": report["events_per_second"],
        "commits_to_mirror": _behind(report),
        "mirror_lag_s": readable_after(report.get("mirror_lag") or {}),
        "mirror_rewrites": report.get("mirror_rewrites", []),
        "mirror_fault": report.get("mirror_fault"),
        "registry_fault": report.get("registry_fault"),
        "disk_fault": (report.get("disk") or {}).get("fault"),
        "checkpoints": report.get("checkpoints"),
        "maintenance": report.get("maintenance"),
    }


def _behind(report: Mapping[str, Any]) -> int:
    """Commits that the online store has still to take, over all shards."""
    pairs = zip(report.get("commits", ()), report.get("mirrored", ()), strict=False)
    return sum(max(0, committed - mirrored) for committed, mirrored in pairs)


def readable_after(lag: Mapping[str, Any]) -> dict[str, float | None] | None:
    """Seconds after which half of the events, and 99 % of them, were readable; None before any.

    These are edges of the histogram, None past the last; of all events since the engine's start.

    >>> readable_after({"le_s": [0.1, 1.0], "rows": [50, 90, 100]})
    {'p50': 0.1, 'p99': None}
    """
    if not lag or not lag["rows"][-1]:
        return None
    edges, count = [*lag["le_s"], None], lag["rows"][-1]
    return {
        f"p{share}": next(
            edge
            for edge, rows in zip(edges, lag["rows"], strict=True)
            if rows * 100 >= share * count
        )
        for share in (50, 99)
    }


def _outcomes(report: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {
        f"{build['view']} build {number}": dict(build["outcomes"])
        for number, build in report.get("builds", {}).items()
    }


def _not_finite(report: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Values of each build's inputs that were NaN or infinite, where there were any."""
    return {
        f"{build['view']} build {number}": dict(build["not_finite"])
        for number, build in report.get("builds", {}).items()
        if build.get("not_finite")
    }


def _weights(report: Mapping[str, Any]) -> dict[str, Any]:
    """What keys weigh in each build's state, as sampled lately."""
    return {
        f"{build['view']} build {number}": build.get("keys")
        for number, build in report.get("builds", {}).items()
    }


def _stores(settings: Settings) -> Iterator[tuple[str, Path]]:
    yield "log", settings.home / "log"
    yield "state", settings.state_path
    if settings.online_url is None:
        yield "online", settings.online_path
    if settings.lake_is_here:
        yield "lake", settings.lake_path


def disk_bytes(folder: Path) -> int:
    """What a folder takes on the disk; sparse files count for what is in them."""
    total = 0
    for place, _, names in os.walk(folder):  # unlike `rglob`, takes a folder that goes meanwhile
        for name in names:
            with suppress(OSError):  # a store in use removes files while we look
                total += os.lstat(Path(place, name)).st_blocks * 512
    return total


def _print(settings: Settings, facts: Mapping[str, Any]) -> None:
    version = facts["version"]
    if version is None:
        say(f"{settings.project}: nothing was applied yet. `tegula apply` or `tegula dev` does it.")
        return
    said = f": {version['message']}" if version["message"] else ""
    say(f"{settings.project}: version {version['number']} by {version['author']}{said}")
    engine = facts["engine"]
    if engine is None:
        say("No engine runs: values do not change with new events. `tegula run` starts one.", "red")
    else:
        say(
            f"Engine {engine['pid']}, up {span(engine['up_s'])}, "
            f"{number(engine['events_per_second'])} events/s, "
            f"{number(engine['commits_to_mirror'])} commits before the online store"
        )
        if len(engine["workers_here"]) < engine["workers"]:
            mine = ", ".join(map(str, engine["workers_here"]))
            say(
                f"Of {engine['workers']} workers, {mine} runs over this home: what others read and "
                "hold, their own homes tell."
            )
        if engine["mirror_lag_s"]:
            half, most = (
                "over a minute" if edge is None else f"{span(edge)} at most"
                for edge in engine["mirror_lag_s"].values()
            )
            say(f"From accepted to readable, since its start: half {half}, 99 % {most}")
        if engine["mirror_fault"]:
            say(f"The online store cannot be written: {engine['mirror_fault']['message']}", "red")
        if engine["mirror_rewrites"]:
            count = number(len(engine["mirror_rewrites"]))
            say(f"Too many changes waited: of {count} shards all online rows are written anew.")
        _print_checkpoints(engine["checkpoints"] or {})
        if (engine["maintenance"] or {}).get("fault"):
            say(f"The lake is not maintained: {engine['maintenance']['fault']['message']}", "red")
        if engine["registry_fault"]:
            say("The engine does not reach its registry, and goes on as it was told last.", "red")
    _print_disk(facts)
    _print_streams(facts)
    _print_builds(facts)
    stores = table("store", "on disk", numbers=("on disk",))
    for name, taken in facts["stores"].items():
        add_row(stores, name, size(taken))
    show(stores)


def _print_disk(facts: Mapping[str, Any]) -> None:
    """A disk that is nearly full, and that the engine therefore takes in nothing."""
    held = (facts["engine"] or {}).get("disk_fault")
    if held:
        say(f"The engine takes in no new events: {disk_said(held)}", "red")
    elif facts["disk"]["fault"]:
        say(f"Full, or nearly: {disk_said(facts['disk']['fault'])}", "red")


def _print_checkpoints(of: Mapping[str, Any]) -> None:
    """The newest checkpoint, and what keeps the next from being made; nothing if none is wanted."""
    if of.get("newest_us"):
        say(f"Newest checkpoint at {of['to']}: {format_instant(int(of['newest_us']))}")
    if of.get("fault"):
        say(f"No checkpoint can be made: {of['fault']['message']}", "red")


def _print_streams(facts: Mapping[str, Any]) -> None:
    if not facts["streams"]:
        return
    columns = ("next offset", "end", "lag")
    shown = table("stream", "partition", *columns, "event time", numbers=columns)
    for name, stream in facts["streams"].items():
        for partition, at in stream["partitions"].items():
            add_row(
                shown,
                name,
                partition,
                number(at["next_offset"]),
                number(at["end_offset"]),
                number(at["lag"]),
                format_instant(at["running_max_us"]),
            )
    show(shown)


def _print_builds(facts: Mapping[str, Any]) -> None:
    waiting = {
        build: behind
        for stream in facts["streams"].values()
        for build, behind in stream["catching_up"].items()
    }
    columns = tuple(COUNTS.values())
    shown = table("view", "build", "status", *columns, numbers=("build", *columns))
    for build in facts["builds"]:
        counts = facts["outcomes"].get(f"{build['view']} build {build['id']}", {})
        behind = waiting.get(str(build["id"]))
        state = "serves" if build["serves"] else build["status"].replace("_", " ")
        state += "" if behind is None else f", {number(behind)} to go"
        add_row(
            shown,
            build["view"],
            build["id"],
            state,
            *(number(counts.get(name)) for name in COUNTS),
        )
    show(shown)
    _print_not_finite(facts)
    _print_weights(facts)


def _print_not_finite(facts: Mapping[str, Any]) -> None:
    """What counted as null though it was a number; nothing where all were finite."""
    if not facts["not_finite"]:
        return
    shown = table("of", "input", "NaN or infinite", numbers=("NaN or infinite",))
    for name, counts in facts["not_finite"].items():
        for given, count in counts.items():
            add_row(shown, name, given, number(count))
    show(shown)


def _print_weights(facts: Mapping[str, Any]) -> None:
    """What keys weigh; nothing before any was seen."""
    weights = {name: weight for name, weight in facts["keys"].items() if weight is not None}
    if not weights:
        return
    columns = ("keys sampled", "a key", "at most")
    shown = table("state of", *columns, numbers=columns)
    for name, weight in weights.items():
        mean, greatest = size(weight["mean_bytes"]), size(weight["greatest_bytes"])
        add_row(shown, name, number(weight["sampled"]), mean, greatest)
    show(shown)
