"""What goes into the topics of a run, and what is in them in the end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping

import orjson
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tegula.engine.runtime.clock import now_us
from tests.oracle import naive
from tests.simulation.records import RUBBISH, drawn_row

LOG_APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
_AT_ONCE = 100
_READ_WITHIN_S = 60.0


class Producing:
    """A thread that produces to all topics until the end; a broker that is away is waited for."""

    def __init__(
        self, bootstrap: str, topics: Mapping[str, str], seed: int, per_second: int
    ) -> None:
        self._bootstrap = bootstrap
        self._topics = list(topics.values())
        self._chance = random.Random(seed)
        self._rest_s = _AT_ONCE / per_second
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._produce, daemon=True)
        self._acknowledged: list[int] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Produce no more."""
        self._ending.set()

    def count(self) -> int:
        """End, and wait until all is acknowledged; how many records that are."""
        self.end()
        self._thread.join()
        assert self._acknowledged, "the producer failed"
        return self._acknowledged[0]

    def _produce(self) -> None:
        chance, count = self._chance, 0
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "linger.ms": 5,
                "topic.metadata.refresh.interval.ms": 1_000,
                "message.timeout.ms": 120_000,
                "log_level": 0,
            }
        )
        while not self._ending.is_set():
            for _ in range(_AT_ONCE):
                topic = chance.choice(self._topics)
                row = drawn_row(chance, now_us())
                payload = chance.choice(RUBBISH) if chance.random() < 0.01 else orjson.dumps(row)
                producer.produce(topic, payload)
                count += 1
            producer.poll(0)
            self._ending.wait(self._rest_s)
        if producer.flush(120) == 0:
            self._acknowledged.append(count)


def read_back(bootstrap: str, topic: str) -> list[naive.Record]:
    """The records of a topic as the broker has them."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "chaos", "log_level": 0})
    found: list[naive.Record] = []
    deadline_s = time.monotonic() + _READ_WITHIN_S
    try:
        numbers = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ends = {n: consumer.get_watermark_offsets(TopicPartition(topic, n))[1] for n in numbers}
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        while len(found) < sum(ends.values()):
            assert time.monotonic() < deadline_s, f"{len(found)} records of {ends}"
            # A portion that does not come to be full is waited for to the end.
            for message in consumer.consume(10_000, 0.1):
                assert message.error() is None, message.error()
                found.append(_record(message))
    finally:
        consumer.close()
    return found


def _record(message: Message) -> naive.Record:
    partition, offset = message.partition() or 0, message.offset() or 0
    payload, log_us = message.value(), message.timestamp()[1] * 1_000
    if payload is None or payload in RUBBISH:
        row = {"tombstone": payload is None}
        return naive.Record(partition, offset, log_us, None, None, row)
    row = orjson.loads(payload)
    return naive.Record(partition, offset, log_us, row["k"], row["at"], row)
