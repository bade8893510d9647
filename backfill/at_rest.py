"""A home at rest: no engine runs over it, and none can start, as long as it is held.

RocksDB would let a second process look at a database that an engine writes; what it sees is torn
around flushes (measured), so what is verified or mended here is always at rest. Servers read the
online store and may go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from ..engine.deployed import Deployed, load_deployed
from ..engine.own import OwnAggregates
from ..engine.plan import Build
from ..engine.runtime.home import HomeLock, open_shards
from ..engine.settings import Settings
from ..schemas.errors import (
    NothingApplied,
    StateCorrupt,
    StateError,
    StateHeld,
    UnknownView,
)
from ..state.checkpoint import shard_folder
from ..state.database import MIB, Budget, Memory
from ..state.registry import Registry
from ..state.shard import Shard

BUDGET: Final = Budget(write_buffer_bytes=64 * MIB, block_cache_bytes=32 * MIB)


@dataclass(frozen=True, slots=True)
class AtRest:
    """What a home holds while no engine runs.

    `shards` are those that could be opened; `closed` names the others, by number, with the reason.
    """

    settings: Settings
    registry: Registry
    deployed: Deployed
    shard_count: int
    shards: Sequence[Shard]
    closed: Sequence[tuple[int, StateCorrupt]] = ()

    def builds_of(self, view: str | None) -> tuple[Build, ...]:
        """The builds of a view, or all of them. Raises `UnknownView`."""
        builds = self.deployed.builds
        if view is None:
            return builds
        of_view = tuple(build for build in builds if build.view == view)
        if not of_view:
            raise UnknownView(view=view, known=sorted({build.view for build in builds}))
        return of_view


@contextmanager
def reading(settings: Settings) -> Iterator[AtRest]:
    """Hold the home to read its state; nothing in it changes.

    Raises `StateHeld` if an engine runs, `StateError` if there is no state yet. A shard that cannot
    be opened is told of in `closed`.
    """
    with _held(settings) as (opened, registry, deployed):
        memory, shards, closed = Memory(BUDGET), list[Shard](), []
        count = registry.shards()
        for number in range(count):
            folder = shard_folder(settings.state_path, number)
            if not (folder / "CURRENT").exists():
                raise StateError(
                    "there is no state yet", where=str(folder), hint="`tegula run` makes it"
                )
            try:
                shards.append(Shard(number, folder, memory, 0))
            except StateCorrupt as fault:
                closed.append((number, fault))
            else:
                opened.callback(_let_go, shards[-1])
        yield AtRest(settings, registry, deployed, count, shards, closed)


def _let_go(shard: Shard) -> None:
    """Let a shard go as a crash would; damage that RocksDB met meanwhile is told elsewhere."""
    with suppress(StateError):
        shard.abandon()


@contextmanager
def writing(settings: Settings) -> Iterator[AtRest]:
    """Hold the home to change its state, as an engine would; then close it cleanly.

    After an error it is let go as a crash would: of a write that failed nobody knows whether it was
    made, and closing cleanly writes the number of the last commit that is known of.

    Raises `StateHeld` if an engine runs, `StateError` if there is no state, and `StateCorrupt` for
    a shard that cannot be opened.
    """
    with _held(settings) as (opened, registry, deployed):
        count = registry.shards()
        for number in range(count):
            folder = shard_folder(settings.state_path, number)
            if not (folder / "CURRENT").exists():
                raise StateError(
                    "there is no state yet", where=str(folder), hint="`tegula run` makes it"
                )
        shards = open_shards(settings.state_path, range(count), registry, Memory(BUDGET))
        try:
            yield AtRest(settings, registry, deployed, count, shards)
        except BaseException:
            for shard in shards:
                _let_go(shard)
            raise
        for shard in shards:
            opened.callback(shard.close)


@contextmanager
def _held(settings: Settings) -> Iterator[tuple[ExitStack, Registry, Deployed]]:
    with ExitStack() as opened:
        try:
            lock = HomeLock(settings.home)
        except StateHeld as held:
            held.hint = (
                "stop the engine first: what it writes cannot be read by another process; servers"
                " may go on"
            )
            raise
        opened.callback(lock.release)
        registry = opened.enter_context(closing(Registry(settings.registry_url_or_default)))
        deployed = load_deployed(registry, own=OwnAggregates(settings.project))
        if not deployed.streams:
            raise NothingApplied(where=str(settings.project))
        yield opened, registry, deployed
