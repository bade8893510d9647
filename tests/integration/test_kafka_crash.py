"""A real broker, a real engine process, and SIGKILL: every event counts exactly once.

200 000 events in four partitions, out of order, malformed ones among them, are produced while the
engine is killed at ten random moments and started again. Then every feature of every key is read
from the online store and compared with a plain recomputation.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

import tegula as tg
from tegula import agg, sliding
from tegula.engine.apply import apply_definitions
from tegula.engine.runtime.clock import now_us
from tegula.engine.settings import load_settings
from tegula.schemas.codec import collect
from tegula.schemas.outcomes import Status
from tegula.serving.plan import resolve
from tegula.serving.protocol import Limits, parse_request
from tegula.serving.read import FeatureReader
from tegula.state.online.lmdb import LmdbReader
from tegula.state.registry import Registry
from tests.oracle.naive import Event, same, value
from tests.support.process import EngineProcess, is_caught_up

EVENTS, KEYS, KILLS, PARTITIONS = 200_000, 500, 10, 4
HOUR_US = 3_600_000_000
BAD = [b"{", b"", b'{"card_id":"c1"}', b"\xff\xfe", b'{"card_id":7,"amount":1,"at":1}', b"null"]
AGGREGATES = ("count", "sum", "mean", "min", "max", "variance", "first", "last")


def definitions(topic: str) -> tg.FeatureView:
    card = tg.Entity("card", keys={"card_id": tg.String})
    payments = tg.Stream(
        "payments",
        schema={"card_id": tg.String, "amount": tg.Float64, "at": tg.Timestamp.of("us")},
        event_time="at",
        disorder="10s",
        source=tg.Kafka(topic=topic),
    )
    features = {}
    for name in AGGREGATES:
        function = getattr(agg, name)
        built = function() if name == "count" else function("amount")
        features[f"{name}_1h"] = built.over(sliding("1h"))
        features[f"{name}_all"] = built.over(tg.lifetime())
    return tg.FeatureView("spend", entity=card, stream=payments, features=features)


def produce(
    bootstrap: str, topic: str, chance: random.Random, events: dict[str, list[Event]]
) -> int:
    """Produce all events, slowly enough to be interrupted ten times; returns how many were bad."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    offsets = [0] * PARTITIONS
    start_us = now_us()
    bad = 0
    pause = threading.Event()
    for number in range(EVENTS):
        partition = chance.randrange(PARTITIONS)
        offset = offsets[partition]
        offsets[partition] += 1
        if chance.random() < 0.01:
            bad += 1
            producer.produce(topic, chance.choice(BAD), partition=partition)
        else:
            key = f"c{min(int(chance.paretovariate(0.7)), KEYS)}"
            at_us = start_us - number - chance.randrange(5_000_000) * 1_000
            amount = chance.randrange(-10_000, 1_000_000) / 100
            events[key].append(Event(at_us, partition, offset, amount))
            payload = orjson.dumps({"card_id": key, "amount": amount, "at": at_us})
            producer.produce(topic, payload, partition=partition)
        if number % 2_000 == 0:
            producer.poll(0)
            pause.wait(0.08)
    producer.flush()
    return bad


@pytest.mark.services
@pytest.mark.slow
def test_crash_ten_kills_leave_every_event_counted_once(kafka, project: Path, seed, eventually):
    chance = random.Random(seed)
    topic = kafka.create_topic(partitions=PARTITIONS)
    (project / "tegula.toml").write_text(f'kafka.bootstrap = "{kafka.bootstrap}"\n')
    settings = load_settings(project)
    view = definitions(topic)
    apply_definitions(settings, collect(view), author="test", message="", now_us=now_us())

    events: dict[str, list[Event]] = defaultdict(list)
    bad: list[int] = []
    producing = threading.Thread(
        target=lambda: bad.append(produce(kafka.bootstrap, topic, chance, events))
    )
    producing.start()
    moments, engine = random.Random(seed + 1), EngineProcess(project)
    for _ in range(KILLS):
        engine.start()
        eventually(lambda: engine.report() is not None, 120)
        threading.Event().wait(moments.uniform(0.0, 1.0))  # the moment is the test's chance
        engine.kill()
    producing.join()
    engine.start()
    try:
        eventually(is_caught_up(engine, EVENTS), 240)
    finally:
        report = engine.report()
        assert engine.stop() == 0, f"{report}\n{engine.log}"

    assert report is not None
    ((_, build),) = report["builds"].items()
    outcomes = build["outcomes"]
    assert outcomes["read"] == EVENTS
    assert outcomes["dead_lettered"] == bad[0]
    assert outcomes["folded"] == EVENTS - bad[0]
    assert outcomes["read"] == sum(
        outcomes[name] for name in ("folded", "filtered", "duplicate", "expired", "dead_lettered")
    )
    compare(settings, view, events)


def compare(settings, view: tg.FeatureView, events: dict[str, list[Event]]) -> None:
    """Every feature of every key, as servers read it, against the plain recomputation."""
    registry = Registry(settings.registry_url_or_default)
    catalogue, head = registry.catalogue(), registry.head()
    resolved = resolve(
        catalogue.version, settings.shards, head.definitions, catalogue.active, registry.builds()
    )
    registry.close()
    at_us, keys = now_us(), sorted(events)
    names = [f"spend:{name}" for name in view.features]
    body = orjson.dumps({"features": names, "keys": {"card_id": keys}})
    request = parse_request(body, Limits(1 << 24, 100_000))
    plan = resolved.plan_of(request)
    encoded = [entity.encode(request.keys, request.key_count) for entity in plan.entities]
    store = LmdbReader(settings.online_path, now_us)
    reply = FeatureReader(store).read(plan, encoded, len(keys), resolved.shards, at_us)
    store.close()
    windows = {
        "1h": {"kind": "sliding", "length": HOUR_US, "resolution": 60_000_000},
        "all": {"kind": "lifetime"},
    }
    different = []
    for name in view.features:
        aggregate, _, window = name.rpartition("_")
        for place, key in enumerate(keys):
            expected = value(aggregate, windows[window], events[key], at_us)
            got = reply.values[f"spend:{name}"][place]
            if not same(got, expected):
                different.append((name, key, got, expected))
    assert not different, f"{len(different)} values differ, such as {different[:5]}"
    assert set(reply.statuses["spend:count_all"]) == {int(Status.PRESENT)}
