"""Following what changes slowly: builds that were applied, partitions that appeared.

Asking may take long, so it is done beside the dataflow (`survey`); what was found is taken up by
the thread that ingests, between two batches (`look`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ...schemas.errors import (
    OwnAggregateMissing,
    RegistryMissing,
    RegistryUnreachable,
    TegulaError,
)
from ...state.registry import Registry
from ...state.shard import Shard
from ...windows.shape import Shape
from ..deployed import Deployed, load_deployed
from ..own import OwnAggregates
from ..steps.worker import Worker
from .ingest import Ingest
from .joining import Joining
from .mirroring import Mirrors
from .streams import StreamReader


class Running(Protocol):
    """What is running: the engine, as far as it follows changes."""

    registry: Registry
    own: OwnAggregates
    worker: Worker
    deployed: Deployed
    streams: dict[str, StreamReader]
    ingest: Ingest
    mirrors: Mirrors
    joining: Joining
    outdated: bool

    @property
    def shards(self) -> Sequence[Shard]:
        """The worker's own."""
        ...

    def open_stream(self, name: str) -> None: ...

    def shapes(self) -> Mapping[int, Shape]:
        """The builds that the online store is to name."""
        ...

    def note_joined(self) -> None:
        """Take up builds that have joined, where all they were given is committed."""
        ...


class Following:
    """Finds what is new for an engine, and has it taken up."""

    def __init__(self, engine: Running) -> None:
        self._engine = engine
        self._found = engine.deployed
        self._fault: TegulaError | None = None
        self.registry_fault: TegulaError | None = None

    def survey(self) -> None:
        """Ask the logs and the registry what is new; `look` takes it up.

        May wait for them, so it is not called by the thread that ingests. A registry that does not
        answer is reported and asked again: what is deployed goes on. So it does where an aggregate
        of the user's own was applied and has not come to this machine yet.
        """
        engine = self._engine
        for reader in list(engine.streams.values()):
            reader.survey()
        try:
            self._found = load_deployed(engine.registry, engine.deployed, engine.own)
            self.registry_fault = None
        except (RegistryUnreachable, RegistryMissing, OwnAggregateMissing) as fault:
            self.registry_fault = fault
        except TegulaError as fault:
            self._fault = fault

    def look(self) -> None:
        """Take up new builds and partitions, and activate builds that are whole online.

        Raises what the survey found that cannot be gone on with.
        """
        engine = self._engine
        if self._fault is not None:
            raise self._fault
        try:
            for reader in engine.streams.values():
                reader.find_partitions()
            if not engine.ingest.committer.has_pending:
                engine.note_joined()
            engine.joining.activate(engine.mirrors, engine.deployed, engine.registry)
        except (RegistryUnreachable, RegistryMissing) as fault:
            self.registry_fault = fault
        if self._found is not engine.deployed:
            self._deploy(self._found)

    def _deploy(self, deployed: Deployed) -> None:
        engine = self._engine
        before = {build.id for build in engine.deployed.builds}
        after = {build.id: build for build in deployed.builds}
        # Several workers begin anew together: what one lifts must be known to all.
        if self._redefined_by(deployed) or (engine.worker.count > 1 and before != after.keys()):
            # What reads, lifts and archives was made for the old definitions: all is made anew.
            engine.outdated = True
            return
        engine.deployed = deployed
        for gone in before - after.keys():
            for reader in engine.streams.values():
                reader.lanes.drop_build(gone)
        engine.ingest.set_builds(deployed.builds)
        if before != after.keys():
            engine.mirrors.set_shapes(engine.shapes())
        drop_retired(engine)
        for name in deployed.streams:
            if name not in engine.streams:
                engine.open_stream(name)
        for build in deployed.builds:
            if build.id not in before and build.stream in engine.streams:
                lanes = engine.streams[build.stream].lanes
                fed = {*lanes.live.builds, *(b for lane in lanes.behind for b in lane.builds)}
                if build.id not in fed:
                    engine.streams[build.stream].add(build)

    def _redefined_by(self, deployed: Deployed) -> bool:
        """Whether a stream or build that runs is now defined differently."""
        engine = self._engine
        running = {build.id: build for build in engine.deployed.builds}
        return any(
            name in engine.streams and engine.streams[name].stream != plan
            for name, plan in deployed.streams.items()
        ) or any(running.get(build.id, build) != build for build in deployed.builds)


def drop_retired(engine: Running) -> None:
    """Delete the state of builds that are no longer deployed, those of a past run too."""
    wanted = {build.id for build in engine.deployed.builds}
    for shard in engine.shards:
        for build in {build for build, _ in shard.applied} - wanted:
            shard.drop_build(build)
    engine.mirrors.drop_builds(wanted)
