"""A topic whose producers set the time of its records: one absurd time costs its record alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

import tegula as tg
from tegula import agg
from tegula.engine.runtime.clock import now_us
from tegula.schemas.time import DAY_US, HOUR_US
from tegula.state.dead_letter import DeadLetter
from tests.support.engines import BY_NAME, Project, running

pytestmark = pytest.mark.services

# Brokers since 4.0 refuse what lies an hour ahead; those before, and topics like this one, do not.
CREATE_TIME = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**62),
    "message.timestamp.before.max.ms": str(2**62),
}


@dataclass
class Clock:
    """The wall clock, or some time after it."""

    ahead_us: int = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us


def view_over(topic: str) -> tg.FeatureView:
    stream = tg.Stream(
        "events",
        schema={"k": tg.String, "at": tg.Timestamp.of("us")},
        event_time="at",
        source=tg.Kafka(topic=topic),
    )
    # Whatever is a minute late is expired: a watermark in the year 2100 would expire everything.
    return tg.FeatureView(
        "counted",
        entity=BY_NAME,
        stream=stream,
        features={"n": agg.count().over(tg.sliding("1h"))},
        allowed_lateness="1m",
    )


def test_kafka_record_that_its_producer_dates_to_the_next_century_harms_no_neighbour(
    kafka, tmp_path: Path, eventually
):
    topic = kafka.create_topic(partitions=1, config=CREATE_TIME)
    view = view_over(topic)
    project = Project.make(tmp_path, view, kafka_bootstrap=kafka.bootstrap)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    began_us = now_us()

    def send(*times_us: int) -> None:
        for at_us in times_us:
            payload = orjson.dumps({"k": "a", "at": at_us})
            producer.produce(topic, payload, timestamp=at_us // 1_000)
        assert producer.flush(30) == 0

    century_us = began_us + 75 * 365 * DAY_US
    send(began_us, century_us, began_us + 1)
    clock = Clock()
    with running(project, clock):
        eventually(lambda: project.outcomes().get("read") == 3)
        send(began_us + 2, began_us + HOUR_US, began_us + 3)
        eventually(lambda: project.outcomes().get("read") == 6)
        assert project.outcomes()["folded"] == 4
        assert project.outcomes()["dead_lettered"] == 2
        assert project.outcomes()["expired"] == 0

    # Two hours on, and by another build, from the archive and from the log: the verdicts stand.
    clock.ahead_us = 2 * HOUR_US
    again = tg.FeatureView(
        "again", entity=BY_NAME, stream=view.stream, features={"n": agg.count().over(tg.lifetime())}
    )
    project.apply(view, again)
    with running(project, clock):
        eventually(lambda: project.outcomes(2).get("read") == 6)
        assert project.outcomes(2)["folded"] == 4
        assert project.outcomes()["read"] == 6
    dead = DeadLetter(project.settings.lake_path, "events").list()
    assert {(one.offset, one.code) for one in dead} == {(1, "TG-209"), (4, "TG-209")}
    assert all("wall clock" in one.reason for one in dead)


def test_kafka_topic_changed_to_the_broker_s_time_is_read_on(kafka, tmp_path: Path, eventually):
    """Records before the change are judged by the clock, those after it by the broker's."""
    topic = kafka.create_topic(partitions=1, config=CREATE_TIME)
    project = Project.make(tmp_path, view_over(topic), kafka_bootstrap=kafka.bootstrap)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    at_us = now_us()
    far_ms = (at_us + 365 * DAY_US) // 1_000
    producer.produce(topic, orjson.dumps({"k": "a", "at": far_ms * 1_000}), timestamp=far_ms)
    assert producer.flush(30) == 0
    kafka.alter_topic(topic, {"message.timestamp.type": "LogAppendTime"})
    producer.produce(topic, orjson.dumps({"k": "a", "at": at_us}), timestamp=far_ms)
    assert producer.flush(30) == 0
    with running(project):
        eventually(lambda: project.outcomes().get("read") == 2)
        assert (project.outcomes()["folded"], project.outcomes()["dead_lettered"]) == (1, 1)
