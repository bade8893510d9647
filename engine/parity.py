"""Where the last report of parity of each service lies: checks write it, servers show it.

`parity/<service>.json` in the home, replaced as a whole by each check.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson


def keep_report(folder: Path, service: str, report: Mapping[str, Any]) -> None:
    """Put a service's report in the place of its last one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{service}.json"
    written = path.with_suffix(f".{os.getpid()}")
    written.write_bytes(orjson.dumps(report))
    written.replace(path)


def last_reports(folder: Path) -> dict[str, Mapping[str, Any]]:
    """The last report of each service that was checked, by name; of damaged ones none."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            report = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
        if isinstance(report, dict):
            found[path.stem] = report
    return found
