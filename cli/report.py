"""What the running engine says of itself, as commands read it: one small file in the home."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from ..engine.report import read_report
from ..engine.runtime.clock import now_us
from ..engine.settings import Settings

STALE_US: Final = 10_000_000


def engine_report(settings: Settings) -> Mapping[str, Any] | None:
    """The report of the engine over this home, or None if none runs.

    An engine on this machine whose process is gone does not run, whatever it last wrote.
    """
    report = read_report(settings.engine_status_path)
    if report is None or now_us() - int(report.get("at_us", 0)) > STALE_US:
        return None
    return report if all(map(_lives, report.get("pids", [report.get("pid", 0)]))) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return pid > 0


def reports_as(settings: Settings, pid: int) -> bool:
    """Whether the engine that runs is the process `pid`, or its workers are that one's children."""
    report = engine_report(settings)
    if report is None:
        return False
    return pid in (*report.get("pids", [report.get("pid")]), report.get("parent"))
