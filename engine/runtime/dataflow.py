"""The dataflow, and the only module that knows bytewax.

    source ── lift ── (exchange by owner) ── commit ── mirror

What flows are micro-batches, never single events: a source hands on one admitted batch at a time,
and the commit step gathers what is lifted until it is time to commit. Bytewax schedules and, with
several workers, exchanges; its recovery is not used, because truth is in the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from ..steps.commit import ShardCommit
from .ingest import LiftedWork, Work

_AT_ONCE: Final = datetime.fromtimestamp(0, UTC)
_OWNER: Final = "0"

_T = TypeVar("_T")


class Ports(Protocol):
    """What the dataflow needs of the engine that it runs."""

    def poll(self) -> Work | None: ...

    def lift(self, work: Work) -> LiftedWork: ...

    def add(self, lifted: LiftedWork) -> None: ...

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


def run(ports: Ports) -> None:
    """Run the dataflow until `ports.stopping`; returns after a last commit.

    Raises what a step raised, as it was raised; nothing is committed after it.
    """
    steps = _Steps(ports)
    flow = Dataflow("tegula")
    batches = op.input("source", flow, _Source(steps))
    lifted = op.map("lift", batches, lambda work: (_OWNER, steps.lift(work)))
    commits = op.stateful_batch("commit", lifted, lambda _: _Commit(steps))
    op.output("mirror", commits, _Sink(steps))
    run_main(flow)  # type: ignore[no-untyped-call]
    if steps.fault is not None:
        raise steps.fault


class _Steps:
    """The ports, until one of them fails; then none is called any more, and the source ends.

    Bytewax would make a fault one of its own, and go on to the end of input with what other steps
    still hold: a commit that follows a failed one would move positions past what was lost.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self.fault: BaseException | None = None

    @property
    def stopping(self) -> bool:
        return self.fault is not None or self._ports.stopping

    def poll(self) -> Work | None:
        return self._try(self._ports.poll)

    def lift(self, work: Work | None) -> LiftedWork | None:
        return None if work is None else self._try(lambda: self._ports.lift(work))

    def add(self, lifted: LiftedWork | None) -> None:
        if lifted is not None:
            self._try(lambda: self._ports.add(lifted))

    @property
    def has_pending(self) -> bool:
        return self.fault is None and self._ports.has_pending

    @property
    def is_commit_due(self) -> bool:
        return self.fault is None and self._ports.is_commit_due

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


class _Source(DynamicSource[Work | None]):
    def __init__(self, ports: _Steps) -> None:
        self._ports = ports

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _SourcePart:
        return _SourcePart(self._ports)


class _SourcePart(StatelessSourcePartition[Work | None]):
    """One worker's source: multiplexes all partitions of all streams by itself.

    Where there is nothing to read it says so downstream, by None, when a commit is due: bytewax
    would wake a step by the wall clock, which may be set back, and rests here for the same reason.
    """

    def __init__(self, ports: _Steps) -> None:
        self._ports = ports

    def next_batch(self) -> Iterable[Work | None]:
        if self._ports.stopping:
            raise StopIteration
        work = self._ports.poll()
        if work is not None or self._ports.is_commit_due:
            return [work]
        self._ports.rest()
        return []

    def next_awake(self) -> datetime:
        return _AT_ONCE


class _Commit(StatefulBatchLogic[LiftedWork | None, list[ShardCommit], None]):
    """Gathers lifted batches and commits when it is due."""

    def __init__(self, ports: _Steps) -> None:
        self._ports = ports

    def on_batch(self, values: list[LiftedWork | None]) -> tuple[Iterable[list[ShardCommit]], bool]:
        for value in values:
            self._ports.add(value)
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
