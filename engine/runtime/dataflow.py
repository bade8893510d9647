"""The dataflow; with `labels`, the only module that knows bytewax.

    source ── lift ── (exchange by owner) ── commit ── mirror

What flows are micro-batches, never single events: a source hands on one admitted batch at a time,
and the commit step gathers what is lifted until it is time to commit. Bytewax schedules and, with
several workers, exchanges; its recovery is not used, because truth is in the state.

Workers greet each other first, through the same exchange; no source reads before it was greeted by
all. Bytewax sends an item to the worker that its own hash of the item's key names: `labels` finds a
key for each worker by trying, and what comes to the wrong one ends the dataflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main

from ...schemas.errors import WorkerLost
from ..steps.commit import ShardCommit
from ..steps.parcel import Parcel
from ..steps.worker import Worker
from .barrier import News
from .credit import Credit, Taken
from .greeting import Farewell, Greeting
from .ingest import Work
from .labels import labels

_PANIC: Final = "PanicException"
"""What bytewax raises where a worker that it sends to is gone; the class cannot be imported."""

_AT_ONCE: Final = datetime.fromtimestamp(0, UTC)

EPOCH: Final = timedelta(days=1)
"""At its end a source waits for the slowest worker, in an endless loop: `credit` does without."""

_T = TypeVar("_T")


class Ports(Protocol):
    """What the dataflow needs of the engine that it runs."""

    @property
    def worker(self) -> Worker:
        """Which of how many it is."""
        ...

    def greeting(self) -> Greeting: ...

    def meet(self, greetings: Sequence[Greeting]) -> None: ...

    def poll(self) -> Work | News | None: ...

    def lift(self, work: Work | News) -> Sequence[Parcel | News]: ...

    def add(self, parcel: Parcel | News) -> None: ...

    @property
    def has_pending(self) -> bool:
        """Whether something waits for a commit."""
        ...

    @property
    def is_commit_due(self) -> bool: ...

    def rest(self) -> None:
        """Wait a little for something to do."""
        ...

    def commit(self) -> list[ShardCommit]: ...

    def committed(self, commits: list[ShardCommit]) -> None: ...

    @property
    def stopping(self) -> bool: ...

    def farewell(self) -> Farewell:
        """What this worker tells the others as it stops."""
        ...

    def part(self, farewell: Farewell) -> None:
        """Stop, because another worker does."""
        ...


_Item = Greeting | Parcel | News | Farewell | Taken | None
"""What comes to a worker's commit step; None says that a commit is due."""

_Sent = tuple[str, tuple[int, _Item]]
"""With the label of the worker to whom it goes, and its index."""


def run(ports: Ports, addresses: Sequence[str] = ()) -> None:
    """Run the dataflow until `ports.stopping`; returns after a last commit.

    `addresses` are where the workers reach each other, `host:port` by their index. Raises what a
    step raised, as it was raised; nothing is committed after it. Raises `WorkerLost` if another
    worker ended in any other way than by ending them all.
    """
    steps = _Steps(ports)
    keys = ["0"] if ports.worker.count == 1 else labels(ports.worker.count)
    flow = Dataflow("tegula")
    sent = op.input("source", flow, _Source(steps, keys))
    commits = op.stateful_batch("commit", sent, lambda _: _Commit(steps))
    op.output("mirror", commits, _Sink(steps))
    worker = ports.worker
    epoch = EPOCH if worker.count > 1 else None
    try:
        cluster_main(flow, list(addresses), worker.index, epoch_interval=epoch)  # type: ignore[no-untyped-call]
    except BaseException as end:
        if steps.fault is None and type(end).__name__ == _PANIC and worker.count > 1:
            raise WorkerLost(worker=worker.index, workers=worker.count) from None
        if steps.fault is None:
            raise
    if steps.fault is not None:
        raise steps.fault


class _Steps:
    """The ports, until one of them fails; then none is called any more, and the source ends.

    Bytewax would make a fault one of its own, and go on to the end of input with what other steps
    still hold: a commit that follows a failed one would move positions past what was lost.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self.worker = ports.worker
        self.fault: BaseException | None = None
        self._greetings: dict[int, Greeting] = {}
        self.has_met = ports.worker.count == 1  # alone, it has met itself as it was opened
        self.credit = Credit(ports.worker)

    @property
    def stopping(self) -> bool:
        return self.fault is not None or self._ports.stopping

    def greeting(self) -> Greeting | None:
        return self._try(self._ports.greeting)

    def poll(self) -> Work | News | None:
        return self._try(self._ports.poll)

    def lift(self, work: Work | News) -> Sequence[Parcel | News]:
        return self._try(lambda: self._ports.lift(work)) or ()

    def take(self, receiver: int, item: _Item) -> None:
        if receiver != self.worker.index:
            self.fault = self.fault or AssertionError(f"sent to worker {receiver}")
        elif isinstance(item, Greeting):
            self._greetings[item.worker] = item
            if len(self._greetings) == self.worker.count:
                self._try(lambda: self._ports.meet(list(self._greetings.values())))
                self.has_met = True
        elif isinstance(item, Farewell):
            self._ports.part(item)
        elif isinstance(item, Taken):
            self.credit.told(item)
        elif item is not None:
            if isinstance(item, Parcel):
                self.credit.received(item.reader)
            self._try(lambda: self._ports.add(item))

    def farewell(self) -> Farewell:
        return self._ports.farewell()

    @property
    def has_pending(self) -> bool:
        return self.fault is None and self.has_met and self._ports.has_pending

    @property
    def is_commit_due(self) -> bool:
        return self.fault is None and self.has_met and self._ports.is_commit_due

    def rest(self) -> None:
        self._try(self._ports.rest)

    def commit(self) -> list[ShardCommit]:
        return self._try(self._ports.commit) or []

    def committed(self, commits: list[ShardCommit]) -> None:
        self._try(lambda: self._ports.committed(commits))

    def _try(self, step: Callable[[], _T]) -> _T | None:
        if self.fault is None:
            try:
                return step()
            except BaseException as fault:  # noqa: BLE001 - raised again when the dataflow has ended
                self.fault = fault
        return None


class _Source(DynamicSource[_Sent]):
    def __init__(self, ports: _Steps, keys: Sequence[str]) -> None:
        self._ports = ports
        self._keys = keys

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _SourcePart:
        return _SourcePart(self._ports, self._keys)


class _SourcePart(StatelessSourcePartition[_Sent]):
    """One worker's source: multiplexes all its partitions of all streams by itself, and lifts.

    Where there is nothing to read it says so downstream, by None, when a commit is due: bytewax
    would wake a step by the wall clock, which may be set back, and rests here for the same reason.
    """

    def __init__(self, ports: _Steps, keys: Sequence[str]) -> None:
        self._ports = ports
        self._keys = keys
        self._has_greeted = ports.has_met
        self._has_told = ports.worker.count == 1

    def next_batch(self) -> Iterable[_Sent]:
        ports, own = self._ports, self._ports.worker.index
        if not self._has_greeted:
            # Also one that is to stop: the others wait for it.
            self._has_greeted = True
            return self._to_all(ports.greeting())
        if ports.stopping:
            if ports.fault is not None and ports.worker.count > 1:
                raise ports.fault  # the others end too, and all begin anew from what is committed
            if self._has_told:
                raise StopIteration
            self._has_told = True
            return self._to_all(ports.farewell())
        told: list[_Sent] = [(self._keys[to], (to, one)) for to, one in ports.credit.to_tell()]
        if ports.has_met and ports.credit.may_send:
            work = ports.poll()
            if work is not None:
                return [*told, *self._lifted(work)]
        if ports.is_commit_due:
            return [*told, (self._keys[own], (own, None))]
        if not told:
            ports.rest()
        return told

    def _lifted(self, work: Work | News) -> Iterable[_Sent]:
        parcels = self._ports.lift(work)
        if parcels and isinstance(parcels[0], Parcel):
            self._ports.credit.sent()
        return [(self._keys[to], (to, parcel)) for to, parcel in enumerate(parcels)]

    def _to_all(self, item: _Item) -> Iterable[_Sent]:
        return [(key, (to, item)) for to, key in enumerate(self._keys)]

    def next_awake(self) -> datetime:
        return _AT_ONCE


class _Commit(StatefulBatchLogic[tuple[int, _Item], list[ShardCommit], None]):
    """Gathers what comes for a worker's shards and commits when it is due."""

    def __init__(self, ports: _Steps) -> None:
        self._ports = ports

    def on_batch(self, values: list[tuple[int, _Item]]) -> tuple[Iterable[list[ShardCommit]], bool]:
        for receiver, item in values:
            self._ports.take(receiver, item)
        return ([self._ports.commit()] if self._ports.is_commit_due else []), self.RETAIN

    def on_eof(self) -> tuple[Iterable[list[ShardCommit]], bool]:
        return ([self._ports.commit()] if self._ports.has_pending else []), self.RETAIN

    def snapshot(self) -> None:
        return None


class _Sink(DynamicSink[tuple[str, list[ShardCommit]]]):
    def __init__(self, ports: _Steps) -> None:
        self._ports = ports

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _SinkPart:
        return _SinkPart(self._ports)


class _SinkPart(StatelessSinkPartition[tuple[str, list[ShardCommit]]]):
    def __init__(self, ports: _Steps) -> None:
        self._ports = ports

    def write_batch(self, items: list[tuple[str, list[ShardCommit]]]) -> None:
        for _, commits in items:
            self._ports.committed(commits)
