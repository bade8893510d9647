"""A broker that goes away and comes back: the engine waits, says so, and goes on."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

import tegula as tg
from tegula import agg
from tegula.engine.apply import apply_definitions
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import load_settings
from tegula.schemas.codec import collect
from tests.support.process import EngineProcess, is_caught_up


def definitions(topic: str) -> tg.FeatureView:
    card = tg.Entity("card", keys={"card_id": tg.String})
    payments = tg.Stream(
        "payments",
        schema={"card_id": tg.String, "at": tg.Timestamp.of("us")},
        event_time="at",
        source=tg.Kafka(topic=topic),
    )
    features = {"all": agg.count().over(tg.lifetime())}
    return tg.FeatureView("spend", entity=card, stream=payments, features=features)


def produce(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(count):
        value = orjson.dumps({"card_id": f"c{number % 7}", "at": now_us()})
        producer.produce(topic, value, partition=number % 2)
    assert producer.flush(30) == 0


@pytest.mark.services
@pytest.mark.slow
def test_engine_outlives_its_broker_and_finds_a_new_partition(kafka, project: Path, eventually):
    topic = kafka.create_topic(partitions=2)
    (project / "tegula.toml").write_text(f'kafka.bootstrap = "{kafka.bootstrap}"\n')
    view = definitions(topic)
    apply_definitions(
        load_settings(project), collect(view), author="test", message="", now_us=now_us()
    )
    engine = EngineProcess(project)
    engine.start()
    try:
        produce(kafka.bootstrap, topic, 1_000)
        eventually(is_caught_up(engine, 1_000), 120)

        kafka.stop()
        eventually(lambda: engine.report()["streams"]["payments"]["fault"] is not None, 120)
        fault = engine.report()["streams"]["payments"]["fault"]
        assert fault["code"] == "TG-301"
        kafka.start()

        kafka.add_partitions(topic, 3)
        produce(kafka.bootstrap, topic, 1_000)
        eventually(is_caught_up(engine, 2_000), 120)
        eventually(lambda: "2" in engine.report()["streams"]["payments"]["partitions"], 120)
        assert engine.report()["streams"]["payments"]["fault"] is None
    finally:
        report = engine.report() if engine.is_running else None
        assert engine.stop() == 0, f"{report}\n{engine.log}"
