"""The whole engine by chance: whatever happens, in whatever order, the numbers are right after it.

One seed is one run. A run draws what happens (records good, late and bad; new views, backfills,
switches, new partitions, gaps, logs that forget; kills, power cuts, clean restarts), and at which
durable write the process dies or is refused. Now and then everything settles, and every live build
is compared with the raw logs, record by record: values, statuses, outcomes, archive, dead letter.

    TEGULA_SIMULATION_SEEDS=200 pytest tests/simulation       more seeds, from the run's own on
    TEGULA_SIMULATION_SEED=123 pytest tests/simulation        the run with this seed alone

A run's seed is the name of its test, so that it is told also where a run never comes to its end.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.simulation.told import TOLD, told
from tests.simulation.world import ACTIONS, World

ROUNDS, ACTIONS_A_ROUND = 3, 25


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "own_seed" in metafunc.fixturenames:
        metafunc.parametrize("own_seed", _seeds(int(metafunc.config.option.hypothesis_seed)))


def _seeds(first: int) -> range:
    alone = os.environ.get("TEGULA_SIMULATION_SEED")
    if alone:
        return range(int(alone), int(alone) + 1)
    return range(first, first + int(os.environ.get("TEGULA_SIMULATION_SEEDS", "2")))


@pytest.mark.slow
def test_simulation_of_everything_that_may_happen_ends_with_right_numbers(
    own_seed, tmp_path, monkeypatch, record_property
):
    history: list[str] = []
    compared: Counter[str] = Counter()
    world: World | None = None
    try:
        world = World(tmp_path, own_seed, monkeypatch)
        for _ in range(ROUNDS):
            world.faults.likelihood = world.chance.choice((0.0, 0.01, 0.05, 0.2))
            drawn = world.chance.choices(list(ACTIONS), list(ACTIONS.values()), k=ACTIONS_A_ROUND)
            for action in drawn:
                history.append(action)
                world.act(action)
            history.append("check")
            compared += world.check()
        history.append("close")
        world.close()
        record_property(TOLD, told(world, history, compared))
    except BaseException as fault:
        fault.add_note(f"to repeat: TEGULA_SIMULATION_SEED={own_seed} pytest tests/simulation")
        fault.add_note(" ".join(history))
        if world is not None:
            fault.add_note("\n".join(world.deaths))
        raise
    finally:
        if world is not None:
            world.close()
