"""Workers on machines of their own: each has a home, and they share log, registry, store and lake.

Two homes of one machine stand for two machines: they have nothing in common but a broker, a
database, a Redis and a bucket.
"""

from __future__ import annotations

import random
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

import tegula as tg
from tegula import agg
from tegula.cli.exits import AGAIN, ENVIRONMENT
from tegula.engine.apply import apply_definitions
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import load_settings
from tegula.schemas.codec import collect
from tests.services.kafka import Broker, free_ports
from tests.services.redis import Server
from tests.services.s3 import BUCKET, Buckets
from tests.support.engines import BY_NAME, EVENTS
from tests.support.online import values_online
from tests.support.process import WorkerProcess, verb

PARTITIONS, WORKERS = 3, 2
NAMES = ("totals:events", "totals:sum_x")


class Machines:
    """Two machines, each with a project; what was sent to all, and what it adds up to."""

    def __init__(
        self, root: Path, chance: random.Random, broker: Broker, settings: dict[str, str]
    ) -> None:
        self.chance = chance
        self.topic = broker.create_topic(partitions=PARTITIONS)
        self.producer = Producer({"bootstrap.servers": broker.bootstrap})
        self.counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        addresses = [f"127.0.0.1:{port}" for port in free_ports(WORKERS)]
        self.workers = []
        for index in range(WORKERS):
            project = root / f"machine-{index}"
            project.mkdir()
            lines = [f"{name} = {value}" for name, value in settings.items()]
            (project / "tegula.toml").write_text("\n".join(lines))
            self.workers.append(WorkerProcess(project, index, addresses))
        self.settings = load_settings(root / "machine-0")
        view = tg.FeatureView(
            "totals",
            entity=BY_NAME,
            stream=tg.Stream(
                "events",
                schema=EVENTS.schema,
                event_time="at",
                source=tg.Kafka(topic=self.topic),
            ),
            features={
                "events": agg.count().over(tg.lifetime()),
                "sum_x": agg.sum("x").over(tg.sliding("1d")),
            },
        )
        apply_definitions(self.settings, collect(view), author="t", message="", now_us=now_us())

    def send(self, count: int) -> None:
        """Some events to any partition."""
        at_us = now_us()
        for number in range(count):
            key, x = f"k{self.chance.randrange(50)}", float(self.chance.randrange(-99, 99))
            self.counts[key] += 1
            self.sums[key] += x  # type: ignore[assignment]
            payload = orjson.dumps({"k": key, "x": x, "at": at_us - number})
            partition = self.chance.randrange(PARTITIONS)
            self.producer.produce(self.topic, payload, partition=partition)
        self.producer.flush()

    def start(self) -> None:
        """Start the worker of each machine."""
        for worker in self.workers:
            worker.start()

    def is_right(self) -> bool:
        """Whether every value can be read that all events give."""
        for worker in self.workers:
            assert worker.is_running, worker.log
        keys = sorted(self.counts)
        found = values_online(self.settings, NAMES, {"k": keys})
        counts, sums = [self.counts[key] for key in keys], [float(self.sums[key]) for key in keys]
        return found == {NAMES[0]: counts, NAMES[1]: sums}


@pytest.fixture
def machines(
    tmp_path: Path,
    seed: int,
    kafka: Broker,
    own_redis: Server,
    postgres_url: str,
    s3: Buckets,
) -> Iterator[Machines]:
    own_redis.start()
    settings: dict[str, object] = {
        "shards": 4,
        "registry_url": postgres_url,
        "online_url": own_redis.url,
        "kafka.bootstrap": kafka.bootstrap,
        "lake": f"s3://{BUCKET}/{uuid.uuid4().hex}",
        **{f"lake_options.{name}": value for name, value in s3.options.items()},
    }
    written = {name: orjson.dumps(value).decode() for name, value in settings.items()}
    made = Machines(tmp_path, random.Random(seed), kafka, written)
    yield made
    for worker in made.workers:
        worker.kill()


@pytest.mark.slow
def test_worker_of_another_machine_is_killed_and_all_go_on_when_both_are_started_again(
    machines: Machines, eventually: Callable[..., None]
):
    machines.start()
    machines.send(3_000)
    eventually(machines.is_right)
    first, second = machines.workers
    second.kill()
    machines.send(1_000)
    assert first.wait(60) == AGAIN, first.log  # its supervisor starts it again
    assert "worker" in first.log
    machines.send(1_000)
    machines.start()
    eventually(machines.is_right)
    project = machines.settings.project
    _, said = verb(project, "status")
    assert "Of 2 workers, 0 runs over this home" in said
    code, said = verb(project, "checkpoint", "create", "--to", str(project / "copies"))
    assert code == ENVIRONMENT
    assert "all have to share one" in said
    first.signal(signal.SIGTERM)
    assert [worker.wait(60) for worker in machines.workers] == [0, 0]
