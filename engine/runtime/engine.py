"""The engine: everything between the logs and the stores, put together and kept running.

`Engine` opens a project's home, feeds the dataflow (it is its `Ports`), and between batches looks
after what changes slowly (`following`). It is the one place where the parts meet; each of them is
tested by itself. One engine is one worker: it owns some shards and reads some partitions, alone all
of them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Final
from uuid import uuid4

from ...schemas.errors import NothingApplied, TegulaError
from ...state.checkpoint import link_shards
from ...state.checkpoint_manifest import ShardPart
from ...state.database import Budget, Memory
from ...state.registry import Registry
from ...windows.shape import Shape
from ..deployed import load_deployed
from ..disk import DiskGuard
from ..own import OwnAggregates
from ..settings import Settings
from ..steps.commit import ShardCommit
from ..steps.parcel import Joined, Parcel
from ..steps.standing import Standing
from ..steps.worker import ALONE, Worker
from .archiving import Archiving
from .barrier import Barriers, News
from .checkpointing import Checkpointing
from .clock import Clock, monotonic_us, now_us
from .ending import Ending
from .following import Following, drop_retired
from .greeting import Farewell, Greeting, agree, home_name, judged, run_of, running, sharing
from .home import HomeLock, open_shards
from .housekeeping import Housekeeping
from .ingest import Ingest, Work, archive_rows
from .joining import Joining
from .mirroring import MirrorThread, open_mirrors
from .pacing import commit_interval_us, is_lot, rest_s
from .sources import open_log
from .streams import StreamReader

LOOK_US: Final = 500_000
"""How often the registry and the logs are looked at for changes."""


class Engine:
    """One engine process over one home. Use as a context manager, or `open` and `close`.

    With `threaded=False` nothing runs beside the caller: `step` does everything in turn, which is
    how replays and tests are deterministic. `own` finds the user's own aggregates; without it they
    are imported from the project's folder. An engine is `outdated` once something that it runs has
    been defined differently; it stops, and another one is to go on. One of several workers begins
    when it has been greeted by all (`meet`).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock = now_us,
        threaded: bool = True,
        stop: threading.Event | None = None,
        own: OwnAggregates | None = None,
        worker: Worker = ALONE,
    ) -> None:
        self.settings = settings
        self.worker = worker
        self.now_us = clock
        self.own = own or OwnAggregates(settings.project)
        self._threaded = threaded
        # A clock that is set back must not hold up commits; scripted time is all the time there is.
        self._waited_us = monotonic_us if threaded else clock
        self._stop = stop or threading.Event()
        self.ending = Ending(self._stop)
        self._closing = ExitStack()
        self._looked_us = -LOOK_US
        self._first_pending_us = self._busy_us = 0
        self._was_idle = True
        self._lag_us = 0
        self._turn = 0
        self._clean = True
        self.disk = DiskGuard.of(settings, on=threaded)
        self.streams: dict[str, StreamReader] = {}
        self.row_count = 0
        self.outdated = False

    def open(self) -> Engine:
        """Take the home, and alone make ready to run.

        Raises `StateHeld`, `NothingApplied`, and whatever opening a store or a log raises; what was
        opened until then is closed again.
        """
        try:
            self._hold()
            if self.worker.count == 1:
                self.meet([self.greeting()])
        except BaseException:
            self._closing.close()
            raise
        return self

    def _hold(self) -> None:
        settings, closing = self.settings, self._closing
        lock = HomeLock(settings.home, self.worker)
        closing.callback(lock.release)
        self.registry = Registry(settings.registry_url_or_default)
        closing.callback(self.registry.close)
        self.registry.create(settings.shards)
        self.deployed = load_deployed(self.registry, own=self.own)
        if not self.deployed.streams:
            raise NothingApplied(where=str(settings.project))
        memory = Memory(Budget(write_buffer_bytes=settings.state_memory_bytes))
        numbers = self.worker.shards_of(settings.shards)
        self.shards = open_shards(settings.state_path, numbers, self.registry, memory)
        closing.callback(self._close_shards)

    def greeting(self) -> Greeting:
        """What this worker tells the others before they begin."""
        positions = {shard.number: dict(shard.applied) for shard in self.shards}
        known = judged(self.shards, self.deployed.streams.values(), self.registry, self.settings)
        found, home = running(self.deployed), home_name(self.settings.home)
        return Greeting(self.worker.index, uuid4().hex, found, positions, known, home)

    def meet(self, greetings: Sequence[Greeting]) -> None:
        """Begin, now that all workers have greeted; an engine is `outdated` if they disagree."""
        if not agree(greetings):
            self.outdated = True
            return
        settings, closing = self.settings, self._closing
        self.here: Sequence[int] = sharing(greetings, self.worker.index)
        others = {number: at for one in greetings for number, at in one.positions.items()}
        self.standing = Standing(self.shards, self.worker, others)
        self._judged = {at: offset for one in greetings for at, offset in one.judged.items()}
        self.joining = Joining(self.worker, run_of(greetings), self.now_us)
        self.checkpointing = Checkpointing(self)
        closing.callback(self.checkpointing.stop)
        complete = self.checkpointing.taken_together
        self.barriers = Barriers(self.worker, self._take_moment, complete)
        self._lost = self._without_state()
        self.ingest = Ingest(self.standing, self.deployed.builds)
        self.mirrors = open_mirrors(self.shards, settings, self.shapes(), self.now_us)
        closing.callback(lambda: self.mirrors.close(clean=self._clean, ending=self.ending))
        self.following = Following(self)
        drop_retired(self)
        self.archiving = Archiving(settings, threaded=self._threaded)
        closing.callback(lambda: self.archiving.close(clean=self._clean, ending=self.ending))
        closing.callback(self._close_streams)
        for name in self.deployed.streams:
            self.open_stream(name)
        self.mirrors.set_shapes(self.shapes())  # without the builds that lost their state
        if self._threaded:
            thread = MirrorThread(self.mirrors, settings.mirror_interval_ms, self.ending)
            thread.start()
            closing.callback(thread.stop)
            keeper = Housekeeping(self)
            keeper.start()
            closing.callback(keeper.stop)
        else:
            self.mirrors.step()

    def open_stream(self, name: str) -> None:
        """Begin to read a stream for its builds."""
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
        self._lost |= reader.drop_unjudged(self.standing, builds, self._judged)
        serving = {id_ for id_, status in self.deployed.statuses.items() if status == "live"}
        live = [build for build in builds if build.id in serving - self._lost]
        try:
            reader.start(self.standing, live, archived)
            for build in builds:
                if build not in live:
                    reader.add(build)
        except BaseException:
            reader.close()
            raise
        # Last, because from here on another thread reports of it.
        self.streams[name] = reader

    def shapes(self) -> Mapping[int, Shape]:
        """The builds that the online store is to name, with their shapes."""
        return {
            build.id: build.shape for build in self.deployed.builds if build.id not in self._lost
        }

    def _without_state(self) -> set[int]:
        """Live builds of which some shard holds nothing: their state was lost, or never began.

        They catch up like new ones, and the online store does not name them until they have: a
        build that is being built again must never answer zeros.
        """
        live = {build for build, status in self.deployed.statuses.items() if status == "live"}
        return {build for build in live if not self.standing.holds(build)}

    # What the dataflow asks for.

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called, or what runs is `outdated`."""
        return self._stop.is_set() or self.outdated

    def stop(self) -> None:
        """Ask the dataflow to commit what it has and end. Safe from a signal handler."""
        self._stop.set()

    def farewell(self) -> Farewell:
        """What this worker tells the others as it stops."""
        return Farewell(self.outdated)

    def part(self, farewell: Farewell) -> None:
        """Stop, because another worker does."""
        if farewell.begin_anew:
            self.outdated = True
        else:
            self.stop()

    def poll(self) -> Work | News | None:
        """The next batch of any stream, streams taking turns, or news; None if there is nothing."""
        if self.worker.count == 1:
            self.checkpointing.link()
        else:
            if self.checkpointing.begin_together():
                self.barriers.begin()
            news = self.barriers.to_send()
            if news is not None or not self.barriers.is_reading:
                return news
        if self._waited_us() - self._looked_us >= LOOK_US:
            self._looked_us = self._waited_us()
            self.look()
        readers = list(self.streams.values())
        joined = tuple(build for reader in readers for build in reader.lanes.take_joined())
        if joined:
            return Joined(self.worker.index, joined)
        for step in range(len(readers)):
            reader = readers[(self._turn + step) % len(readers)]
            if not (self.disk.has_room and self.archiving.has_room(reader.stream.name)):
                continue  # held back, but what was taken is committed, and a stop is heeded
            taken = reader.poll()
            if taken is None:
                continue
            self._turn = (self._turn + step + 1) % len(readers)
            work, self._busy_us = taken.work, self._waited_us()
            if work.live:
                now_us = self.now_us()
                self.row_count += work.batch.read_count
                if len(work.batch.log_us):
                    self._lag_us = now_us - int(work.batch.log_us[-1])
                rows = archive_rows(work.batch, taken.watermark_before_us, now_us)
                self.archiving.offer(reader.stream.name, rows)
            return work
        self._was_idle = True
        return None

    def lift(self, work: Work | News) -> Sequence[Parcel | News]:
        """Lift a batch for each of its builds: what goes to each worker, by its index."""
        if not isinstance(work, Work):
            return [work] * self.worker.count
        return self.ingest.lift(work)

    def add(self, parcel: Parcel | News) -> None:
        """Gather what came for this worker's shards, for the next commit; take up news."""
        for passed in self.barriers.passes(parcel):
            self._add(passed)

    def _add(self, parcel: Parcel | Joined) -> None:
        if isinstance(parcel, Joined):
            self.joining.joined(parcel.reader, parcel.builds)
            return
        if not self.ingest.committer.has_pending:
            self._first_pending_us = self._busy_us = self._waited_us()
        self.ingest.add(parcel)
        self.mirrors.lag.gathered(parcel.log_us)

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
        self._stop.wait(rest_s(self._waited_us() - self._busy_us))

    def commit(self) -> list[ShardCommit]:
        """Commit what has gathered."""
        commits = self.ingest.commit()
        self.mirrors.lag.committed([shard.commit_number for shard in self.shards])
        self._was_idle = False
        return commits

    def committed(self, commits: list[ShardCommit]) -> None:
        """Hand commits to the mirrors; builds that joined before them serve once they are whole."""
        self.mirrors.offer(commits)
        self.note_joined()

    def _take_moment(self) -> tuple[ShardPart, ...]:
        """Commit what has gathered, and link this worker's shards as they are then."""
        if self.has_pending:
            self.committed(self.commit())
        return link_shards(self.shards, self.checkpointing.folder)

    def note_joined(self) -> None:
        """Take up builds that have joined, where all that they were given is committed."""
        joined = self.joining.committed([shard.commit_number for shard in self.shards])
        if self._lost.intersection(joined):
            self._lost.difference_update(joined)
            self.mirrors.set_shapes(self.shapes())

    def survey(self) -> None:
        """Ask the logs and the registry what is new; may wait for them."""
        self.following.survey()

    def look(self) -> None:
        """Take up what the last survey found."""
        if not self._threaded:
            self.following.survey()
        if self.barriers.may_change:
            self.following.look()

    @property
    def registry_fault(self) -> TegulaError | None:
        """Why the registry does not tell what is deployed; None if it does."""
        return self.following.registry_fault

    def step(self) -> bool:
        """Take one batch through, commit, mirror; False if there was nothing to do."""
        work = self.poll()
        if work is not None:
            for parcel in self.lift(work):
                self.add(parcel)
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
        # What went wrong first is what is told; closing may only repeat it. Nothing is written
        # then: a commit that failed may be on the disk, and the shard does not know of it.
        with suppress(*(() if kind is None else (TegulaError,))):
            self.close(clean=kind is None)
