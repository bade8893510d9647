"""Appending to a Kafka topic on behalf of others: events in, their positions out.

An event counts as accepted when all in-sync replicas have it (`acks=all`, idempotent, so a retry
inside the client writes nothing twice). What was not acknowledged in time may still arrive later:
its verdict says so, and whoever sends it again may produce it twice.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ..schemas.errors import TegulaError
from .kafka_client import LOGGER, Brokers

_POLL_S = 0.1
_OPTIONS: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 2,  # many requests' events share a batch
    "compression.type": "lz4",
    "queue.buffering.max.messages": 1_000_000,
    "message.max.bytes": 100_000_000,  # the topic's own limit is the one that counts
}


class Position(NamedTuple):
    """Where one event lies."""

    partition: str
    offset: int


class KafkaProducer:
    """Produces to one topic. Safe for several threads, which share batches.

    An event that is not acknowledged after `timeout_s` is given up. Raises what `KafkaLog` does.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        security: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> None:
        self._brokers = Brokers(bootstrap, topic, security or {})
        self._brokers.describe()  # a missing broker or topic is told now, not at the first event
        limit = {"message.timeout.ms": int(timeout_s * 1_000)}
        self._producer = Producer(self._brokers.options({**_OPTIONS, **limit}), logger=LOGGER)
        self._topic = topic
        self._closed = threading.Event()
        # Acknowledgements are callbacks of whichever thread polls: one does so for all.
        self._poller = threading.Thread(target=self._poll, name="tegula-produce", daemon=True)
        self._poller.start()

    def produce(
        self, events: Sequence[bytes], *, keys: Sequence[bytes | None] | None = None
    ) -> list[Position | TegulaError]:
        """Produce `events` and wait; per event its position, or why it was not accepted.

        Events with equal keys go to the same partition, by Kafka's own hash; without keys the
        client spreads them.
        """
        given = keys if keys is not None else [None] * len(events)
        verdicts: dict[int, Position | TegulaError] = {}
        waiting = _Countdown(len(events))
        for index, (event, key) in enumerate(zip(events, given, strict=True)):
            told = partial(self._told, verdicts, index, waiting)
            try:
                self._producer.produce(self._topic, event, key, on_delivery=told)
            except (BufferError, KafkaException) as failure:
                # A full buffer: nothing has been acknowledged for a long time.
                error = failure.args[0] if isinstance(failure, KafkaException) else None
                verdicts[index] = self._brokers.named(error)
                waiting.one_less()
        waiting.done.wait()
        return [verdicts[index] for index in range(len(events))]

    def close(self) -> None:
        """Wait for what is on its way, and leave the brokers."""
        self._producer.flush()
        self._closed.set()
        self._poller.join()

    def _told(
        self,
        verdicts: dict[int, Position | TegulaError],
        index: int,
        waiting: _Countdown,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        if error is None:
            self._brokers.answered()
            verdicts[index] = Position(str(message.partition()), message.offset() or 0)
        else:
            verdicts[index] = self._brokers.named(error)
        waiting.one_less()

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_POLL_S)


class _Countdown:
    """Counts what is still awaited; `done` is set when nothing is."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._count = count
        self.done = threading.Event()
        if not count:
            self.done.set()

    def one_less(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                self.done.set()
