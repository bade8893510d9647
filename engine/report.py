"""What running engines say of themselves: a small file each in the home, and all as one.

An engine that is alone writes `engine.json`, worker 1 of several `engine-1.json`. Who reads gets
one report: of several workers, what they read, hold and have counted is put together, and of what
can be wrong the first fault is told. Workers with homes of their own, on other machines, report
there: `here` names those that share this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from .steps.worker import Worker

Report = Mapping[str, Any]


def report_path(path: Path, worker: Worker) -> Path:
    """Where a worker writes, if one that is alone writes to `path`.

    >>> report_path(Path("engine.json"), Worker(1, 2)).name
    'engine-1.json'
    """
    return path if worker.count == 1 else path.with_stem(f"{path.stem}-{worker.index}")


def read_report(path: Path) -> Report | None:
    """The newest report of the engine that reports to `path`; None if there is none to be read.

    Of several workers all that share the home must have reported: what one would not tell cannot be
    made up.
    """
    # Engines that were killed leave theirs, whether they were alone or not.
    found = [one for one in (_read(path), _of_workers(path)) if one is not None]
    return max(found, key=lambda one: int(one.get("at_us", 0)), default=None)


def _of_workers(path: Path) -> Report | None:
    written = [one for one in map(_read, path.parent.glob(f"{path.stem}-*.json")) if one]
    if not written:
        return None
    newest = max(written, key=lambda one: int(one.get("at_us", 0)))
    count, here = int(newest["workers"]), newest["here"]
    found = [_read(report_path(path, Worker(index, count))) for index in here]
    reports = [one for one in found if one is not None]
    return merged(reports) if len(reports) == len(here) else None


def _read(path: Path) -> Report | None:
    try:
        report = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return report if isinstance(report, dict) else None


def merged(reports: Sequence[Report]) -> Report:
    """The reports of the workers of a home, by index, as one of an engine that is alone."""
    first = reports[0]
    return {
        **first,
        "pids": [one["pid"] for one in reports],
        "at_us": min(one["at_us"] for one in reports),
        "started_us": max(one["started_us"] for one in reports),
        "events_per_second": round(sum(one["events_per_second"] for one in reports), 1),
        "streams": _by_name(reports, "streams", _stream),
        "builds": _by_name(reports, "builds", _build),
        "commits": _by_shard(reports, "commits"),
        "mirrored": _by_shard(reports, "mirrored"),
        "mirror_rewrites": sorted(shard for one in reports for shard in one["mirror_rewrites"]),
        "mirror_lag": _lag([one["mirror_lag"] for one in reports]),
        "mirror_fault": _first(one["mirror_fault"] for one in reports),
        "registry_fault": _first(one["registry_fault"] for one in reports),
        "disk": next((one["disk"] for one in reports if one["disk"]["fault"]), first["disk"]),
        "archive": _by_name(reports, "archive", _archive),
    }


def _by_name(reports: Sequence[Report], part: str, merge: Any) -> dict[str, Any]:
    names = dict.fromkeys(name for one in reports for name in one[part])
    return {
        name: merge([one[part][name] for one in reports if name in one[part]]) for name in names
    }


def _stream(parts: Sequence[Report]) -> dict[str, Any]:
    partitions = {name: at for part in parts for name, at in part["partitions"].items()}
    return {
        "partitions": dict(sorted(partitions.items(), key=lambda one: int(one[1]["ordinal"]))),
        "catching_up": _sum(part["catching_up"] for part in parts),
        "fault": _first(part["fault"] for part in parts),
    }


def _build(parts: Sequence[Report]) -> dict[str, Any]:
    weights = [part["keys"] for part in parts if part["keys"] is not None]
    sampled = sum(one["sampled"] for one in weights)
    keys = None
    if sampled:
        total = sum(one["sampled"] * one["mean_bytes"] for one in weights)
        greatest = max(one["greatest_bytes"] for one in weights)
        keys = {
            "sampled": sampled,
            "mean_bytes": total // sampled,
            "greatest_bytes": greatest,
        }
    return {
        **parts[0],
        "outcomes": _sum(part["outcomes"] for part in parts),
        "not_finite": _sum(part["not_finite"] for part in parts),
        "keys": keys,
    }


def _archive(parts: Sequence[Report]) -> dict[str, Any]:
    counts = [{name: n for name, n in part.items() if name != "fault"} for part in parts]
    return {**_sum(counts), "fault": _first(part["fault"] for part in parts)}


def _by_shard(reports: Sequence[Report], part: str) -> list[int]:
    """Each worker's numbers are of its own shards: every so many-th, from its index on."""
    found = {
        index + place * one["workers"]: count
        for index, one in zip(reports[0]["here"], reports, strict=True)
        for place, count in enumerate(one[part])
    }
    return [found[shard] for shard in sorted(found)]


def _lag(parts: Sequence[Report]) -> dict[str, Any]:
    rows = [sum(counts) for counts in zip(*(part["rows"] for part in parts), strict=True)]
    return {**parts[0], "rows": rows, "sum_s": round(sum(part["sum_s"] for part in parts), 6)}


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        for name, count in one.items():
            total[name] += count
    return dict(total)


def _first(faults: Iterable[Any]) -> Any:
    return next((fault for fault in faults if fault is not None), None)
