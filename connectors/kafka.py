"""A Kafka topic as the log of a stream.

Positions are Kafka's own partitions and offsets. They belong to the topic's *identity*, the ids of
cluster and topic: a topic that is deleted and made anew starts at 0 under its old name, and reading
on from an old position would skip its events in silence. Wherever the two can be told apart, it is
an error with a name:

    the topic has another id                  LogRecreated
    it begins after the position              LogTruncated   (retention overtook the reader)
    it ends before the position               LogShrunk
"""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError

from ..schemas.errors import LogRecreated, LogShrunk, LogTruncated, TopicMissing
from .kafka_client import MISSING, OUT_OF_RANGE, Brokers
from .kafka_reader import KafkaReader


class KafkaLog:
    """The topic `topic` of the brokers at `bootstrap`; errors name `stream`, or else the topic.

    `security` are librdkafka's options for TLS and SASL. Raises `BrokerUnreachable` after some
    seconds without an answer, `TopicMissing`, or `SourceError` where the brokers refuse us.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        security: Mapping[str, str] | None = None,
        *,
        stream: str | None = None,
    ) -> None:
        self._brokers = Brokers(bootstrap, topic, security or {})
        self._stream = stream or topic
        self._cluster_id = self._brokers.cluster_id()
        self._topic_id = self._brokers.describe().id

    @property
    def identity(self) -> str:
        """Cluster and topic id, as they were when the log was opened."""
        return f"{self._cluster_id}/{self._topic_id or self._brokers.topic}"

    def partitions(self) -> tuple[str, ...]:
        """All partitions by number, asked for anew each time: topics may be given more.

        Raises `LogRecreated` if the topic is another one by now.
        """
        topic = self._brokers.describe()
        if topic.id != self._topic_id:
            raise LogRecreated(
                stream=self._stream,
                got_identity=f"{self._cluster_id}/{topic.id}",
                expected_identity=self.identity,
            )
        return tuple(str(number) for number in topic.partitions)

    def bounds(self, partition: str) -> tuple[int, int]:
        """The first offset that retention has left, and the end offset."""
        return self._brokers.bounds([int(partition)])[int(partition)]

    def open(self, positions: Mapping[str, int]) -> KafkaReader:
        """A reader with a connection of its own.

        Raises `LogTruncated` or `LogShrunk` for a position that the partition does not hold, and
        what `partitions` raises.
        """
        self._check(positions)
        return KafkaReader(self._brokers, positions, self._explain)

    def _check(self, positions: Mapping[str, int]) -> None:
        """Raise what is wrong with these positions, if anything is."""
        here = self.partitions()
        bounds = self._brokers.bounds([int(name) for name in positions if name in here])
        for partition, offset in positions.items():
            first, end = bounds.get(int(partition), (0, -1))
            if offset < first:
                raise LogTruncated(
                    stream=self._stream,
                    partition=partition,
                    first_offset=first,
                    wanted_offset=offset,
                )
            if offset > end:
                raise LogShrunk(
                    stream=self._stream,
                    partition=partition,
                    end_offset=max(end, 0),
                    applied_offset=offset,
                )

    def _explain(self, positions: Mapping[str, int], error: KafkaError) -> None:
        """Raise the reason why reading failed at one of `positions`, if it can be found out."""
        if error.code() == OUT_OF_RANGE:
            self._check(positions)
        elif error.code() in MISSING:
            self.partitions()
            raise TopicMissing(topic=self._brokers.topic, bootstrap=self._brokers.bootstrap)
