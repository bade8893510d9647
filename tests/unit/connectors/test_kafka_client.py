"""Asking Kafka's brokers: what passes by itself is asked again, what does not is told."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from tegula.connectors import kafka_client
from tegula.connectors.kafka_client import Brokers
from tegula.schemas.errors import BrokerUnreachable


class Refusing:
    """Brokers that answer a question about offsets with these errors in turn, then with 7."""

    def __init__(self, *codes: int) -> None:
        self._codes = list(codes)

    def list_offsets(self, wanted: Any, request_timeout: float) -> dict[Any, Future[Any]]:
        answers = {}
        for at in wanted:
            answers[at] = Future[Any]()
            if self._codes:
                error = KafkaError(self._codes.pop(0), "not now")
                answers[at].set_exception(KafkaException(error))
            else:
                answers[at].set_result(type("Info", (), {"offset": 7}))
        return answers

    def poll(self, timeout_s: float) -> int:
        return 0


def brokers(monkeypatch: pytest.MonkeyPatch, *codes: int) -> Brokers:
    monkeypatch.setattr(kafka_client, "AdminClient", lambda *_, **__: Refusing(*codes))
    monkeypatch.setattr(kafka_client, "_AGAIN_S", 0.0)
    return Brokers("nowhere:1", "topic", {})


@pytest.mark.parametrize("code", [KafkaError._NOENT, KafkaError.LEADER_NOT_AVAILABLE])
def test_partition_without_a_leader_yet_is_asked_again(monkeypatch, code):
    """As of a topic that was made a moment ago, or where the brokers have just started."""
    assert brokers(monkeypatch, code, code).bounds([0]) == {0: (7, 7)}


def test_partition_that_stays_without_a_leader_is_an_error_with_a_name(monkeypatch):
    monkeypatch.setattr(kafka_client, "_PATIENCE_S", 0.0)
    with pytest.raises(BrokerUnreachable, match="not now"):
        brokers(monkeypatch, *[KafkaError._NOENT] * 100).bounds([0])
