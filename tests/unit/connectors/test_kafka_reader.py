"""Reading a topic: how much is asked for at once."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, Message

from tegula.connectors import kafka_reader
from tegula.connectors.kafka_client import Brokers
from tegula.connectors.kafka_reader import KafkaReader


def explain(_: Mapping[str, int], fault: KafkaError) -> None:
    raise AssertionError(fault)


def test_batch_of_large_records_ends_by_its_bytes(monkeypatch):
    monkeypatch.setattr(kafka_reader, "_BATCH_BYTES_MAX", 100_000)
    reader = KafkaReader(Brokers("127.0.0.1:1", "t", {}), {"0": 0}, explain)
    offset = 0

    def consume(count: int) -> list[Message]:
        """As many as are wanted: a broker that has millions."""
        nonlocal offset
        offset += count
        return [
            Message(topic="t", partition=0, offset=n, value=value, timestamp=(1, 1))
            for n in range(offset - count, offset)
            for value in (None if n % 2 else b"x" * 200,)
        ]

    monkeypatch.setattr(reader, "_consume", consume)
    batch = reader.poll(131_072)
    assert batch is not None
    assert len(batch) == offset == 2_000
    assert batch.next_offset == 2_000
    again = reader.poll(131_072)
    assert again is not None
    assert again.offsets[0] == 2_000
    reader.close()
