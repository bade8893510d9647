"""What Kafka alone can do to a log: vanish, refuse, forget, come back as another, leave gaps."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition

from tegula.connectors.kafka import KafkaLog
from tegula.connectors.kafka_producer import KafkaProducer, Position
from tegula.connectors.kafka_reader import KafkaReader
from tegula.connectors.source import RawBatch
from tegula.schemas.errors import (
    BrokerUnreachable,
    LogRecreated,
    LogShrunk,
    LogTruncated,
    SourceError,
    TegulaError,
    TopicMissing,
)
from tests.services.kafka import PASSWORD, USER, Broker, free_ports

pytestmark = pytest.mark.services

POLLS_MAX = 2_000


@pytest.fixture
def topic(kafka: Broker) -> str:
    return kafka.create_topic(partitions=2)


@pytest.fixture
def readers() -> Iterator[list[KafkaReader]]:
    opened: list[KafkaReader] = []
    yield opened
    for reader in opened:
        reader.close()


def send(broker: Broker, topic: str, values: list[bytes | None], partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for value in values:
        producer.produce(topic, value, key=b"k", partition=partition, headers={"trace": b"1"})
    assert producer.flush(30) == 0


def read_to(reader: KafkaReader, next_offset: int) -> list[RawBatch]:
    """Batches until one says that reading goes on at `next_offset`."""
    batches: list[RawBatch] = []
    for _ in range(POLLS_MAX):
        batch = reader.poll(1_000)
        if batch is not None:
            batches.append(batch)
            if batch.next_offset == next_offset:
                return batches
    raise AssertionError(f"never came to {next_offset}: {batches}")


def raised_by_polling(reader: KafkaReader) -> TegulaError:
    for _ in range(POLLS_MAX):
        try:
            reader.poll(1_000)
        except TegulaError as error:
            return error
    raise AssertionError("polling went on as if nothing were wrong")


def sasl(password: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "PLAIN",
        "sasl.username": USER,
        "sasl.password": password,
    }


def test_a_missing_broker_is_one_clear_sentence_after_a_few_seconds():
    bootstrap = f"127.0.0.1:{free_ports(1)[0]}"
    started_s = time.perf_counter()
    with pytest.raises(BrokerUnreachable) as failure:
        KafkaLog(bootstrap, "payments")
    assert time.perf_counter() - started_s < 30
    assert str(failure.value).startswith(
        f"TG-301 at bootstrap {bootstrap}: no Kafka broker answers. Got "
    )
    assert "Connection refused" in str(failure.value)


def test_a_missing_topic_is_named(kafka):
    with pytest.raises(TopicMissing, match="the topic 'paymets' does not exist"):
        KafkaLog(kafka.bootstrap, "paymets")


def test_a_wrong_password_is_told_from_a_missing_broker_and_never_shown(kafka, topic):
    with pytest.raises(SourceError, match="refused this client") as failure:
        KafkaLog(kafka.sasl_bootstrap, topic, sasl("wr0ng-secret"))
    assert "uthentication" in failure.value.got
    assert "wr0ng-secret" not in str(failure.value)


def test_the_right_password_reads(kafka, topic, readers):
    send(kafka, topic, [b"{}"])
    log = KafkaLog(kafka.sasl_bootstrap, topic, sasl(PASSWORD))
    readers.append(log.open({"0": 0}))
    assert list(read_to(readers[0], 1)[0].payloads) == [b"{}"]


def test_tombstones_come_as_records_without_payload(kafka, topic, readers):
    send(kafka, topic, [b"a", None, b"", None])
    readers.append(KafkaLog(kafka.bootstrap, topic).open({"0": 0}))
    batches = read_to(readers[0], 4)
    assert [payload for batch in batches for payload in batch.payloads] == [b"a", None, b"", None]


@pytest.mark.parametrize("kind", ["CreateTime", "LogAppendTime"])
def test_log_timestamps_are_those_of_the_topic(kafka, readers, kind):
    topic = kafka.create_topic(partitions=1, config={"message.timestamp.type": kind})
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topic, b"{}", timestamp=1_700_000_000_123)
    producer.flush(30)
    readers.append(KafkaLog(kafka.bootstrap, topic).open({"0": 0}))
    (log_us,) = read_to(readers[0], 1)[0].log_us.tolist()
    assert (log_us == 1_700_000_000_123_000) == (kind == "CreateTime")
    assert log_us % 1_000 == 0


def test_new_partitions_are_found_and_read_from_their_start(kafka, topic, readers):
    log = KafkaLog(kafka.bootstrap, topic)
    assert log.partitions() == ("0", "1")
    readers.append(log.open({"0": 0, "1": 0}))
    kafka.add_partitions(topic, 3)
    assert log.partitions() == ("0", "1", "2")
    send(kafka, topic, [b"new"], partition=2)
    readers[0].seek("2", log.bounds("2")[0])
    assert list(read_to(readers[0], 1)[0].payloads) == [b"new"]


def test_a_log_that_begins_after_a_position_is_truncated_and_says_where(kafka, topic):
    send(kafka, topic, [b"x"] * 10)
    admin = kafka.admin()
    for future in admin.delete_records([TopicPartition(topic, 0, 4)]).values():
        future.result(20)
    log = KafkaLog(kafka.bootstrap, topic, stream="payments")
    assert log.bounds("0") == (4, 10)
    with pytest.raises(LogTruncated, match=r"stream 'payments', partition 0.*first offset 4"):
        log.open({"0": 3})


def test_a_position_that_is_lost_while_reading_is_an_error_and_no_jump(kafka, topic, readers):
    send(kafka, topic, [b"x"] * 10)
    readers.append(KafkaLog(kafka.bootstrap, topic).open({"0": 0}))
    read_to(readers[0], 10)
    admin = kafka.admin()
    for future in admin.delete_records([TopicPartition(topic, 0, 8)]).values():
        future.result(20)
    readers[0].seek("0", 2)
    assert isinstance(raised_by_polling(readers[0]), LogTruncated)


def test_a_topic_made_anew_is_noticed_by_its_id(kafka, topic, readers):
    send(kafka, topic, [b"x"] * 10)
    log = KafkaLog(kafka.bootstrap, topic, stream="payments")
    readers.append(log.open({"0": 0}))
    read_to(readers[0], 10)
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=2)
    send(kafka, topic, [b"y"] * 20)
    with pytest.raises(LogRecreated, match="stream 'payments'"):
        log.partitions()
    with pytest.raises(LogRecreated):
        log.open({"0": 10})


def test_a_shorter_topic_made_anew_stops_a_reader(kafka, topic, readers):
    send(kafka, topic, [b"x"] * 10)
    readers.append(KafkaLog(kafka.bootstrap, topic).open({"0": 0}))
    read_to(readers[0], 10)
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=2)
    assert isinstance(raised_by_polling(readers[0]), LogRecreated | LogShrunk | TopicMissing)


def test_markers_of_transactions_are_counted_as_read(kafka, topic, readers):
    """Else a reader at the end would never reach the end offset."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for value, commit in ((b"kept", True), (b"aborted", False), (b"kept too", True)):
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    log = KafkaLog(kafka.bootstrap, topic)
    assert log.bounds("0") == (0, 6)
    readers.append(log.open({"0": 0}))
    batches = read_to(readers[0], 6)
    assert [payload for batch in batches for payload in batch.payloads] == [b"kept", b"kept too"]
    assert [offset for batch in batches for offset in batch.offsets.tolist()] == [0, 4]


def test_a_broker_that_comes_back_is_read_on(own_kafka, readers):
    own_kafka.start()
    topic = own_kafka.create_topic(partitions=1)
    send(own_kafka, topic, [b"before"])
    readers.append(KafkaLog(own_kafka.bootstrap, topic).open({"0": 0}))
    read_to(readers[0], 1)
    own_kafka.stop()
    for _ in range(10):
        assert readers[0].poll(10) is None
    own_kafka.start()
    send(own_kafka, topic, [b"after"])
    assert list(read_to(readers[0], 2)[0].payloads) == [b"after"]


def test_producer_returns_the_position_of_each_event(kafka, topic, readers):
    producer = KafkaProducer(kafka.bootstrap, topic)
    values = [str(number).encode() for number in range(200)]
    positions = producer.produce(values, keys=[value[-1:] for value in values])
    producer.close()
    assert {position.partition for position in positions} == {"0", "1"}
    by_key = {v[-1:]: p.partition for v, p in zip(values, positions, strict=True)}
    assert all(p.partition == by_key[v[-1:]] for v, p in zip(values, positions, strict=True))
    readers.append(KafkaLog(kafka.bootstrap, topic).open({"0": 0, "1": 0}))
    found = {}
    while len(found) < 200:
        batch = readers[0].poll(1_000)
        if batch is not None:
            places = (Position(batch.partition, offset) for offset in batch.offsets.tolist())
            found |= dict(zip(places, batch.payloads, strict=True))
    assert found == dict(zip(positions, values, strict=True))


def test_producer_gives_a_verdict_on_each_event_that_was_refused(kafka):
    topic = kafka.create_topic(partitions=1, config={"max.message.bytes": "2000"})
    producer = KafkaProducer(kafka.bootstrap, topic)
    large = random.Random(1).randbytes(5_000)  # does not become small by compression
    first, second = producer.produce([b"a"]) + producer.produce([large])
    assert first == Position("0", 0)
    assert isinstance(second, SourceError)
    assert "MSG_SIZE_TOO_LARGE" in second.got
    producer.close()


def test_producer_gives_up_when_the_broker_is_gone(own_kafka):
    own_kafka.start()
    topic = own_kafka.create_topic(partitions=1)
    producer = KafkaProducer(own_kafka.bootstrap, topic, timeout_s=1.0)
    own_kafka.stop()
    (verdict,) = producer.produce([b"a"])
    assert isinstance(verdict, BrokerUnreachable)
    producer.close()
