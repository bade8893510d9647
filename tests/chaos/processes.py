"""What happens to processes: killed, stopped, started twice, started with a wrong clock."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import xxhash

from tegula.cli.exits import ENVIRONMENT
from tegula.engine.runtime.home import HomeLock
from tests.chaos.world import World
from tests.support.process import EngineProcess

STOPS_WITHIN_S = 5.0
_HOUR_S = 3_600
_STEPS_S = (-72 * _HOUR_S, -_HOUR_S, -2, 0, 2, _HOUR_S, 72 * _HOUR_S)


def kill(world: World) -> None:
    """The engine is killed at some moment of the next second, and started again."""
    world.pause(1.0)
    world.engine.kill()
    world.restart()


def kill_while_it_starts(world: World) -> None:
    """The engine is killed before it has said anything."""
    world.engine.kill()
    world.start_engine()
    world.pause(1.5)
    world.engine.kill()
    world.restart()


def stop(world: World) -> None:
    """The engine is asked to stop, and does so within seconds."""
    began_s = time.monotonic()
    assert world.engine.stop() == 0, world.engine.log
    took_s = time.monotonic() - began_s
    world.happened["stops that took too long"] += took_s > STOPS_WITHIN_S
    world.restart()


def kill_server(world: World) -> None:
    """The server is killed, and started again."""
    world.server.kill()
    world.server.start()


def second_engine(world: World) -> None:
    """Another engine tries to have the home of one that runs, and is refused."""
    world.other.start()
    _is_refused(world.other)
    assert str(world.engine.pid) in world.other.log, world.other.log


def second_engine_changes_nothing(world: World) -> None:
    """An engine that is refused leaves every byte of the home as it was."""
    world.engine.kill()
    lock = HomeLock(world.settings.home)
    try:
        _settle_registry(world)
        before = _digests(world.settings.home)
        world.other.start()
        _is_refused(world.other)
        after = _digests(world.settings.home)
    finally:
        lock.release()
    assert after == before, {path for path, _ in after.items() ^ before.items()}
    world.restart()


def two_engines_at_once(world: World) -> None:
    """Two engines are started on one home: one has it, the other is refused."""
    world.engine.kill()
    both = [world.engine, world.other]
    for one in both:
        one.start(world.clock.environment)
    world.until(lambda: not all(one.is_running for one in both))
    (loser,) = [one for one in both if not one.is_running]
    _is_refused(loser)
    world.engine, world.other = (one for one in (*both, *both)[both.index(loser) + 1 :][:2])
    world.until(lambda: world.engine.report() is not None)


def step_clock(world: World) -> None:
    """The engine starts with a wrong clock, which is set again while it runs; it goes on."""
    world.clock.step(world.chance.choice(_STEPS_S))
    world.engine.kill()
    world.restart()
    world.pause(1.0)
    world.clock.step(world.chance.choice(_STEPS_S))
    before = _commits(world)
    world.until(lambda: _commits(world) > before)


def _is_refused(engine: EngineProcess) -> None:
    code, said = engine.wait(60), engine.log
    assert code == ENVIRONMENT, f"ended with {code}: {said}"
    assert "TG-501" in said, said


def _commits(world: World) -> int:
    report = world.engine.report()
    return 0 if report is None else sum(report["commits"])


def _settle_registry(world: World) -> None:
    """Open and close the registry: SQLite puts away what a killed engine has left beside it."""
    with closing(world.registry()) as registry:
        registry.head()


def _digests(home: Path) -> dict[str, str]:
    return {
        str(path.relative_to(home)): xxhash.xxh3_128_hexdigest(path.read_bytes())
        for path in sorted(home.rglob("*"))
        if path.is_file()
    }
