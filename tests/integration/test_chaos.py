"""Chaos in short: a real broker and real engines, killed and worse; then everything is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import ACTIONS, run
from tests.chaos.world import World

KILLS = 1


@pytest.mark.services
@pytest.mark.slow
def test_chaos_loses_nothing_and_doubles_nothing(own_kafka, own_redis, tmp_path: Path, seed):
    own_kafka.start()
    world = World(tmp_path / "project", own_kafka, seed, per_second=300, redis=own_redis)
    rare = [one.name for one in ACTIONS if one.cards == 1 and not one.lacks(world)]
    first = world.chance.choice(rare)
    try:
        world.start()
        run(world, KILLS, [first])
    except BaseException as fault:
        fault.add_note(f"python -m tests.chaos --kills {KILLS} --seed {seed} --first {first}")
        raise
    finally:
        world.close()
