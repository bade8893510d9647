"""What people do while an installation runs: define, build anew, drive records again."""

from __future__ import annotations

from contextlib import closing, suppress

from tegula.engine.deployed import load_deployed
from tegula.engine.runtime.clock import now_us
from tegula.schemas.errors import BackfillRunning
from tests.chaos.world import World
from tests.simulation.redriving import drive
from tests.simulation.views import POOL


def define(world: World) -> None:
    """Definitions are applied: one more view, or one that is changed."""
    drawn = world.chance.choice(POOL)
    world.applied[drawn.view] = drawn
    world.apply()


def backfill(world: World) -> None:
    """A view is built anew beside what serves."""
    with closing(world.registry()) as registry, suppress(BackfillRunning):
        registry.start_backfill(world.chance.choice(list(world.applied)), now_us())


def redrive(world: World) -> None:
    """Dead letters, or what a view found too old, are driven again."""
    stream = world.chance.choice(list(world.topics))
    strict = [f.view for f in world.applied.values() if f.stream == stream and f.lateness]
    with closing(world.registry()) as registry:
        deployed = load_deployed(registry)
    if stream in deployed.streams:
        drive(world.settings, deployed, stream, world.chance.choice((None, *strict)), now_us())
