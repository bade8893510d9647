"""A set once more, from its manifest: the same bytes, or what has changed since.

The manifest holds the definitions and how far each partition was read, so neither a changed
definition nor later events matter. What may matter is told: another spine, events that are gone or
were erased, another version of the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ...engine.own import OwnAggregates
from ...engine.progress import Report
from ...engine.settings import Settings
from ...schemas.codec import load
from ...schemas.definitions import Definitions
from ...schemas.errors import BadDataset
from ...state.dataset_files import files_of, scan_delta
from .api import made
from .applied import applied_definitions
from .asked import Asked, resolve
from .manifest import fingerprints, folder_of, library, read_manifest
from .options import MEMORY_BYTES, Options
from .order import Order
from .result import TrainingSet
from .spine import Spine, of_lazy, open_spine


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The set as it is now. `same` says whether its rows are those that it had, bit for bit.

    `changes` are why they are not, or might not have been; `remarks` what does not matter to it.
    """

    dataset: TrainingSet
    same: bool
    changes: tuple[str, ...]
    remarks: tuple[str, ...]


def rebuild(
    path: Path,
    settings: Settings,
    *,
    out: Path | None = None,
    replace: bool = False,
    spine: Any = None,
    memory_bytes: int = MEMORY_BYTES,
    cores: int = 1,
    progress: Report = lambda what, done, total: None,
) -> Rebuilt:
    """Make the set whose folder or manifest `path` is once more, in memory or in `out`.

    `spine` is needed where the first one was in memory and the set's own rows are gone. Raises
    `DatasetMissing`, `HistoryIncomplete` or `NothingServed` where events or answers that were read
    are gone altogether, and what making a set raises.
    """
    before = read_manifest(path)
    own = OwnAggregates(settings.project)
    asked = asked_of(before, load(before["definitions"], own))
    served = before.get("served") or {}
    options = Options(
        at=before["at"],
        zone=before["time_zone"],
        keys=before["keys"],
        clock=before["clock"],
        landing_us=before["landing_us"],
        served_by=served.get("by"),
        max_age_us=served.get("max_age_us"),
        trace=served.get("trace"),
        include=tuple(before["include"]),
        memory_bytes=memory_bytes,
        cores=cores,
    )
    ends = {
        stream: {name: one["end"] for name, one in told["partitions"].items()}
        for stream, told in before["streams"].items()
    } | {service: log["writers"] for service, log in _logs(before).items()}
    given = _spine(before, folder_of(path)) if spine is None else open_spine(spine)
    order = Order(asked, given, options, before["made_us"], ends, before["buckets"])
    dataset = made(order, settings, out, progress, replace=replace)
    after = dataset.manifest
    same = after["hash"] == before["hash"]
    changes = _changes(before, after, asked)
    if not same and not changes:
        changes = ["the values of some rows differ, and nothing else that is known of"]
    return Rebuilt(dataset, same, tuple(changes), tuple(_remarks(before, settings)))


def asked_of(manifest: Mapping[str, Any], definitions: Definitions) -> Asked:
    """What the manifest's set was asked for."""
    views = {view.name: view for view in definitions.views}
    delays = {
        column: (part["view"], part["delay_us"])
        for part in manifest["parts"]
        for column in part["columns"]
    }
    features, labels = [], dict[Any, str]()
    for column in manifest["columns"]:
        view, delay_us = delays[column]
        name = column.removeprefix(f"{view}:").rpartition("+")[0 if delay_us else 2]
        ref = views[view][name]
        if delay_us:
            labels[ref] = f"{delay_us}us"
        else:
            features.append(ref)
    labels |= {name: f"{delay_us}us" for name, delay_us in manifest["labels"].items()}
    return resolve(features, labels, None)


def _spine(manifest: Mapping[str, Any], folder: Path) -> Spine:
    """Where the spine was; else the set's own rows, which have its columns."""
    told = manifest["spine"]
    if told["kind"] == "delta" and Path(told["path"]).exists():
        path, version = Path(told["path"]), told["version"]
        rows = scan_delta(path, version)
        return Spine(lambda: of_lazy(rows), _origin(told), True)
    if told["kind"] == "file" and Path(told["path"]).exists():
        return open_spine(told["path"])
    if not (folder / "_delta_log").is_dir():
        raise BadDataset(
            "nobody knows the spine of this set any more",
            where=str(folder),
            got=f"a spine from {told['kind']}",
            expected="the same spine, or the set's own rows",
            hint="give the spine again, with --spine",
        )
    names = list(told["columns"])
    rows = pl.scan_parquet(list(files_of(folder))).select(names)
    return Spine(lambda: of_lazy(rows), _origin(told))


def _origin(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in ("kind", "path", "version", "query") if name in told}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], asked: Asked) -> list[str]:
    """What is not as it was, of all that the rows depend on."""
    found = []
    if before["spine"]["rows"] != after["spine"]["rows"]:
        rows = before["spine"]["rows"], after["spine"]["rows"]
        found.append(f"the spine had {rows[0]} rows and has {rows[1]}")
    elif before["spine"]["hash"] != after["spine"]["hash"] and not before["labels"]:
        found.append("the spine's rows are others")
    for stream, told in before["streams"].items():
        now = after["streams"][stream]["partitions"]
        for partition, one in told["partitions"].items():
            found += [
                f"stream {stream!r}, partition {partition!r}: {what} was {one[what]} and is "
                f"{now[partition][what]}"
                for what in ("first", "events", "bad", "ordinal")
                if one[what] != now[partition][what]
            ]
    for service, log in _logs(before).items():
        now = _logs(after).get(service, {"rows": 0})["rows"]
        if log["rows"] != now:
            found.append(f"the served log of {service!r} had {log['rows']} answers and has {now}")
    for view, prints in fingerprints(asked).items():
        if prints != before["fingerprints"][view]:
            found.append(f"the view {view!r} has another fingerprint in this version of Tegula")
    if before["tegula"] != library():
        found.append(f"Tegula was {before['tegula']} and is {library()}")
    return found


def _logs(manifest: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The served logs that values were taken from, by service; a manifest of before has none."""
    served = manifest.get("served")
    logs: Mapping[str, Mapping[str, Any]] = served["logs"] if served else {}
    return logs


def _remarks(before: Mapping[str, Any], settings: Settings) -> list[str]:
    """What has changed and does not matter: the manifest has its own definitions."""
    applied = applied_definitions(settings)
    if applied is None:
        return []
    now = fingerprints(resolve([*applied.views], None, None)) if applied.views else {}
    return [
        f"the view {view!r} is defined in another way now; the set is made as it was defined then"
        for view, prints in before["fingerprints"].items()
        if view in now and now[view]["structural"] != prints["structural"]
    ]
