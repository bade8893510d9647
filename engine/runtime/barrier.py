"""One moment of the shards of all workers, in a dataflow that goes on.

A checkpoint of an engine that is alone is taken between two batches. Of several workers each shard
must hold exactly what was read before the moment, or a verdict that was given about a record (it
is a copy, it was future) could lie in the shard of one worker and be missing in another's. So the
first worker sends a *barrier* to all; who receives one for the first time sends his own to all, and
reads nothing more. What comes from a reader behind his barrier waits. When the barriers of all have
come, what is in front of them is committed and linked, and reading goes on. (Chandy and Lamport's
markers, aligned as in Flink.) The registry is copied last, and until then nobody changes it: a
build must not be live there whose shards are from before its joining.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from ...state.checkpoint_manifest import ShardPart
from ..steps.parcel import Joined, Parcel
from ..steps.worker import Worker


@dataclass(frozen=True, slots=True)
class Barrier:
    """A reader has sent all that belongs to the moment `token`, and waits."""

    reader: int
    token: str


@dataclass(frozen=True, slots=True)
class Linked:
    """A worker has linked its shards as of a moment; or `fault` says why it has not."""

    worker: int
    token: str
    shards: tuple[ShardPart, ...] = ()
    fault: Exception | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """The moment is whole, with the registry as it was at that time: it may change again."""


News = Joined | Barrier | Linked | Released
"""What a worker tells all, itself too, in order with its parcels."""

_FIRST: Final = 0


class Barriers:
    """One worker's part in the moments. For the thread that reads and commits.

    `take` commits what was gathered and links the worker's shards; `complete` is called by the
    first worker, when all have.
    """

    def __init__(
        self,
        worker: Worker,
        take: Callable[[], tuple[ShardPart, ...]],
        complete: Callable[[list[Linked]], None],
    ) -> None:
        self._worker = worker
        self._take = take
        self._complete = complete
        self._token = ""
        self._has_sent = False
        self._readers: set[int] = set()
        self._held: list[Parcel | Joined] = []
        self._telling: list[Linked | Released] = []
        self._is_open = False
        self._parts: dict[int, Linked] = {}

    def begin(self) -> None:
        """Want a moment: only the first worker, and while there is none."""
        if not self._token:
            self._token = uuid4().hex

    @property
    def is_reading(self) -> bool:
        """Whether batches may be read: not between a worker's own barrier and its links."""
        return not self._has_sent

    @property
    def may_change(self) -> bool:
        """Whether the registry may be changed: not between a worker's own barrier and the end."""
        return not self._is_open

    def to_send(self) -> News | None:
        """What this worker has to tell all others now."""
        if self._telling:
            return self._telling.pop(0)
        if self._token and not self._has_sent:
            self._has_sent = self._is_open = True
            return Barrier(self._worker.index, self._token)
        return None

    def passes(self, item: Parcel | News) -> list[Parcel | Joined]:
        """What of an item that came is to be taken up now, with what had to wait for it."""
        if isinstance(item, Barrier):
            return self._came(item)
        if isinstance(item, Linked):
            self._has_linked(item)
            return []
        if isinstance(item, Released):
            self._is_open = False
            return []
        if item.reader in self._readers:
            self._held.append(item)  # it lies behind its reader's barrier
            return []
        return [item]

    def _came(self, barrier: Barrier) -> list[Parcel | Joined]:
        self._token = barrier.token
        self._readers.add(barrier.reader)
        if len(self._readers) < self._worker.count:
            return []
        try:
            linked = Linked(self._worker.index, self._token, self._take())
        except Exception as fault:  # noqa: BLE001 - raised where the checkpoint is made
            linked = Linked(self._worker.index, self._token, fault=fault)
        self._telling.append(linked)
        held, self._held = self._held, []
        self._token, self._has_sent = "", False
        self._readers.clear()
        return held

    def _has_linked(self, linked: Linked) -> None:
        if self._worker.index != _FIRST:
            return
        self._parts = {w: at for w, at in self._parts.items() if at.token == linked.token}
        self._parts[linked.worker] = linked
        if len(self._parts) == self._worker.count:
            self._complete(list(self._parts.values()))
            self._parts.clear()
            self._telling.append(Released())
