"""Maintenance of a project's whole lake, for the command and for the engine alike.

One of them does it at a time: a lock in the home says so at once, and where homes share a lake
Delta's own commits do (`state/upkeep.py`). Writers and readers go on meanwhile.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from ..schemas.errors import MaintenanceRunning, TegulaError
from ..state.upkeep import Upkeep, UpkeepPolicy, UpkeepReport
from .disk import LEAST_BYTES_MAX
from .lake import lake_of, tables
from .settings import Settings

_LOCK: Final = "maintain.lock"
_DONE: Final = "maintained"

Told = Callable[[str, int, int], None]
"""Is told the table, the bytes of it that are merged, and those that are to be."""


def maintain(
    settings: Settings,
    now_us: Callable[[], int],
    *,
    dry_run: bool = False,
    told: Told = lambda table, done, total: None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[UpkeepReport, ...]:
    """Maintain every table of the lake; with `dry_run` only say what there is to do.

    What hinders one table is among its report's faults, and the others are maintained all the same.
    Raises `MaintenanceRunning`, and `SinkError` if the lake cannot be listed.
    """
    least = settings.disk_free_min_bytes
    policy = UpkeepPolicy(
        settings.maintain_file_bytes,
        settings.maintain_retention_s,
        LEAST_BYTES_MAX if least is None else least,
    )
    reports = []
    with _alone(settings.home):
        lake = lake_of(settings)
        for path, order in tables(lake):
            if stopping():
                break
            report = UpkeepReport(path)
            try:
                upkeep = Upkeep(lake.below(path), policy, order=order, now_us=now_us)
                upkeep.run(
                    report,
                    dry_run=dry_run,
                    progress=partial(told, path),
                    stopping=stopping,
                )
            except TegulaError as fault:
                report.faults.append(fault)
            reports.append(report)
        if not (dry_run or stopping()):
            _note(settings.home, now_us())
    return tuple(reports)


def maintained_us(settings: Settings) -> int | None:
    """When the lake was last maintained from this home, µs since the epoch; None if never."""
    try:
        return int((settings.home / _DONE).read_text())
    except (OSError, ValueError):
        return None


def _note(home: Path, at_us: int) -> None:
    with suppress(OSError):  # a disk that is full; then it is done again sooner
        (home / _DONE).write_text(str(at_us))


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the home's lock of maintenance, which goes with the process however that ends."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / _LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            raise MaintenanceRunning(
                where=str(home), holder=f"process {holder}" if holder else ""
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
