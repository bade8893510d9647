"""Reading a Kafka topic by positions of our own.

Partitions are assigned by hand, never by a group: which offset comes next is known to the state,
and nobody else's opinion counts. `auto.offset.reset` is an error, since every other value would go
on at an offset that nobody asked for.

A poll waits 5 ms for messages, and goes on as long as they come in full portions: so batches are
small when events are few, and large when the reader is behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from numpy.typing import NDArray

from .kafka_client import END_OF_PARTITION, LOGGER, MISSING, Brokers
from .payloads import EMPTY, Payloads
from .source import RawBatch

_OPTIONS: Mapping[str, Any] = {
    "group.id": "tegula",  # librdkafka wants one; nothing is ever committed to it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "check.crcs": True,
    # How long a fetcher sleeps after its queue was full: the default of a second costs a factor of
    # four in throughput, 0 spins.
    "fetch.queue.backoff.ms": 10,
}
_WAIT_S = 0.005
# Messages asked for at a time. They are Python objects: a few thousand that are let go before the
# next ones come stay in the processor's cache, and cost less than half of 65 536 at once.
_PORTION = 2_000
_BATCH_BYTES_MAX = 32 << 20  # large records: no more are asked for, however few there are


class KafkaReader:
    """Reads a topic on from `positions`. `explain` raises what an error at a position means."""

    def __init__(
        self,
        brokers: Brokers,
        positions: Mapping[str, int],
        explain: Callable[[Mapping[str, int], KafkaError], None],
    ) -> None:
        self._brokers = brokers
        self._explain = explain
        self._positions = dict(positions)
        self._ready: deque[RawBatch] = deque()
        self._consumer = Consumer(brokers.options(_OPTIONS), logger=LOGGER)
        self._consumer.assign([self._at(*item) for item in positions.items()])

    def poll(self, rows_max: int) -> RawBatch | None:
        """The next records of one partition, or None if none came in time.

        A batch without rows says that the log skipped offsets: markers of transactions, or records
        that compaction took. A broker that is down is waited for; librdkafka connects again.
        """
        if not self._ready:
            self._fetch(rows_max)
        if not self._ready:
            return None
        batch = self._ready.popleft()
        if len(batch) > rows_max:
            batch, rest = batch.split(rows_max)
            self._ready.appendleft(rest)
        return batch

    def seek(self, partition: str, offset: int) -> None:
        """Read `partition` from `offset` on; what was fetched of it before is dropped."""
        self._ready = deque(batch for batch in self._ready if batch.partition != partition)
        # Assigned anew rather than sought: that also drops what librdkafka holds of it, and works
        # for a partition that has not been fetched from yet.
        if partition in self._positions:
            self._consumer.incremental_unassign([self._at(partition, offset)])
        self._consumer.incremental_assign([self._at(partition, offset)])
        self._positions[partition] = offset

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def _at(self, partition: str, offset: int) -> TopicPartition:
        return TopicPartition(self._brokers.topic, int(partition), offset)

    def _fetch(self, rows_max: int) -> None:
        """Consume what is there, and queue it as batches of one partition each."""
        numbers: list[int] = []
        offsets: list[int] = []
        stamps: list[tuple[int, int]] = []
        values: list[bytes | None] = []
        errors: list[Message] = []
        size_bytes = 0
        while len(values) < rows_max and size_bytes < _BATCH_BYTES_MAX and not errors:
            wanted = min(_PORTION, rows_max - len(values))
            messages = self._consume(wanted)
            count = len(messages)
            if any(map(Message.error, messages)):
                errors = [message for message in messages if message.error() is not None]
                messages = [message for message in messages if message.error() is None]
            # Attribute by attribute: half the cost of a loop over the messages.
            numbers.extend(map(Message.partition, messages))  # type: ignore[arg-type]
            offsets.extend(map(Message.offset, messages))  # type: ignore[arg-type]
            stamps.extend(map(Message.timestamp, messages))
            payloads = [*map(Message.value, messages)]
            values.extend(payloads)
            size_bytes += sum(map(len, filter(None, payloads)))
            if count < wanted:
                break
        if values:
            self._brokers.answered()
            # Flat: three times faster than an array of the tuples.
            flat = np.fromiter(chain.from_iterable(stamps), np.int64, 2 * len(stamps))
            self._queue(np.array(numbers), np.array(offsets), flat.reshape(-1, 2), values)
        for error in errors:
            self._heed(error)

    def _consume(self, count: int) -> list[Message]:
        try:
            messages = self._consumer.consume(count, _WAIT_S)
        except KafkaException as failure:
            raise self._brokers.named(failure.args[0]) from failure
        self._brokers.check()
        return messages

    def _queue(
        self,
        numbers: NDArray[np.int64],
        offsets: NDArray[np.int64],
        stamps: NDArray[np.int64],
        values: Sequence[bytes | None],
    ) -> None:
        """Queue messages, in the order of their arrival, as a batch a partition.

        `stamps` int64 (n, 2): who set the timestamp, as the topic was configured then, and it, in
        ms. A batch has one setter, so that where the configuration changed it is cut.
        """
        if (numbers != numbers[0]).any():
            order = np.argsort(numbers, kind="stable")
            numbers, offsets, stamps = numbers[order], offsets[order], stamps[order]
            values = [values[row] for row in order.tolist()]
        created, log_us = stamps[:, 0] != TIMESTAMP_LOG_APPEND_TIME, stamps[:, 1] * 1_000
        breaks = np.flatnonzero(np.diff(numbers) | np.diff(created)) + 1
        for start, stop in pairwise([0, *breaks.tolist(), len(numbers)]):
            rows = slice(start, stop)
            partition = str(numbers[start])
            next_offset = int(offsets[stop - 1]) + 1
            payloads = Payloads.from_list(values[rows])
            self._ready.append(
                RawBatch(
                    partition,
                    offsets[rows],
                    log_us[rows],
                    payloads,
                    next_offset,
                    bool(created[start]),
                )
            )
            self._positions[partition] = next_offset

    def _heed(self, message: Message) -> None:
        """What an error in a message's place asks for."""
        error = message.error()
        assert error is not None, "only messages that are errors come here"
        partition = str(message.partition())
        if error.code() == END_OF_PARTITION:
            self._pass_over(partition, message.offset())
        elif error.retriable() and error.code() not in MISSING:
            LOGGER.warning("Kafka, partition %s: %s", partition, error.str())
        else:
            known = {partition: self._positions[partition]} if partition in self._positions else {}
            self._explain(known or self._positions, error)
            raise self._brokers.named(error)

    def _pass_over(self, partition: str, end_offset: int | None) -> None:
        """At the end of a partition: count what lies there without being a record as read."""
        if end_offset is None or end_offset <= self._positions.get(partition, end_offset):
            return
        none = np.empty(0, np.int64)
        self._ready.append(RawBatch(partition, none, none, EMPTY, end_offset))
        self._positions[partition] = end_offset
