"""The engine: everything between the logs and the stores, put together and kept running.

`Engine` opens a project's home, feeds the dataflow (it is its `Ports`), and between batches looks
after what changes slowly: new builds, new partitions, builds that have caught up. It is the one
place where the parts meet; each of them is tested by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Final

from ...schemas.errors import (
    NothingApplied,
    OwnAggregateMissing,
    RegistryMissing,
    RegistryUnreachable,
    TegulaError,
)
from ...state.database import Budget, Memory
from ...state.registry import Registry
from ...windows.shape import Shape
from ..deployed import Deployed, load_deployed
from ..disk import DiskGuard
from ..own import OwnAggregates
from ..settings import Settings
from ..steps.commit import ShardCommit
from .archiving import Archiving
from .checkpointing import Checkpointing
from .clock import Clock, monotonic_us, now_us
from .ending import Ending
from .home import HomeLock, open_shards
from .housekeeping import Housekeeping
from .ingest import Ingest, LiftedWork, Work, archive_rows
from .joining import Joining
from .mirroring import MirrorThread, open_mirrors
from .pacing import commit_interval_us, is_lot
from .sources import open_log
from .streams import StreamReader

LOOK_US: Final = 500_000
"""How often the registry and the logs are looked at for changes."""

_REST_S: Final = 0.002


class Engine:
    """One engine process over one home. Use as a context manager, or `open` and `close`.

    With `threaded=False` nothing runs beside the caller: `step` does everything in turn, which is
    how replays and tests are deterministic. `own` finds the user's own aggregates; without it they
    are imported from the project's folder. An engine is `outdated` once something that it runs has
    been defined differently; it stops, and another one is to go on.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock = now_us,
        threaded: bool = True,
        stop: threading.Event | None = None,
        own: OwnAggregates | None = None,
    ) -> None:
        self.settings = settings
        self.now_us = clock
        self.own = own or OwnAggregates(settings.project)
        self._threaded = threaded
        # A clock that is set back must not hold up commits; scripted time is all the time there is.
        self._waited_us = monotonic_us if threaded else clock
        self._stop = stop or threading.Event()
        self.ending = Ending(self._stop)
        self._closing = ExitStack()
        self._looked_us = -LOOK_US
        self._first_pending_us = 0
        self._was_idle = True
        self._lag_us = 0
        self._turn = 0
        self._joining = Joining()
        self.disk = DiskGuard.of(settings, on=threaded)
        self.streams: dict[str, StreamReader] = {}
        self.row_count = 0
        self.outdated = False
        self.registry_fault: TegulaError | None = None
        self._survey_fault: TegulaError | None = None

    def open(self) -> Engine:
        """Take the home and make ready to run.

        Raises `StateHeld`, `NothingApplied`, and whatever opening a store or a log raises; what was
        opened until then is closed again.
        """
        with ExitStack() as opened:
            settings = self.settings
            lock = HomeLock(settings.home)
            opened.callback(lock.release)
            self.registry = Registry(settings.registry_url_or_default)
            opened.callback(self.registry.close)
            self.registry.create(settings.shards)
            self.deployed = self._found = load_deployed(self.registry, own=self.own)
            if not self.deployed.streams:
                raise NothingApplied(where=str(settings.project))
            memory = Memory(Budget(write_buffer_bytes=settings.state_memory_bytes))
            self.shards = open_shards(settings.state_path, settings.shards, self.registry, memory)
            self._clean = True
            opened.callback(self._close_shards)
            self.checkpointing = Checkpointing(self)
            opened.callback(self.checkpointing.stop)
            self._lost = self._without_state()
            self.ingest = Ingest(self.shards, self.deployed.builds)
            self.mirrors = open_mirrors(self.shards, settings, self._shapes(), self.now_us)
            opened.callback(lambda: self.mirrors.close(clean=self._clean, ending=self.ending))
            self._drop_retired()
            self._open_streams(opened)
            self.mirrors.set_shapes(self._shapes())  # without the builds that lost their state
            if self._threaded:
                thread = MirrorThread(self.mirrors, settings.mirror_interval_ms, self.ending)
                thread.start()
                opened.callback(thread.stop)
                keeper = Housekeeping(self)
                keeper.start()
                opened.callback(keeper.stop)
            else:
                self.mirrors.step()
            self._closing = opened.pop_all()
        return self

    def _open_streams(self, opened: ExitStack) -> None:
        self.archiving = Archiving(self.settings, threaded=self._threaded)
        opened.callback(lambda: self.archiving.close(clean=self._clean, ending=self.ending))
        opened.callback(self._close_streams)
        for name in self.deployed.streams:
            self._open_stream(name)

    def _open_stream(self, name: str) -> None:
        stream = self.deployed.streams[name]
        log = open_log(stream, self.settings)
        archive = self.archiving.open(stream)
        reader = StreamReader(
            stream,
            log,
            archive,
            self.registry,
            threaded=self._threaded,
            now_us=self.now_us,
            record_bytes_max=self.settings.record_bytes_max,
        )
        builds = [build for build in self.deployed.builds if build.stream == name]
        archived = self.archiving.places(name)
        self._lost |= reader.drop_unjudged(self.shards, builds, archived)
        serving = {id_ for id_, status in self.deployed.statuses.items() if status == "live"}
        live = [build for build in builds if build.id in serving - self._lost]
        try:
            reader.start(self.shards, live, archived)
            for build in builds:
                if build not in live:
                    reader.add(self.shards, build)
        except BaseException:
            reader.close()
            raise
        # Last, because from here on another thread reports of it.
        self.streams[name] = reader

    def _shapes(self) -> Mapping[int, Shape]:
        return {
            build.id: build.shape for build in self.deployed.builds if build.id not in self._lost
        }

    def _without_state(self) -> set[int]:
        """Live builds of which some shard holds nothing: their state was lost, or never began.

        They catch up like new ones, and the online store does not name them until they have: a
        build that is being built again must never answer zeros.
        """
        held = [{build for build, _ in shard.applied} for shard in self.shards]
        live = {build for build, status in self.deployed.statuses.items() if status == "live"}
        return {build for build in live if not all(build in shard for shard in held)}

    # What the dataflow asks for.

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called, or what runs is `outdated`."""
        return self._stop.is_set() or self.outdated

    def stop(self) -> None:
        """Ask the dataflow to commit what it has and end. Safe from a signal handler."""
        self._stop.set()

    def poll(self) -> Work | None:
        """The next batch of any stream, streams taking turns; None if there is nothing now."""
        self.checkpointing.link()
        if self._waited_us() - self._looked_us >= LOOK_US:
            self._looked_us = self._waited_us()
            self.look()
        readers = list(self.streams.values())
        for step in range(len(readers)):
            reader = readers[(self._turn + step) % len(readers)]
            if not (self.disk.has_room and self.archiving.has_room(reader.stream.name)):
                continue  # held back, but what was taken is committed, and a stop is heeded
            taken = reader.poll()
            if taken is None:
                continue
            self._turn = (self._turn + step + 1) % len(readers)
            self._joining.taken()
            self._joining.reached(reader.lanes.take_joined())
            if taken.live:
                now_us = self.now_us()
                self.row_count += taken.work.batch.read_count
                if len(taken.work.batch.log_us):
                    self._lag_us = now_us - int(taken.work.batch.log_us[-1])
                rows = archive_rows(taken.work.batch, taken.watermark_before_us, now_us)
                self.archiving.offer(reader.stream.name, rows)
            return replace(taken.work, live=taken.live)
        self._was_idle = True
        return None

    def lift(self, work: Work) -> LiftedWork:
        """Lift a batch for each of its builds."""
        return self.ingest.lift(work)

    def add(self, lifted: LiftedWork) -> None:
        """Gather a lifted batch for the next commit."""
        if not self.ingest.committer.has_pending:
            self._first_pending_us = self._waited_us()
        self.ingest.add(lifted)
        self.mirrors.lag.gathered(lifted.new_log_us)
        self._joining.gathered()

    @property
    def has_pending(self) -> bool:
        """Whether something waits for a commit."""
        return self.ingest.committer.has_pending

    @property
    def is_commit_due(self) -> bool:
        """Whether what has gathered is to be committed now."""
        committer = self.ingest.committer
        if not committer.has_pending or is_lot(committer.pending_rows, committer.pending_bytes):
            return committer.has_pending
        interval_us = commit_interval_us(
            self.settings.commit_interval_ms * 1_000,
            self._lag_us,
            idle=self._was_idle,
            catching_up=any(reader.lanes.behind for reader in self.streams.values()),
        )
        return self._waited_us() - self._first_pending_us >= interval_us

    def rest(self) -> None:
        """Wait a little for something to do; a stop ends the wait."""
        self._stop.wait(_REST_S)

    def commit(self) -> list[ShardCommit]:
        """Commit what has gathered."""
        commits = self.ingest.commit()
        self.mirrors.lag.committed([shard.commit_number for shard in self.shards])
        self._was_idle = False
        return commits

    def committed(self, commits: list[ShardCommit]) -> None:
        """Hand commits to the mirrors; builds that joined before them serve once they are whole."""
        self.mirrors.offer(commits)
        self._note_joined()

    def _note_joined(self) -> None:
        joined = self._joining.committed([shard.commit_number for shard in self.shards])
        if self._lost.intersection(joined):
            self._lost.difference_update(joined)
            self.mirrors.set_shapes(self._shapes())

    # What changes slowly.

    def survey(self) -> None:
        """Ask the logs and the registry what is new; `look` takes it up.

        May wait for them, so it is not called by the thread that ingests. A registry that does not
        answer is reported and asked again: what is deployed goes on. So it does where an aggregate
        of the user's own was applied and has not come to this machine yet.
        """
        for reader in list(self.streams.values()):
            reader.survey()
        try:
            self._found = load_deployed(self.registry, self.deployed, self.own)
            self.registry_fault = None
        except (RegistryUnreachable, RegistryMissing, OwnAggregateMissing) as fault:
            self.registry_fault = fault
        except TegulaError as fault:
            self._survey_fault = fault

    def look(self) -> None:
        """Take up new builds and partitions, and activate builds that are whole online.

        Raises what the survey found that cannot be gone on with.
        """
        if not self._threaded:
            self.survey()
        if self._survey_fault is not None:
            raise self._survey_fault
        try:
            for reader in self.streams.values():
                reader.find_partitions()
                self._joining.reached(reader.lanes.take_joined())
            if not self.ingest.committer.has_pending:
                self._note_joined()
            self._joining.activate(self.mirrors, self.deployed, self.registry)
        except (RegistryUnreachable, RegistryMissing) as fault:
            self.registry_fault = fault
        if self._found is not self.deployed:
            self._deploy(self._found)

    def _deploy(self, deployed: Deployed) -> None:
        if self._redefined_by(deployed):
            # What reads, lifts and archives was made for the old definitions: all is made anew.
            self.outdated = True
            return
        before = {build.id for build in self.deployed.builds}
        self.deployed = deployed
        after = {build.id: build for build in deployed.builds}
        for gone in before - after.keys():
            for reader in self.streams.values():
                reader.lanes.drop_build(gone)
        self.ingest.set_builds(deployed.builds)
        if before != after.keys():
            self.mirrors.set_shapes(self._shapes())
        self._drop_retired()
        for name in deployed.streams:
            if name not in self.streams:
                self._open_stream(name)
        for build in deployed.builds:
            if build.id not in before and build.stream in self.streams:
                lanes = self.streams[build.stream].lanes
                fed = {*lanes.live.builds, *(b for lane in lanes.behind for b in lane.builds)}
                if build.id not in fed:
                    self.streams[build.stream].add(self.shards, build)

    def _redefined_by(self, deployed: Deployed) -> bool:
        """Whether a stream or build that runs is now defined differently."""
        running = {build.id: build for build in self.deployed.builds}
        return any(
            name in self.streams and self.streams[name].stream != plan
            for name, plan in deployed.streams.items()
        ) or any(running.get(build.id, build) != build for build in deployed.builds)

    def _drop_retired(self) -> None:
        """Delete the state of builds that are no longer deployed, those of a past run too."""
        wanted = {build.id for build in self.deployed.builds}
        for shard in self.shards:
            for build in {build for build, _ in shard.applied} - wanted:
                shard.drop_build(build)
        self.mirrors.drop_builds(wanted)

    # Running without the dataflow.

    def step(self) -> bool:
        """Take one batch through, commit, mirror; False if there was nothing to do."""
        work = self.poll()
        if work is not None:
            self.add(self.lift(work))
        if self.ingest.committer.has_pending:
            self.committed(self.commit())
        mirrored = self.mirrors.step()
        return work is not None or mirrored

    def settle(self) -> None:
        """Step until every event that is in the logs is readable and every build has joined."""
        while self.step():
            pass
        self.look()
        while self.step():
            pass
        self.look()

    def close(self, *, clean: bool = True) -> None:
        """Stop: finish the mirrors and the archive, sync, let the home go.

        `clean=False` lets go as a crash would, for tests of recovery.
        """
        self._clean = clean
        self._closing.close()

    def _close_streams(self) -> None:
        for reader in self.streams.values():
            reader.close()

    def _close_shards(self) -> None:
        with ExitStack() as closing:  # all of them, also if one cannot note that it was closed
            for shard in self.shards:
                whole = self._clean and self.ending.is_whole
                closing.callback(shard.close if whole else shard.abandon)

    def __enter__(self) -> Engine:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What went wrong first is what is told; closing may only repeat it.
        with suppress(*(() if kind is None else (TegulaError,))):
            self.close()
