"""Several workers of one engine in one process: what flows between them waits in queues.

The same engines as in production, but for the exchange: here chance decides who reads, who receives
and who commits next, and only what one worker sent to another comes in the order in which it was
sent.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from tegula.engine.deployed import Deployed
from tegula.engine.own import OwnAggregates
from tegula.engine.runtime.barrier import Linked, News
from tegula.engine.runtime.clock import Clock
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.streams import StreamReader
from tegula.engine.settings import Settings
from tegula.engine.steps.lanes import Place
from tegula.engine.steps.parcel import Parcel
from tegula.engine.steps.worker import Worker
from tegula.schemas.errors import SinkError
from tegula.state.checkpoint import Interrupted, Moment, empty, moment_of
from tegula.state.registry import Registry
from tegula.state.shard import Shard

_IN_FLIGHT = 12
"""Parcels that may wait between two workers before the one that sends waits too."""


class Team:
    """`count` workers over one home, opened and met."""

    def __init__(
        self,
        settings: Settings,
        count: int,
        chance: random.Random,
        *,
        clock: Clock,
        own: OwnAggregates | None = None,
    ) -> None:
        self.settings = settings
        self.chance = chance
        self.engines: list[Engine] = []
        self._between: dict[tuple[int, int], deque[Parcel | News]] = {}
        try:
            for index in range(count):
                worker = Worker(index, count)
                engine = Engine(settings, clock=clock, threaded=False, own=own, worker=worker)
                self.engines.append(engine.open())
            greetings = [engine.greeting() for engine in self.engines]
            for engine in self.engines:
                engine.meet(chance.sample(greetings, count))
        except BaseException:
            self.close(clean=False)
            raise

    # As an engine, for who looks at it from outside.

    @property
    def outdated(self) -> bool:
        """Whether any of them has to begin anew, and so all."""
        return any(engine.outdated for engine in self.engines)

    @property
    def deployed(self) -> Deployed:
        return self.engines[0].deployed

    @property
    def shards(self) -> Sequence[Shard]:
        """All shards, by number."""
        return sorted((s for e in self.engines for s in e.shards), key=lambda shard: shard.number)

    def readers(self, stream: str) -> list[StreamReader]:
        return [e.streams[stream] for e in self.engines if stream in e.streams]

    def places(self, stream: str) -> Mapping[str, Place]:
        """Where the archive of a stream stands."""
        return self.engines[0].archiving.places(stream)

    @property
    def archiving(self) -> SimpleNamespace:
        def flush() -> None:
            for engine in self.engines:
                engine.archiving.flush()

        return SimpleNamespace(flush=flush, places=self.places)

    @property
    def registry(self) -> Registry:
        return self.engines[0].registry

    @property
    def now_us(self) -> Clock:
        return self.engines[0].now_us

    def moment(self, folder: Path) -> Moment:
        """A moment of all shards, taken while everything goes on."""
        first = self.engines[0]
        moments: list[Moment] = []

        def complete(linked: list[Linked]) -> None:
            parts = [part for one in linked for part in one.shards]
            moments.append(moment_of(parts, self.registry, folder, self.now_us()))

        first.barriers._complete = complete
        empty(folder)
        first.barriers.begin()
        while not moments:
            if self.outdated:
                raise Interrupted  # all begin anew, and the checkpoint is made then
            with suppress(SinkError):  # a store that refuses is tried again, here as ever
                assert self.step(), "the workers wait for each other"
        return moments[0]

    # What may happen next.

    def step(self) -> bool:
        """One thing that can be done, of one worker; False if there is none."""
        can: list[Callable[[], bool]] = []
        for engine in self.engines:
            if not any(self._is_full(engine, to) for to in range(len(self.engines))):
                can.append(lambda engine=engine: self._read(engine))  # type: ignore[misc]
            if engine.ingest.committer.has_pending:
                can.append(lambda engine=engine: self._commit(engine))  # type: ignore[misc]
            can.append(lambda engine=engine: engine.mirrors.step())  # type: ignore[misc]
        can += [lambda at=at: self._deliver(at) for at, queue in self._between.items() if queue]  # type: ignore[misc]
        self.chance.shuffle(can)
        return any(do() for do in can)

    def look(self) -> None:
        """All look for new builds and partitions."""
        for engine in self.engines:
            engine.look()

    def settle(self) -> None:
        """Until everything that is in the logs is readable, and every build has joined."""
        for _ in range(3):
            while self.step():
                pass
            if self.outdated:
                return
            self.look()

    def _is_full(self, engine: Engine, to: int) -> bool:
        return len(self._between.get((engine.worker.index, to), ())) >= _IN_FLIGHT

    def _read(self, engine: Engine) -> bool:
        if engine.stopping:
            return False
        work = engine.poll()
        if work is None:
            return False
        for to, parcel in enumerate(engine.lift(work)):
            self._between.setdefault((engine.worker.index, to), deque()).append(parcel)
        return True

    def _deliver(self, at: tuple[int, int]) -> bool:
        self.engines[at[1]].add(self._between[at].popleft())
        return True

    def _commit(self, engine: Engine) -> bool:
        engine.committed(engine.commit())
        return True

    def close(self, *, clean: bool = True) -> None:
        """Stop all; what is between them is committed where they stop cleanly, else lost."""
        if clean and all(hasattr(engine, "ingest") for engine in self.engines):
            try:
                self._finish()
            except BaseException:
                self.close(clean=False)
                raise
        while self.engines:
            engine = self.engines.pop()
            try:
                engine.close(clean=clean)
            except BaseException:
                self.close(clean=False)  # one that dies of stopping takes the others with it
                raise

    def _finish(self) -> None:
        for at, queue in self._between.items():
            while queue:
                self._deliver(at)
        for engine in self.engines:
            if engine.ingest.committer.has_pending:
                self._commit(engine)
