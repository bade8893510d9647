"""The manifest: all that a training set was made from, so that it can be made again.

A JSON file, `_tegula/manifest.json` in the set's folder (`docs/formats/dataset.md`). It holds the
definitions themselves, so a set can be made again after they have changed; and the positions up to
which each partition was read, so that what came since does not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from ...connectors.rfc3339 import format_instant
from ...schemas.codec import dump
from ...schemas.errors import DatasetMissing, FormatUnknown
from ...schemas.fingerprints import operational, structural
from ...state.dataset_files import DatasetWriter
from .asked import Asked
from .build import Making
from .statistics import Statistics

FORMAT: Final = 1
FOLDER: Final = "_tegula"
NAME: Final = "manifest.json"
_NO_EVIDENCE: Final[Mapping[str, Any]] = {"streams": {}, "views": {}, "served": None}


def manifest_of(making: Making, statistics: Statistics, rows_hash: str) -> dict[str, Any]:
    """The manifest of a set that was made."""
    order, evidence = making.order, making.evidence
    assert evidence is not None, "it was made"
    asked, options = order.asked, order.options
    return {
        "format": FORMAT,
        "tegula": library(),
        "made_us": order.now_us,
        "made_at": format_instant(order.now_us),
        "clock": options.clock,
        "landing_us": options.landing_us,
        "at": options.at,
        "time_zone": options.zone,
        "keys": dict(options.keys),
        "include": list(options.include),
        "parts": [
            {"view": part.build.view, "columns": list(part.columns), "delay_us": part.delay_us}
            for part in asked.parts
        ],
        "columns": list(asked.columns),
        "entities": [[[name, type_.name] for name, type_ in one] for one in asked.entities],
        "longest_us": asked.longest_us,
        "outcome_us": asked.outcome_us,
        "labels": dict(asked.labels),
        "definitions": dump(asked.definitions),
        "fingerprints": fingerprints(asked),
        "spine": {
            **order.spine.origin,
            "rows": making.rows,
            "columns": making.spine_schema,
            "hash": making.spine_hash,
        },
        **_NO_EVIDENCE,
        **evidence.facts,
        "buckets": making.buckets,
        "rows": making.rows,
        "late_rows": making.late_rows,
        "hash": rows_hash,
        "statistics": statistics.as_list(),
        "notes": evidence.notes,
    }


def fingerprints(asked: Asked) -> dict[str, dict[str, str]]:
    """What the views are, by name: what their state is made from, and the whole definition."""
    return {
        view.name: {"structural": structural(view), "operational": operational(view)}
        for view in asked.definitions.views
    }


def put(writer: DatasetWriter, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Finish a table with its manifest in it, and let it be seen; gives the manifest as it is."""
    writer.finish()
    whole = {**manifest, "files": list(writer.hashes)}
    writer.add(f"{FOLDER}/{NAME}", (json.dumps(whole, indent=2) + "\n").encode())
    writer.put()
    return whole


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in a set's folder, or the file itself.

    Raises `DatasetMissing` where there is none, `FormatUnknown` for one of another format.
    """
    file = path / FOLDER / NAME if path.is_dir() else path
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DatasetMissing(where=str(path)) from fault
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        got = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise FormatUnknown(where=str(file), got=str(got), expected=str(FORMAT))
    return manifest


def folder_of(path: Path) -> Path:
    """The folder of the set that a manifest, or the folder itself, names."""
    return path if path.is_dir() else path.parent.parent


def digest() -> Any:
    """What a set's rows are hashed with."""
    return hashlib.sha256()


def library() -> str:
    """The version of Tegula that runs."""
    try:
        return version("tegula")
    except PackageNotFoundError:
        return "unknown"
