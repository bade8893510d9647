"""What is deployed: the streams and builds that the registry says are to be run.

Compiled from the registry alone, never from a user's files, so that every process of a project
runs the same definitions. What a build's tiles hold never changes; how it is kept and served
(names, lateness, history) is as the view was applied last, as long as that means the same tiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..schemas.codec import load
from ..schemas.definitions import Definitions, FeatureView
from ..schemas.errors import FingerprintMismatch
from ..schemas.fingerprints import structural
from ..schemas.nodes import columns
from ..schemas.own import LookUp
from ..state.registry import BuildRow, BuildStatus, Registry
from .plan import Build, StreamPlan, compile_view, stream_plan


@dataclass(frozen=True, slots=True)
class Deployed:
    """Streams by name, builds in order of their numbers, and each build's status."""

    version: int
    streams: Mapping[str, StreamPlan]
    builds: tuple[Build, ...]
    statuses: Mapping[int, BuildStatus]

    def view_of(self, build: int) -> str:
        """The view that a build is of."""
        return next(one.view for one in self.builds if one.id == build)


def load_deployed(
    registry: Registry, previous: Deployed | None = None, own: LookUp | None = None
) -> Deployed:
    """What the registry says now; `previous` itself if nothing has changed.

    A stream is read with all columns that it has now, and those that a build of an older definition
    still reads. `own` finds the user's own aggregates. Raises `FingerprintMismatch` if a stored
    definition no longer compiles to the build it was made for, and what `own` raises.
    """
    head = registry.head()
    rows = registry.builds(("catching_up", "live"))
    version = 0 if head is None else head.number
    statuses: dict[int, BuildStatus] = {row.id: row.status for row in rows}
    if previous and previous.version == version and previous.statuses == statuses:
        return previous
    applied = Definitions() if head is None else load(head.definitions, own)
    streams = {stream.name: stream_plan(stream) for stream in applied.streams}
    builds = []
    for row in rows:
        view = _view_of(row, applied, own)
        builds.append(_compiled(row, view))
        stream = streams.get(view.stream.name)
        if stream is not None:
            older = {name: view.stream.schema[name] for name in columns_read(builds[-1])}
            streams[stream.name] = replace(stream, schema={**older, **stream.schema})
    return Deployed(version, streams, tuple(builds), statuses)


def build_of(row: BuildRow, applied: Definitions, own: LookUp | None = None) -> Build:
    """The build that a row of the registry stands for.

    As long as `applied`, the definitions in force, mean the same state by its view, they also say
    how it is kept and served; otherwise the definition that it was made for does. `own` finds the
    user's own aggregates. Raises `FingerprintMismatch` if it no longer compiles to the same.
    """
    return _compiled(row, _view_of(row, applied, own))


def columns_read(build: Build) -> tuple[str, ...]:
    """The columns of its stream that a build reads, each once."""
    nodes = [node for _, node, _ in build.inputs]
    if build.where is not None:
        nodes.append(build.where)
    names = [name for node in nodes for name in columns(node)]
    return tuple(dict.fromkeys([*(name for name, _ in build.entity_keys), *names]))


def _view_of(row: BuildRow, applied: Definitions, own: LookUp | None) -> FeatureView:
    for view in applied.views:
        if view.name == row.view and structural(view) == row.structural:
            return view
    return next(view for view in load(row.definition, own).views if view.name == row.view)


def _compiled(row: BuildRow, view: FeatureView) -> Build:
    build = compile_view(view, row.id)
    if build.fingerprint != row.structural:
        raise FingerprintMismatch(view=row.view, got=row.structural, expected=build.fingerprint)
    return build
