"""One run of chaos: what may happen, in the order that the seed says, and what has to hold then."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tests.chaos import definitions, losses, processes, services
from tests.chaos.clock import compiler
from tests.chaos.topics import read_back
from tests.chaos.world import World
from tests.simulation.copies import Copies
from tests.simulation.whole import Records, check_whole
from tests.support.process import verb


@dataclass(frozen=True)
class Action:
    """Something that may happen: how often, for each round of all; whether it kills the engine.

    `lacks` says why it cannot happen in a run; nothing if it can.
    """

    happen: Callable[[World], None]
    cards: int = 1
    kills: bool = False
    lacks: Callable[[World], str] = lambda _: ""

    @property
    def name(self) -> str:
        """What it is called in what a run says."""
        return self.happen.__name__


def _no_redis(world: World) -> str:
    return "" if world.redis is not None else "the online store of this run is LMDB"


def _no_lmdb(world: World) -> str:
    return "" if world.redis is None else "the online store of this run is Redis"


def _no_compiler(_: World) -> str:
    return "" if compiler() is not None else "no C compiler is installed"


def _no_small_disk(world: World) -> str:
    return "" if world.settings.home.is_mount() else "no small file system may be mounted here"


ACTIONS = (
    Action(processes.kill, 6, kills=True),
    Action(processes.kill_while_it_starts, 2, kills=True),
    Action(processes.stop),
    Action(processes.kill_server),
    Action(processes.second_engine),
    Action(processes.second_engine_changes_nothing, kills=True),
    Action(processes.two_engines_at_once, kills=True),
    Action(processes.step_clock, 2, kills=True, lacks=_no_compiler),
    Action(services.restart_broker),
    Action(services.add_partition),
    Action(services.stop_redis, lacks=_no_redis),
    Action(services.wipe_redis, lacks=_no_redis),
    Action(definitions.define, 2),
    Action(definitions.backfill, 2),
    Action(definitions.redrive, 2),
    Action(losses.lose_online_store, kills=True, lacks=_no_lmdb),
    Action(losses.lose_state, kills=True),
    Action(losses.restore_checkpoint, kills=True),
    Action(losses.damage_state, 2, kills=True),
    Action(losses.damage_commits, kills=True),
    Action(losses.damage_online_store, kills=True, lacks=_no_lmdb),
    Action(losses.fill_disk, 2, lacks=_no_small_disk),
)


def run(
    world: World,
    kills: int,
    first: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> Mapping[str, int]:
    """Let things happen until the engine was killed so often, then check; what happened.

    `first` are names of what is to happen before anything else. `tell` is told of each.
    """
    for action in ACTIONS:
        if lacks := action.lacks(world):
            tell(f"without {_words(action)}: {lacks}")
    left = kills
    for number, action in enumerate(_drawn(world, first)):
        if left <= 0 and number >= len(first):
            break
        tell(_words(action))
        action.happen(world)
        world.happened[_words(action)] += 1
        left -= action.kills
        assert world.server.is_running, world.server.log
        _look(world)
    count = world.producing.count()
    world.until(world.is_at_rest)
    world.until(world.witness.look)
    _check_server(world)
    assert world.engine.stop() == 0, world.engine.log
    world.server.stop()
    code, said = verb(world.settings.project, "state", "verify", "--sample", "20")
    world.happened["records produced"] = _check(world, count)
    assert code == 0, said  # what is compared with the log itself is told first
    return world.happened


def _drawn(world: World, first: Sequence[str]) -> Iterator[Action]:
    """Those named, then all that can happen, shuffled like cards, round by round."""
    known = {action.name: action for action in ACTIONS}
    yield from (known[name] for name in first)
    cards = [one for one in ACTIONS if not one.lacks(world) for _ in range(one.cards)]
    while True:
        yield from world.chance.sample(cards, len(cards))


def _look(world: World) -> None:
    """What a client sees now; not while state that was lost is being made again."""
    if world.is_trusted():
        world.witness.look()


def _words(action: Action) -> str:
    return action.name.replace("_", " ")


def _check_server(world: World) -> None:
    """A server that has been there all the time answers as one does that has just come."""
    at_us = now_us()
    found = world.witness.counts(at_us)
    world.server.kill()
    world.server.start()
    world.until(world.witness.look)
    assert world.witness.counts(at_us) == found


def _check(world: World, produced: int) -> int:
    """Compare what the engine has left with the log, read back; how many records it has."""
    records: Records = {
        name: read_back(world.broker.bootstrap, topic) for name, topic in world.topics.items()
    }
    count = sum(map(len, records.values()))
    assert count >= produced
    used = {facts.stream for facts in world.applied.values()}
    records = {name: rows if name in used else [] for name, rows in records.items()}
    engine = Engine(world.settings, threaded=False).open()
    try:
        engine.settle()
        chance = random.Random(world.chance.random())
        with closing(world.registry()) as registry:
            world.happened += check_whole(engine, registry, records, Copies(), chance)
    finally:
        engine.close()
    return count
