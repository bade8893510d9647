"""Where pushed events go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tegula.connectors.kafka_producer import Position
from tegula.connectors.local_log import LocalLog
from tegula.connectors.source import Receipt
from tegula.engine.settings import Settings
from tegula.schemas.definitions import Kafka
from tegula.schemas.errors import SettingsError, SourceError, TegulaError
from tegula.serving.logs import Batch, KafkaEvents, LocalEvents, open_events
from tests.unit.serving.test_push import STREAM


@pytest.fixture
def log(tmp_path: Path) -> LocalLog:
    return LocalLog(tmp_path / "payments.db", "payments")


def stored(log: LocalLog) -> dict[str, list[bytes | None]]:
    reader = log.open(dict.fromkeys(log.partitions(), 0))
    found: dict[str, list[bytes | None]] = {}
    while batch := reader.poll(1_000):
        found.setdefault(batch.partition, []).extend(batch.payloads)
    reader.close()
    return found


def test_local_log_takes_batches_in_turn_and_gives_each_its_receipts(log):
    first, second = LocalEvents(log, lambda: 1).append([Batch([b"1", b"2"]), Batch([b"3"])])
    assert first.receipts == [Receipt("0", 0, 2)]
    assert second.receipts == [Receipt("1", 0, 1)]
    assert stored(log) == {"0": [b"1", b"2"], "1": [b"3"]}


def test_local_log_keeps_events_of_one_key_in_one_partition_and_in_order(log):
    events = LocalEvents(log, lambda: 1)
    keys: list[bytes | None] = [b"a", b"b", b"a", None, b"c", b"a"]
    for _ in range(3):
        (appended,) = events.append([Batch([b"%d" % n for n in range(6)], keys)])
        assert sum(one.count for one in appended.receipts) == 6
    of_a = [[row for row in rows if row in (b"0", b"2", b"5")] for rows in stored(log).values()]
    assert [b"0", b"2", b"5"] * 3 in of_a


def test_kafka_decides_about_each_event_by_itself():
    refused = SourceError("not acknowledged in time")

    class Producer:
        def produce(
            self, events: Sequence[bytes], *, keys: Sequence[bytes | None]
        ) -> list[Position | TegulaError]:
            assert (events, keys) == ([b"1", b"2", b"3"], [None, None, b"k"])
            return [Position("4", 7), refused, Position("0", 9)]

        def close(self) -> None:
            return

    first, second = KafkaEvents(Producer()).append(  # type: ignore[arg-type]
        [Batch([b"1", b"2"]), Batch([b"3"], [b"k"])]
    )
    assert (first.receipts, first.failed) == ([Receipt("4", 7, 1)], {1: refused})
    assert (second.receipts, second.failed) == ([Receipt("0", 9, 1)], {})


def test_topic_without_a_broker_is_a_fault_of_the_settings(tmp_path):
    settings = Settings(project=tmp_path)  # type: ignore[call-arg]
    with pytest.raises(SettingsError, match="no broker is named"):
        open_events(replace(STREAM, source=Kafka("payments")), settings, lambda: 1)
