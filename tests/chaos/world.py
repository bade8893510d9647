"""An installation in chaos: a broker, an engine process, a producer, and what happens to them."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

import tegula as tg
from tegula.engine.apply import apply_definitions
from tegula.engine.deployed import load_deployed
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.settings import Settings, load_settings
from tegula.schemas.codec import collect
from tegula.schemas.errors import BackfillRunning
from tegula.state.registry import Registry
from tests.oracle import naive
from tests.services.kafka import Broker
from tests.simulation.copies import Copies
from tests.simulation.records import RUBBISH, drawn_row
from tests.simulation.redriving import drive
from tests.simulation.views import POOL, STREAMS, ViewFacts
from tests.simulation.whole import Records, check_whole
from tests.support.process import EngineProcess, lag_of

PARTITIONS_MAX = 6
WITHIN_S = 240.0
STOPS_WITHIN_S = 5.0
LOG_APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
_PAUSE = threading.Event()


class Chaos:
    """One run. Each method without underscore is something that may happen."""

    def __init__(self, folder: Path, broker: Broker, seed: int, per_second: int) -> None:
        self.chance = random.Random(seed)
        self.broker = broker
        self.happened: Counter[str] = Counter()
        self.topics = {
            name: broker.create_topic(partitions=2, config=LOG_APPEND_TIME) for name in STREAMS
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tegula.toml").write_text(
            f'shards = 4\narchive_interval_s = 1.0\nkafka.bootstrap = "{broker.bootstrap}"\n'
        )
        self.settings: Settings = load_settings(folder)
        self.engine = EngineProcess(folder)
        self.other = EngineProcess(folder, "other.out")
        self.applied: dict[str, ViewFacts] = {}
        self._interval_s = 1.0 / per_second
        self._seed = seed
        self._ending = threading.Event()
        self._produced: list[int] = []
        self._producer = threading.Thread(target=self._produce, daemon=True)
        self.define()
        self.engine.start()
        self._until(lambda: self.engine.report() is not None)
        self._producer.start()

    # What may happen.

    def kill(self) -> None:
        """The engine is killed at some moment of the next second, and started again."""
        _PAUSE.wait(self.chance.uniform(0.0, 1.0))
        self.engine.kill()
        self._restart()

    def kill_while_it_starts(self) -> None:
        """The engine is killed before it has said anything."""
        self.engine.kill()
        self.engine.start()
        _PAUSE.wait(self.chance.uniform(0.0, 1.5))
        self.engine.kill()
        self._restart()

    def stop(self) -> None:
        """The engine is asked to stop, and does so within seconds."""
        began_s = time.monotonic()
        assert self.engine.stop() == 0, self.engine.log
        took_s = time.monotonic() - began_s
        self.happened["stops that took too long"] += took_s > STOPS_WITHIN_S
        self._restart()

    def kill_broker(self) -> None:
        """The broker is killed, and comes back."""
        self.broker.stop(signal.SIGKILL)
        _PAUSE.wait(self.chance.uniform(0.0, 2.0))
        self.broker.start()

    def add_partition(self) -> None:
        """A topic is given one more partition."""
        topic = self.chance.choice(list(self.topics.values()))
        count = len(self.broker.admin().list_topics(topic, timeout=30).topics[topic].partitions)
        if count < PARTITIONS_MAX:
            self.broker.add_partitions(topic, count + 1)

    def define(self) -> None:
        """Definitions are applied: one more view, or one that is changed."""
        drawn = self.chance.choice(POOL)
        self.applied[drawn.view] = drawn
        views = []
        for facts in self.applied.values():
            view = facts.define()
            source = tg.Kafka(topic=self.topics[facts.stream])
            views.append(replace(view, stream=replace(view.stream, source=source)))
        apply_definitions(
            self.settings, collect(*views), author="chaos", message="", now_us=now_us()
        )

    def backfill(self) -> None:
        """A view is built anew beside what serves."""
        with closing(self._registry()) as registry, suppress(BackfillRunning):
            registry.start_backfill(self.chance.choice(list(self.applied)), now_us())

    def redrive(self) -> None:
        """Dead letters, or what a view found too old, are driven again."""
        stream = self.chance.choice(list(self.topics))
        strict = [f.view for f in self.applied.values() if f.stream == stream and f.lateness]
        with closing(self._registry()) as registry:
            deployed = load_deployed(registry)
        if stream in deployed.streams:
            drive(self.settings, deployed, stream, self.chance.choice((None, *strict)), now_us())

    def lose_online_store(self) -> None:
        """The engine is killed, and what servers read is gone."""
        self.engine.kill()
        shutil.rmtree(self.settings.online_path, ignore_errors=True)
        self._restart()

    def lose_state(self) -> None:
        """The engine is killed, and some shards are gone."""
        self.engine.kill()
        shards = sorted(self.settings.state_path.glob("shard-*"))
        for lost in self.chance.sample(shards, self.chance.randint(1, len(shards))):
            shutil.rmtree(lost)
        self._restart()

    def second_engine(self) -> None:
        """Another engine tries to have the home, and is refused."""
        self.other.start()
        assert self.other.wait(60) != 0
        assert "TG-501" in self.other.log, self.other.log

    # How it happens.

    def run(self, kills: int) -> Mapping[str, int]:
        """Let things happen until the engine was killed so often, then check; what happened."""
        names, weights = list(ACTIONS), list(ACTIONS.values())
        while sum(self.happened[name] for name in KILLS) < kills:
            (name,) = self.chance.choices(names, weights)
            getattr(self, name)()
            self.happened[name] += 1
        self._ending.set()
        self._producer.join()
        assert self._produced, "the producer failed"
        self._until(self._is_at_rest)
        assert self.engine.stop() == 0, self.engine.log
        self.happened["events"] = self._check()
        return self.happened

    def close(self) -> None:
        """Stop whatever still runs."""
        self._ending.set()
        self.engine.kill()
        self.other.kill()

    def _restart(self) -> None:
        self.engine.start()
        self._until(lambda: self.engine.report() is not None)

    def _until(self, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < deadline_s, f"{self.engine.report()}\n{self.engine.log}"
            _PAUSE.wait(0.05)

    def _is_at_rest(self) -> bool:
        report = self.engine.report()
        return (
            report is not None
            and lag_of(report) == 0
            and all(build["status"] == "live" for build in report["builds"].values())
            and report["mirrored"] == report["commits"]
            and all(not one["buffered_rows"] for one in report["archive"].values())
        )

    def _registry(self) -> Registry:
        return Registry(self.settings.registry_url_or_default)

    def _produce(self) -> None:
        """Records to all partitions, until the end; a broker that is away is waited for."""
        chance, count = random.Random(self._seed + 1), 0
        producer = Producer(
            {
                "bootstrap.servers": self.broker.bootstrap,
                "linger.ms": 5,
                "topic.metadata.refresh.interval.ms": 1_000,
                "message.timeout.ms": 120_000,
                "log_level": 0,
            }
        )
        while not self._ending.is_set():
            for _ in range(100):
                topic = chance.choice(list(self.topics.values()))
                row = drawn_row(chance, now_us())
                payload = chance.choice(RUBBISH) if chance.random() < 0.01 else orjson.dumps(row)
                producer.produce(topic, payload)
                count += 1
            producer.poll(0)
            self._ending.wait(100 * self._interval_s)
        if producer.flush(120) == 0:
            self._produced.append(count)

    # What has to hold.

    def _check(self) -> int:
        """Compare what the engine has left with the log, read back; how many records it has."""
        records: Records = {name: self._read_back(name) for name in self.topics}
        count = sum(map(len, records.values()))
        assert count >= self._produced[0]
        used = {facts.stream for facts in self.applied.values()}
        records = {name: rows if name in used else [] for name, rows in records.items()}
        engine = Engine(self.settings, threaded=False).open()
        try:
            engine.settle()
            with closing(self._registry()) as registry:
                self.happened["builds"] = check_whole(
                    engine, registry, records, Copies(), self.chance
                )
        finally:
            engine.close()
        return count

    def _read_back(self, stream: str) -> list[naive.Record]:
        """The records of a topic as the broker has them."""
        topic = self.topics[stream]
        consumer = Consumer(
            {"bootstrap.servers": self.broker.bootstrap, "group.id": "chaos", "log_level": 0}
        )
        found: list[naive.Record] = []
        try:
            numbers = consumer.list_topics(topic, timeout=30).topics[topic].partitions
            ends = {n: consumer.get_watermark_offsets(TopicPartition(topic, n))[1] for n in numbers}
            consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
            while len(found) < sum(ends.values()):
                # A portion that is not full is waited for to the end.
                for message in consumer.consume(10_000, 0.1):
                    assert message.error() is None, message.error()
                    found.append(_record(message.partition(), message.offset(), message))
        finally:
            consumer.close()
        return found


def _record(partition: int, offset: int, message: object) -> naive.Record:
    payload, log_us = message.value(), message.timestamp()[1] * 1_000  # type: ignore[attr-defined]
    if payload in RUBBISH:
        row = {"tombstone": payload is None}
        return naive.Record(partition, offset, log_us, None, None, row)
    row = orjson.loads(payload)
    return naive.Record(partition, offset, log_us, row["k"], row["at"], row)


KILLS = ("kill", "kill_while_it_starts", "lose_online_store", "lose_state")
ACTIONS: Mapping[str, int] = {
    "kill": 12,
    "kill_while_it_starts": 3,
    "stop": 1,
    "kill_broker": 2,
    "add_partition": 1,
    "define": 3,
    "backfill": 3,
    "redrive": 3,
    "lose_online_store": 1,
    "lose_state": 1,
    "second_engine": 1,
}
"""What may happen, and how often in proportion."""
