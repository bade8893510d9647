"""Where pushed events go: the embedded log, or the Kafka topic that a stream is read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..connectors.kafka_producer import KafkaProducer
from ..connectors.local_log import LocalLog
from ..connectors.source import Append, Receipt
from ..engine.disk import DiskGuard
from ..engine.plan import StreamPlan
from ..engine.settings import Settings
from ..schemas.definitions import Kafka
from ..schemas.errors import SettingsError, TegulaError
from ..state.keys import hashes_of, shards_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one request. Events of equal `keys` go to one partition; without keys, anywhere."""

    events: Sequence[bytes]
    keys: Sequence[bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a batch's events lie, and by place in the batch, why others could not be appended."""

    receipts: Sequence[Receipt]
    failed: Mapping[int, TegulaError] = field(default_factory=dict)


class EventLog(Protocol):
    """A log that events are appended to. Safe for several threads."""

    def append(self, batches: Sequence[Batch]) -> list[Appended]:
        """Append durably; one answer a batch. Raises where nothing could be appended."""
        ...

    def close(self) -> None:
        """Let the log go."""
        ...


class LocalEvents:
    """The embedded log: all batches in one commit, or none.

    `append` raises `LogFull` while `disk` says that the log's has too little room.
    """

    def __init__(
        self, log: LocalLog, now_us: Callable[[], int], disk: DiskGuard | None = None
    ) -> None:
        self._log = log
        self._now_us = now_us
        self._disk = disk

    def append(self, batches: Sequence[Batch]) -> list[Appended]:
        if self._disk is not None:
            self._disk.require_room("log")
        names = self._log.partitions()
        appends = [_spread(batch, names) for batch in batches]
        receipts = iter(
            self._log.append_many([one for group in appends for one in group], now_us=self._now_us)
        )
        return [Appended([next(receipts) for _ in group]) for group in appends]

    def close(self) -> None:
        self._log.close()


def _spread(batch: Batch, partitions: Sequence[str]) -> list[Append]:
    """The batch by partition; events without a key all go to the partition whose turn it is."""
    if batch.keys is None:
        return [Append(batch.events)]
    numbers = np.full(len(batch.keys), -1)
    present = [place for place, key in enumerate(batch.keys) if key is not None]
    hashes = hashes_of([key for key in batch.keys if key is not None])
    numbers[present] = shards_of(hashes, len(partitions))
    by_number: dict[int, list[bytes]] = {}
    for event, number in zip(batch.events, numbers.tolist(), strict=True):
        by_number.setdefault(number, []).append(event)
    return [
        Append(events, None if number < 0 else partitions[number])
        for number, events in by_number.items()
    ]


class KafkaEvents:
    """A Kafka topic. Kafka decides about each event by itself."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer

    def append(self, batches: Sequence[Batch]) -> list[Appended]:
        events = [event for batch in batches for event in batch.events]
        keys = [key for batch in batches for key in (batch.keys or [None] * len(batch.events))]
        verdicts = iter(self._producer.produce(events, keys=keys))
        answers = []
        for batch in batches:
            receipts, failed = [], {}
            for place in range(len(batch.events)):
                verdict = next(verdicts)
                if isinstance(verdict, TegulaError):
                    failed[place] = verdict
                else:
                    receipts.append(Receipt(verdict.partition, verdict.offset, 1))
            answers.append(Appended(receipts, failed))
        return answers

    def close(self) -> None:
        self._producer.close()


def open_events(
    stream: StreamPlan,
    settings: Settings,
    now_us: Callable[[], int],
    disk: DiskGuard | None = None,
) -> EventLog:
    """The log that the stream is read from; `disk` is the guard of the home, if there is one yet.

    Raises `SettingsError` where no broker is named, and whatever the log raises that cannot be
    opened.
    """
    if stream.source is None:
        log = LocalLog(settings.log_path(stream.name), stream.name)
        return LocalEvents(log, now_us, disk or DiskGuard.of(settings))
    return KafkaEvents(
        KafkaProducer(
            _bootstrap(stream.source, settings), stream.source.topic, settings.kafka_options
        )
    )


def _bootstrap(source: Kafka, settings: Settings) -> str:
    bootstrap = source.bootstrap or settings.kafka_bootstrap
    if bootstrap is None:
        raise SettingsError(
            f"no broker is named for the topic {source.topic!r}",
            where="kafka.bootstrap",
            expected="addresses, such as 127.0.0.1:9092",
        )
    return bootstrap
