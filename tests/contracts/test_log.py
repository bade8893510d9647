"""What every log keeps, whatever it is made of: one suite over all implementations of `Log`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from confluent_kafka import Producer

from tegula.connectors.kafka import KafkaLog
from tegula.connectors.local_log import LocalLog
from tegula.connectors.source import Log, LogReader, RawBatch
from tegula.schemas.errors import LogShrunk
from tests.services.kafka import Broker

POLLS_MAX = 2_000  # of a few ms each: a log that never hands over its records fails, not hangs


class Subject(Protocol):
    """A log under test, and the way in which others append to it."""

    def open_log(self) -> Log: ...

    def append(self, partition: str, events: Sequence[bytes]) -> None: ...

    def make_anew(self) -> None: ...


class LocalSubject:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "payments.log"
        self._logs: list[LocalLog] = []
        self._now_us = 0

    def open_log(self) -> LocalLog:
        self._logs.append(LocalLog(self._path, "payments"))
        return self._logs[-1]

    def append(self, partition, events):
        self._now_us += 1_000
        log = LocalLog(self._path, "payments")
        log.append(events, partition=partition, now_us=lambda: self._now_us)
        log.close()

    def make_anew(self):
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()

    def close(self):
        for log in self._logs:
            log.close()


class KafkaSubject:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._topic = broker.create_topic(partitions=4)
        self._producer = Producer({"bootstrap.servers": broker.bootstrap})

    def open_log(self) -> KafkaLog:
        return KafkaLog(self._broker.bootstrap, self._topic, stream="payments")

    def append(self, partition, events):
        for event in events:
            self._producer.produce(self._topic, event, partition=int(partition))
        assert self._producer.flush(30) == 0

    def make_anew(self):
        self._broker.delete_topic(self._topic)
        self._broker.create_topic(self._topic, partitions=4)

    def close(self):
        self._broker.delete_topic(self._topic)


@pytest.fixture(params=["local", pytest.param("kafka", marks=pytest.mark.services)])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "local":
        made = LocalSubject(tmp_path)
    else:
        made = KafkaSubject(request.getfixturevalue("kafka"))
    yield made
    made.close()


@pytest.fixture
def readers() -> Iterator[list[LogReader]]:
    """Readers to be closed when the test is over."""
    opened: list[LogReader] = []
    yield opened
    for reader in opened:
        reader.close()


def read(reader: LogReader, count: int, rows_max: int = 1_000) -> list[RawBatch]:
    """Batches until `count` records have come."""
    batches: list[RawBatch] = []
    for _ in range(POLLS_MAX):
        if sum(map(len, batches)) >= count:
            return batches
        batch = reader.poll(rows_max)
        if batch is not None and len(batch):
            batches.append(batch)
    raise AssertionError(f"{sum(map(len, batches))} of {count} records came")


def records(batches: Sequence[RawBatch]) -> dict[str, list[tuple[int, bytes | None]]]:
    """By partition: offset and payload of each record, in the order in which they came."""
    found = defaultdict(list)
    for batch in batches:
        found[batch.partition] += zip(batch.offsets.tolist(), batch.payloads, strict=True)
    return dict(found)


def events(partition: str, count: int) -> list[bytes]:
    return [f"{partition}:{number}".encode() for number in range(count)]


def numbered(values: Sequence[bytes], first: int = 0) -> list[tuple[int, bytes]]:
    return list(enumerate(values, first))


def test_log_starts_empty_with_all_its_partitions(subject):
    log = subject.open_log()
    assert log.partitions() == ("0", "1", "2", "3")
    assert [log.bounds(partition) for partition in log.partitions()] == [(0, 0)] * 4


def test_log_keeps_the_protocol(subject):
    assert isinstance(subject.open_log(), Log)


def test_log_gives_back_what_was_appended_in_the_order_of_offsets(subject, readers):
    expected = {}
    for partition, count in (("0", 30), ("1", 1), ("3", 500)):
        subject.append(partition, events(partition, count))
        expected[partition] = numbered(events(partition, count))
    log = subject.open_log()
    readers.append(log.open(dict.fromkeys(log.partitions(), 0)))
    batches = read(readers[0], 531)
    assert records(batches) == expected
    assert {p: log.bounds(p) for p in expected} == {"0": (0, 30), "1": (0, 1), "3": (0, 500)}
    assert all(batch.next_offset == batch.offsets[-1] + 1 for batch in batches)
    assert all((np.diff(batch.log_us) >= 0).all() for batch in batches)


def test_log_keeps_payloads_byte_by_byte(subject, readers):
    payloads = [b"", b"\n", b"\n\n{}\n", bytes(range(256)), b"x" * 500_000, b"\xff\xfe", b"{}"]
    subject.append("2", payloads)
    readers.append(subject.open_log().open({"2": 0}))
    assert records(read(readers[0], len(payloads))) == {"2": numbered(payloads)}


@pytest.mark.parametrize("position", [0, 1, 9, 10, 11, 25, 29])
def test_reader_starts_at_the_position_that_it_is_given(subject, readers, position):
    for start in (0, 10, 20):
        subject.append("1", events("1", 30)[start : start + 10])
    readers.append(subject.open_log().open({"1": position}))
    expected = numbered(events("1", 30)[position:], position)
    assert records(read(readers[0], 30 - position)) == {"1": expected}


@pytest.mark.parametrize("rows_max", [1, 7, 10, 64])
def test_reader_never_returns_more_rows_than_asked_for_and_loses_none(subject, readers, rows_max):
    for start in range(0, 60, 10):
        subject.append("1", events("1", 60)[start : start + 10])
    readers.append(subject.open_log().open({"1": 0}))
    batches = read(readers[0], 60, rows_max)
    assert max(map(len, batches)) <= rows_max
    assert records(batches) == {"1": numbered(events("1", 60))}
    ends = [batch.next_offset for batch in batches]
    assert [int(batch.offsets[0]) for batch in batches] == [0, *ends[:-1]]


def test_reader_reads_the_partitions_that_it_was_opened_with_and_no_others(subject, readers):
    for partition in "0123":
        subject.append(partition, events(partition, 5))
    readers.append(subject.open_log().open({"1": 0, "2": 3}))
    assert records(read(readers[0], 7)) == {
        "1": numbered(events("1", 5)),
        "2": numbered(events("2", 5)[3:], 3),
    }
    assert readers[0].poll(10) is None


def test_reader_lets_no_partition_wait_for_the_end_of_another(subject, readers):
    # Megabytes: a Kafka broker hands over a megabyte of a partition before the next one's turn.
    many = [event.ljust(200) for event in events("", 20_000)]
    subject.append("0", many)
    subject.append("1", many)
    readers.append(subject.open_log().open({"0": 0, "1": 0}))
    turns = [batch.partition for batch in read(readers[0], 40_000, rows_max=1_000)]
    assert turns.index("0") < len(turns) // 2
    assert turns.index("1") < len(turns) // 2


def test_reader_finds_nothing_at_the_end_and_then_what_is_appended(subject, readers):
    subject.append("0", events("0", 10))
    readers.append(subject.open_log().open({"0": 10, "1": 0}))
    assert readers[0].poll(100) is None
    subject.append("0", [b"new"])
    subject.append("1", [b"too"])
    assert records(read(readers[0], 2)) == {"0": [(10, b"new")], "1": [(0, b"too")]}


def test_seek_reads_again_from_an_earlier_offset(subject, readers):
    subject.append("0", events("0", 50))
    readers.append(subject.open_log().open({"0": 0}))
    read(readers[0], 20, rows_max=10)
    readers[0].seek("0", 5)
    assert records(read(readers[0], 45, rows_max=10)) == {"0": numbered(events("0", 50)[5:], 5)}


def test_seek_passes_over_what_lies_before_a_later_offset(subject, readers):
    subject.append("0", events("0", 50))
    readers.append(subject.open_log().open({"0": 0}))
    read(readers[0], 10, rows_max=10)
    readers[0].seek("0", 40)
    assert records(read(readers[0], 10)) == {"0": numbered(events("0", 50)[40:], 40)}


def test_seek_adds_a_partition_that_was_not_being_read(subject, readers):
    subject.append("0", events("0", 5))
    subject.append("3", events("3", 5))
    readers.append(subject.open_log().open({"0": 5}))
    assert readers[0].poll(10) is None
    readers[0].seek("3", 2)
    assert records(read(readers[0], 3)) == {"3": numbered(events("3", 5)[2:], 2)}


def test_two_readers_do_not_disturb_each_other(subject, readers):
    subject.append("0", events("0", 40))
    log = subject.open_log()
    readers += [log.open({"0": 0}), log.open({"0": 20})]
    first = read(readers[0], 10, rows_max=10)
    assert records(read(readers[1], 20)) == {"0": numbered(events("0", 40)[20:], 20)}
    rest = read(readers[0], 30)
    assert records([*first, *rest]) == {"0": numbered(events("0", 40))}


def test_reader_may_be_opened_at_the_end_but_not_behind_it(subject, readers):
    subject.append("0", events("0", 10))
    log = subject.open_log()
    readers.append(log.open({"0": 10}))
    with pytest.raises(LogShrunk, match=r"partition 0.*end offset 10"):
        log.open({"0": 11})
    with pytest.raises(LogShrunk, match="partition 17"):
        log.open({"17": 0})


def test_identity_stays_with_a_log_and_differs_when_it_is_made_anew(subject):
    first = subject.open_log().identity
    assert subject.open_log().identity == first
    subject.append("0", [b"x"])
    subject.make_anew()
    assert subject.open_log().identity != first
