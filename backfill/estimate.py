"""What a backfill has to read: rows, bytes, files, and about how long that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..engine.lake import lake_of
from ..engine.own import OwnAggregates
from ..engine.plan import compile as compile_plan
from ..engine.settings import Settings
from ..schemas.codec import load
from ..schemas.errors import UnknownView
from ..state.archive_files import ArchiveFiles
from ..state.registry import Registry

EVENTS_PER_SECOND: Final = 300_000
"""What a replay takes in, for the estimate; a progress bar then shows what it really does."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a backfill of a view has to read from the archive, and about how long that takes."""

    view: str
    stream: str
    rows: int
    size_bytes: int
    files: int
    seconds: float


def estimate(settings: Settings, registry: Registry, view: str) -> Estimate:
    """What building `view` anew would read. Raises `UnknownView`."""
    head = registry.head()
    plan = compile_plan(load(head.definitions, OwnAggregates(settings.project))) if head else None
    known = () if plan is None else tuple(build.view for build in plan.builds)
    if plan is None or view not in known:
        raise UnknownView(view=view, known=known)
    stream = plan.stream(plan.build_of(view).stream)
    files = ArchiveFiles(lake_of(settings), stream.name, stream.schema)
    files.refresh()
    spans = [span for name in files.partitions() for span in files.spans(name, 0)]
    rows = sum(one.row_count for one in spans)
    size_bytes = sum(one.size_bytes for one in spans)
    seconds = round(rows / EVENTS_PER_SECOND, 3)
    return Estimate(view, stream.name, rows, size_bytes, len(spans), seconds)
