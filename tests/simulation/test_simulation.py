"""The whole engine by chance: whatever happens, in whatever order, the numbers are right after it.

One seed is one run. A run draws what happens (records good, late and bad; new views, backfills,
switches, new partitions, gaps, logs that forget; kills, power cuts, clean restarts), and at which
durable write the process dies or is refused. Now and then everything settles, and every live build
is compared with the raw logs, record by record: values, statuses, outcomes, archive, dead letter.

    TEGULA_SIMULATION_SEEDS=200 pytest tests/simulation       more seeds, from the run's own on
    TEGULA_SIMULATION_SEED=123 pytest tests/simulation        the run with this seed alone
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.world import ACTIONS, World

_ONE = os.environ.get("TEGULA_SIMULATION_SEED")
_COUNT = 1 if _ONE else int(os.environ.get("TEGULA_SIMULATION_SEEDS", "6"))
ROUNDS, ACTIONS_A_ROUND = 3, 25


@pytest.mark.slow
@pytest.mark.parametrize("number", range(_COUNT))
def test_simulation_of_everything_that_may_happen_ends_with_right_numbers(
    number, seed, tmp_path, monkeypatch
):
    own_seed = int(_ONE) if _ONE else seed + number
    world = World(tmp_path, own_seed, monkeypatch)
    history: list[str] = []
    try:
        for _ in range(ROUNDS):
            world.faults.likelihood = world.chance.choice((0.0, 0.01, 0.05, 0.2))
            drawn = world.chance.choices(list(ACTIONS), list(ACTIONS.values()), k=ACTIONS_A_ROUND)
            for action in drawn:
                history.append(action)
                world.act(action)
            history.append("check")
            world.check()
    except BaseException as fault:
        fault.add_note(f"TEGULA_SIMULATION_SEED={own_seed}")
        fault.add_note(" ".join(history))
        fault.add_note("\n".join(world.deaths))
        raise
    finally:
        world.close()
