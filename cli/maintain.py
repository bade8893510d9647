"""`tegula maintain`: small files of the lake merged, old ones deleted, its logs kept short.

It works beside an engine and readers that go on. The engine does the same by itself
(`maintain_interval_s`); while it does, the command is refused. Interrupting it is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..engine.amounts import number, size
from ..engine.maintenance import maintain as run
from ..engine.progress import Meter
from ..engine.runtime.clock import now_us
from ..engine.settings import load_settings
from ..state.upkeep import UpkeepReport
from .children import stopping_on_signals
from .exits import ENVIRONMENT, INTERRUPTED, OK
from .output import add_row, note, say, show, table, write_error, write_json


def maintain(project: Path | None, dry_run: bool, as_json: bool) -> int:
    """Maintain the lake, or with `dry_run` say what there is to do."""
    settings = load_settings(project)
    with stopping_on_signals() as stop, Meter("Merging", unit="bytes") as meter:
        reports = run(
            settings,
            now_us,
            dry_run=dry_run,
            told=lambda path, done, total: meter.update(done, total, f"Merging {path}"),
            stopping=stop.is_set,
        )
    faults = [fault for report in reports for fault in report.faults]
    if as_json:
        write_json({"dry_run": dry_run, "tables": [report.as_dict() for report in reports]})
    else:
        _print(reports, dry_run=dry_run)
    for fault in faults:
        write_error(fault, as_json)
    if stop.is_set():
        note("Interrupted; what was merged until then stays so.")
        return INTERRUPTED
    return ENVIRONMENT if faults else OK


def _print(reports: Sequence[UpkeepReport], *, dry_run: bool) -> None:
    if not reports:
        say("There is no table yet.")
        return
    numbers = ("files", "on disk", "merged", "into", "deleted")
    shown = table("table", *numbers, numbers=numbers)
    for one in reports:
        counts = (number(count) for count in (one.merged, one.made, one.deleted))
        add_row(shown, one.table, number(one.files), size(one.size_bytes), *counts)
    show(shown)
    if dry_run:
        note("Nothing was changed.")
