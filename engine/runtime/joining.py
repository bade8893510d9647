"""From a build that has come to the fence to one that serves: nothing is switched too early.

A build joins the live lane of a reader when its own lane stands where the live one does. It serves
once all that every reader gave it is committed and, in every shard, online. Until then a crash
repeats the joining; after the one note in the registry it repeats nothing.

Each worker knows this of its own shards. It notes it in the registry, under the name of the run
that all workers began together; who finds the notes of all lets the build serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from ...schemas.errors import WrongBuildStatus
from ...state.registry import Registry
from ..deployed import Deployed
from ..steps.worker import ALONE, Worker
from .clock import Clock, now_us
from .mirroring import Mirrors


class Joining:
    """Builds between their lanes' end and their first answer, as one worker sees them."""

    def __init__(self, worker: Worker = ALONE, run: str = "", clock: Clock = now_us) -> None:
        self._worker = worker
        self._run = run
        self._now_us = clock
        self._readers: dict[int, set[int]] = {}
        self._gathered: list[int] = []
        self._wanted: dict[int, list[int]] = {}

    def joined(self, reader: int, builds: Iterable[int]) -> None:
        """A reader's lanes of these builds have joined, and all that they gave was gathered."""
        for build in builds:
            readers = self._readers.setdefault(build, set())
            readers.add(reader)
            if len(readers) == self._worker.count:
                self._gathered.append(build)

    def committed(self, commits: Sequence[int]) -> list[int]:
        """All that was gathered is committed: each shard stands at its number of `commits`.

        Returns the builds that have so joined.
        """
        joined, self._gathered = self._gathered, []
        self._wanted.update((build, list(commits)) for build in joined)
        return joined

    def activate(self, mirrors: Mirrors, deployed: Deployed, registry: Registry) -> None:
        """Let builds serve that are whole online.

        Raises what the registry raises; asking again is harmless.
        """
        for build, wanted in list(self._wanted.items()):
            if deployed.statuses.get(build) == "catching_up":
                mirrored = mirrors.mirrored(build)
                if any(at < commit for at, commit in zip(mirrored, wanted, strict=True)):
                    continue
                if self._is_whole(build, registry):
                    # One that was retired meanwhile stays so.
                    with suppress(WrongBuildStatus):
                        registry.take_over(deployed.view_of(build), build)
            del self._wanted[build]

    def _is_whole(self, build: int, registry: Registry) -> bool:
        """Note that this worker's shards have a build; whether those of all workers do."""
        if self._worker.count == 1:
            return True
        names = [f"joined/{build}/{index}" for index in range(self._worker.count)]
        registry.put_progress(names[self._worker.index], {"run": self._run}, self._now_us())
        notes = [registry.progress(name) for name in names]
        return all(note is not None and note.payload["run"] == self._run for note in notes)
