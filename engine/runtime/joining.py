"""From a build that has come to the fence to one that serves: nothing is switched too early.

A build joins the live lane when its own lane stands where the live one does. It serves once all
that it was given is committed and, in every shard, online. Until then a crash repeats the joining;
after the one note in the registry it repeats nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from ...schemas.errors import WrongBuildStatus
from ...state.registry import Registry
from ..deployed import Deployed
from .mirroring import Mirrors


class Joining:
    """Builds between their lane's end and their first answer."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._reached: list[int] = []
        self._gathered: list[int] = []
        self._wanted: dict[int, list[int]] = {}

    def taken(self) -> None:
        """A batch was taken from a lane, and is to be gathered."""
        self._in_flight += 1

    def gathered(self) -> None:
        """A batch waits for its commit."""
        self._in_flight -= 1
        self._promote()

    def reached(self, builds: Iterable[int]) -> None:
        """These builds' lanes have come to the fence, with a batch that may be in flight yet."""
        self._reached.extend(builds)
        self._promote()

    def _promote(self) -> None:
        if self._in_flight == 0:
            self._gathered.extend(self._reached)
            self._reached.clear()

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
                # One that was retired meanwhile stays so.
                with suppress(WrongBuildStatus):
                    registry.take_over(deployed.view_of(build), build)
            del self._wanted[build]
