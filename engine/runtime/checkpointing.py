"""Checkpoints of a running engine: by themselves at an interval, or when a command asks for one.

A thread of its own does the work. Only the moment itself is taken by the thread that commits,
between two commits: links, for some tens of milliseconds. A checkpoint that fails is reported, and
tried again; it never stops ingest. Commands ask by a file in the home, and are answered by one.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

from ...schemas.errors import CheckpointStoreFault, TegulaError
from ...state.checkpoint import (
    Copier,
    Interrupted,
    Moment,
    empty,
    flush,
    link,
    moment_of,
)
from ...state.checkpoint_kept import listed, prune
from ...state.checkpoint_manifest import Manifest
from ...state.checkpoint_places import open_store
from ...state.checkpoint_store import Store
from ...state.registry import Registry
from ...state.shard import Shard
from ..settings import Settings
from ..steps.worker import Worker
from .barrier import Linked
from .checkpoint_requests import Request, answer, read_request
from .clock import Clock

_LOG: Final = logging.getLogger(__name__)
_RETRY_US: Final = 60_000_000
_LOOK_S: Final = 0.1
_STOP_S: Final = 0.5
_FLUSHES_MAX: Final = 4
_FLUSH_SHORT_S: Final = 0.25
_HOME: Final = "checkpoints"


class Owner(Protocol):
    """Whose state is copied: the engine, as far as checkpoints see it."""

    settings: Settings
    registry: Registry

    @property
    def shards(self) -> Sequence[Shard]: ...

    @property
    def now_us(self) -> Clock:
        """The wall clock."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint that was made: how long it took, how long commits waited, bytes stored anew."""

    manifest: Manifest
    seconds: float
    linked_ms: float
    new_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "id": self.manifest.id,
            "created_us": self.manifest.created_us,
            "seconds": round(self.seconds, 3),
            "linked_ms": round(self.linked_ms, 1),
            "size_bytes": self.manifest.size_bytes,
            "new_bytes": self.new_bytes,
        }


def home_id(registry: Registry, now_us: int) -> str:
    """What names this home in its checkpoints, wherever it is restored; given once."""
    known = registry.progress(_HOME)
    if known is None:
        registry.put_progress(_HOME, {"home": uuid4().hex}, now_us)
        known = registry.progress(_HOME)
    assert known is not None, "what was put is there"
    return str(known.payload["home"])


class Maker:
    """Makes checkpoints of one state, one at a time; `take` is how a moment is taken of it."""

    def __init__(self, owner: Owner, take: Callable[[Path], Moment]) -> None:
        self._owner = owner
        self._take = take
        self._copier: Copier | None = None
        self.folder = owner.settings.checkpoint_path / "moment"
        self.done_bytes = self.total_bytes = 0
        self.stopping: Callable[[], bool] = lambda: False

    def make(self, store: Store, progress: Callable[[int, int], None] | None = None) -> Made:
        """Make one. Raises `CheckpointStoreFault`, `CheckpointPlaceTaken`, `StateError`."""
        began_s = time.perf_counter()
        self._progress(0, 0)
        registry = self._owner.registry
        if self._copier is None:
            self._copier = Copier(home_id(registry, self._owner.now_us()))
        self._flush()
        try:
            asked_s = time.perf_counter()
            moment = self._take(self.folder)
            linked_s = time.perf_counter() - asked_s

            def told(done: int, total: int) -> None:
                self._progress(done, total)
                if progress is not None:
                    progress(done, total)

            manifest = self._copier.copy(moment, registry, store, told, self.stopping)
        except OSError as fault:  # of the home; a store names its own
            where = str(self.folder)
            raise CheckpointStoreFault(where=where, detail=str(fault)) from fault
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        took_s = time.perf_counter() - began_s
        return Made(manifest, took_s, linked_s * 1e3, self.total_bytes)

    def _flush(self) -> None:
        """Flush until there is little left to flush at the moment itself, where commits wait."""
        for _ in range(_FLUSHES_MAX):
            began_s = time.perf_counter()
            flush(self._owner.shards)
            if self.stopping() or time.perf_counter() - began_s < _FLUSH_SHORT_S:
                return

    def _progress(self, done: int, total: int) -> None:
        self.done_bytes, self.total_bytes = done, total

    def link(self, folder: Path) -> Moment:
        """Take the moment here and now; no commit may run beside it."""
        owner = self._owner
        return link(owner.shards, owner.registry, folder, owner.now_us())


class Working(Owner, Protocol):
    """The engine: an owner that is one of some workers."""

    worker: Worker
    here: Sequence[int]


class Checkpointing:
    """An engine's checkpoints. `turn` belongs to housekeeping, `link` to the thread that commits.

    Nothing happens before `turn` is called; so an engine without threads makes none by itself. Of
    several workers the first makes them, of moments that all take together (`barrier`).
    """

    def __init__(self, engine: Working) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._maker = Maker(engine, self._moment_by_other)
        self._maker.stopping = lambda: self._stopped.is_set()
        if engine.worker.index == 0:
            shutil.rmtree(self._maker.folder, ignore_errors=True)
        self._began_s = 0.0
        self._due_us: int | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._wanted, self._taken = threading.Event(), threading.Event()
        self._moment: Moment | Exception | None = None
        self._linked_ms = 0.0
        self._last: Made | None = None
        self._newest_us: int | None = None
        self.fault: TegulaError | None = None

    def turn(self) -> None:
        """Begin a checkpoint, if one is asked for or due, and none is being made."""
        if self._engine.worker.index or (self._thread is not None and self._thread.is_alive()):
            return
        request = read_request(self._settings.checkpoint_path)
        if request is None and not self._is_due():
            return
        self._thread = threading.Thread(
            target=self._run, args=(request,), name="tegula-checkpoint", daemon=True
        )
        self._thread.start()

    def _is_due(self) -> bool:
        if self._settings.checkpoint_to is None:
            return False
        now_us = self._engine.now_us()
        if self._due_us is not None:  # a clock that was set back must not put it off for long
            self._due_us = min(self._due_us, now_us + self._interval_us)
        return self._due_us is None or now_us >= self._due_us

    @property
    def _interval_us(self) -> int:
        return int(self._settings.checkpoint_interval_s * 1e6)

    @property
    def folder(self) -> Path:
        """Where a moment is linked."""
        return self._maker.folder

    def link(self) -> None:
        """Take the moment if one is wanted. Called between commits; never raises."""
        if not self._wanted.is_set():
            return
        self._wanted.clear()
        began_s = time.perf_counter()
        try:
            self._moment = self._maker.link(self._maker.folder)
        except Exception as fault:  # noqa: BLE001 - raised where the checkpoint is made
            self._moment = fault
        self._linked_ms = (time.perf_counter() - began_s) * 1e3
        self._taken.set()

    def begin_together(self) -> bool:
        """Whether all workers are to take a moment now: one is wanted, and there is room for it."""
        if not self._wanted.is_set():
            return False
        self._wanted.clear()
        self._began_s = time.perf_counter()
        try:
            empty(self._maker.folder)
        except OSError as fault:
            self._moment = fault
            self._taken.set()
            return False
        return True

    def taken_together(self, linked: Sequence[Linked]) -> None:
        """All workers have taken the moment, or some could not; never raises."""
        fault = next((one.fault for one in linked if one.fault is not None), None)
        parts = [part for one in linked for part in one.shards]
        try:
            if fault is not None:
                raise fault
            engine, folder = self._engine, self._maker.folder
            self._moment = moment_of(parts, engine.registry, folder, engine.now_us())
        except Exception as wrong:  # noqa: BLE001 - raised where the checkpoint is made
            self._moment = wrong
        self._linked_ms = (time.perf_counter() - self._began_s) * 1e3
        self._taken.set()

    def _moment_by_other(self, _: Path) -> Moment:
        self._taken.clear()
        self._wanted.set()
        while not self._taken.wait(_LOOK_S):
            if self._stopped.is_set():
                self._wanted.clear()
                raise Interrupted
        moment, self._moment = self._moment, None
        if isinstance(moment, Exception):
            raise moment
        assert moment is not None, "a moment was taken"
        return moment

    def _run(self, request: Request | None) -> None:
        made: Made | None = None
        fault: TegulaError | None = None
        try:
            made = self._make(request)
        except Interrupted:
            return  # who asked is answered by the next engine
        except TegulaError as named:
            fault = named
        except Exception as unnamed:  # noqa: BLE001 - reported, and tried again
            _LOG.exception("a checkpoint failed")
            where = str(self._settings.checkpoint_path)
            fault = CheckpointStoreFault(where=where, detail=repr(unnamed))
        if fault is not None and (request is None or self._is_own(request.to)):
            self.fault = fault
            self._due_us = self._engine.now_us() + min(_RETRY_US, self._interval_us)
        if request is not None:
            said = None if made is None else made.as_dict()
            error = None if fault is None else fault.as_dict()
            with suppress(OSError):
                answer(self._settings.checkpoint_path, request, said, error)

    def _is_own(self, place: str | None) -> bool:
        return place is None or place == self._settings.checkpoint_to

    def _make(self, request: Request | None) -> Made | None:
        settings, engine = self._settings, self._engine
        if len(engine.here) < engine.worker.count:
            raise CheckpointStoreFault(
                where=str(settings.home),
                detail=f"of {engine.worker.count} workers only {list(engine.here)} have this home,"
                " and a checkpoint holds all of them: all have to share one",
            )
        place = (request.to if request else None) or settings.checkpoint_to
        store = open_store(place, settings.checkpoint_options, settings.project)
        if request is None and self._due_us is None:
            self._due_us = self._due_after(store)
            if self._engine.now_us() < self._due_us:
                return None
        made = self._maker.make(store)
        self._last = made = replace(made, linked_ms=self._linked_ms)
        if self._is_own(place):
            self._newest_us = made.manifest.created_us
            self._due_us = made.manifest.created_us + self._interval_us
            self.fault = None
            try:
                prune(store, settings.checkpoint_keep)
            except TegulaError as fault:
                self.fault = fault
        return made

    def _due_after(self, store: Store) -> int:
        """When the next one is due: an interval after the newest, whichever engine made that."""
        newest = next((one.manifest for one in listed(store, store.ids()[::-1][:1])), None)
        if newest is None:
            return self._engine.now_us()
        self._newest_us = newest.created_us
        return min(newest.created_us, self._engine.now_us()) + self._interval_us

    def report(self) -> dict[str, Any]:
        """What was made last, what is being made, and what went wrong, as plain JSON values."""
        running = self._thread is not None and self._thread.is_alive()
        done = {"done_bytes": self._maker.done_bytes, "total_bytes": self._maker.total_bytes}
        return {
            "to": self._settings.checkpoint_to,
            "newest_us": self._newest_us,
            "last": None if self._last is None else self._last.as_dict(),
            "running": done if running else None,
            "fault": None if self.fault is None else self.fault.as_dict(),
        }

    def stop(self) -> None:
        """Give up what is being made, if anything is; what it stored is used by the next.

        A store that does not answer is not waited for: what is copied is links, not the state.
        """
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
