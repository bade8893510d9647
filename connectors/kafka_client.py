"""Talking to Kafka's brokers: options, patience, and errors that say what is wrong.

librdkafka reports trouble in three places: exceptions, errors in place of messages, and callbacks.
A wrong password, for one, looks like a broken connection to the caller, and only the callback knows
better. `Brokers` brings the three together, so that what a user reads is the cause.
"""

# ruff: noqa: SLF001  (librdkafka's own error codes begin with an underscore; they are public)

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from ..schemas.errors import BrokerUnreachable, SourceError, TegulaError, TopicMissing

LOGGER = logging.getLogger("tegula.kafka")

END_OF_PARTITION: int = KafkaError._PARTITION_EOF
OUT_OF_RANGE: int = KafkaError._AUTO_OFFSET_RESET
MISSING = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID, KafkaError._UNKNOWN_TOPIC}
)

_PATIENCE_S = 5.0  # a broker that is starting answers within it; a missing one never does
_REQUEST_TIMEOUT_S = 1.0
_AGAIN_S = 0.05  # some refusals come at once
_UNREACHABLE = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._RESOLVE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError._NOENT,  # no leader: of a topic made a moment ago, or brokers that start
    }
)
_REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)

_NO_ID = str(Uuid(0, 0))  # of topics on brokers before 2.8
_PAUSE = threading.Event()
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the brokers describe it now; brokers before 2.8 give no `id`."""

    id: str | None
    partitions: tuple[int, ...]


class Brokers:
    """The brokers behind `bootstrap`, asked about one topic. Safe for several threads.

    `security` are librdkafka's own options (`security.protocol`, `sasl.*`, `ssl.*`); they are
    passed on and never printed.
    """

    def __init__(self, bootstrap: str, topic: str, security: Mapping[str, str]) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self._security = dict(security)
        self._refusal: KafkaError | None = None
        self._last: KafkaError | None = None
        self._admin = AdminClient(self.options(), logger=LOGGER)

    def options(self, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Options for a client of these brokers, whose errors are noted here."""
        return {
            "bootstrap.servers": self.bootstrap,
            "client.id": "tegula",
            "reconnect.backoff.max.ms": 1_000,
            "log_level": 0,  # each line of it comes through `error_cb` too, and once will do
            "error_cb": self._note,
            **self._security,
            **(more or {}),
        }

    def describe(self) -> Topic:
        """The topic's id and partitions. Raises `TopicMissing` if there is no such topic."""
        wanted = TopicCollection([self.topic])
        answers = self._ask(
            lambda admin, timeout_s: admin.describe_topics(wanted, request_timeout=timeout_s)
        )
        found = answers[self.topic]
        numbers = tuple(sorted(partition.id for partition in found.partitions))
        return Topic(None if str(found.topic_id) == _NO_ID else str(found.topic_id), numbers)

    def bounds(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """The first offset that is kept and the end offset, by partition."""
        first = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        end = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {number: (first[number], end[number]) for number in partitions}

    def _offsets(self, partitions: Sequence[int], spec: OffsetSpec) -> dict[int, int]:
        wanted = {TopicPartition(self.topic, number): spec for number in partitions}
        answers = self._ask(
            lambda admin, timeout_s: admin.list_offsets(wanted, request_timeout=timeout_s)
        )
        return {at.partition: info.offset for at, info in answers.items()}

    def cluster_id(self) -> str:
        """The cluster's own id, made when its storage was formatted."""
        cluster = self._ask(
            lambda admin, timeout_s: {"": admin.describe_cluster(request_timeout=timeout_s)}
        )
        return str(cluster[""].cluster_id)

    def _ask(
        self, request: Callable[[AdminClient, float], Mapping[Any, Future[_T]]]
    ) -> dict[Any, _T]:
        """The answers to a request, asked again for some seconds while no broker answers."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                futures = request(self._admin, _REQUEST_TIMEOUT_S)
                return {key: future.result(_PATIENCE_S) for key, future in futures.items()}
            except (KafkaException, TimeoutError) as failure:
                error = failure.args[0] if isinstance(failure, KafkaException) else None
                self._admin.poll(0)  # lets the callback tell what it knows
                transient = error is None or error.code() in _UNREACHABLE
                if self._refusal or not transient or time.monotonic() > deadline_s:
                    raise self.named(error) from failure
            _PAUSE.wait(_AGAIN_S)

    def named(self, error: KafkaError | None) -> TegulaError:
        """What a user reads for an error of librdkafka; the callback's knowledge goes first."""
        cause = self._refusal or error
        if cause is not None and cause.code() in _REFUSED:
            return SourceError(
                "the Kafka broker refused this client",
                where=f"bootstrap {self.bootstrap}, topic {self.topic!r}",
                got=_text(cause),
                hint="check the user, the password or certificate, and the rights on the topic",
            )
        if error is not None and error.code() in MISSING:
            return TopicMissing(topic=self.topic, bootstrap=self.bootstrap)
        if error is None or error.code() in _UNREACHABLE:
            detail = self._last or error
            return BrokerUnreachable(
                bootstrap=self.bootstrap, detail=_text(detail) if detail else "no answer in time"
            )
        return SourceError(
            "Kafka reported an error",
            where=f"bootstrap {self.bootstrap}, topic {self.topic!r}",
            got=_text(error),
        )

    def check(self) -> None:
        """Raise if the brokers have refused this client since it was made."""
        if self._refusal is not None:
            raise self.named(self._refusal)

    def answered(self) -> None:
        """Note that the brokers are there: what went wrong before is over."""
        self._last = None

    def _note(self, error: KafkaError) -> None:
        if error.code() in _REFUSED:
            self._refusal = error
        if self._last is None:
            # Once an outage: librdkafka repeats itself with every attempt to connect.
            LOGGER.warning("Kafka at %s: %s", self.bootstrap, _text(error))
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._last is None:
            self._last = error  # "all brokers down" says less than what came before it


def _text(error: KafkaError) -> str:
    return f"{error.str()} ({error.name()})"
