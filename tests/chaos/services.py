"""What happens around an installation: to its brokers, its topics, its online store in Redis."""

from __future__ import annotations

import signal

from tests.chaos.world import World
from tests.services.redis import Server

PARTITIONS_MAX = 6


def restart_broker(world: World) -> None:
    """The broker is killed, or stops, and comes back."""
    world.broker.stop(world.chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
    world.pause(2.0)
    world.broker.start()


def add_partition(world: World) -> None:
    """A topic is given one more partition."""
    topic = world.chance.choice(list(world.topics.values()))
    count = len(world.broker.admin().list_topics(topic, timeout=30).topics[topic].partitions)
    if count < PARTITIONS_MAX:
        world.broker.add_partitions(topic, count + 1)


def stop_redis(world: World) -> None:
    """Redis stops or is killed: no answer, and the reason, until it is back and filled again."""
    redis = _redis(world)
    redis.stop(world.chance.choice((signal.SIGKILL, signal.SIGTERM)))
    world.until(lambda: "does not answer" in world.witness.reasons())
    found = world.witness.counts()
    assert set(found.values()) == {None}, found
    world.until(lambda: _mirror_fault(world) == "TG-706")
    world.pause(2.0)
    redis.start()
    _comes_back(world)


def wipe_redis(world: World) -> None:
    """Redis loses all that it holds, once or more; no answer is ever too small."""
    world.until(world.is_trusted)
    for _ in range(world.chance.randint(1, 3)):
        with _redis(world).client() as client:
            client.flushall()
        for _ in range(5):
            world.witness.look()
        world.pause(0.5)
    _comes_back(world)


def _comes_back(world: World) -> None:
    world.until(world.is_trusted)
    world.until(world.witness.look)
    world.until(lambda: _mirror_fault(world) is None)


def _redis(world: World) -> Server:
    assert world.redis is not None, "this run has none"
    return world.redis


def _mirror_fault(world: World) -> str | None:
    """The code of what keeps the online store from being written; None if nothing does."""
    report = world.engine.report()
    fault = None if report is None else report["mirror_fault"]
    return None if fault is None else str(fault["code"])
