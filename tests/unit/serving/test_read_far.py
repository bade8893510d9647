"""Reading from a store on another machine: the same answers, in one round trip."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tegula.schemas import agg
from tegula.schemas.outcomes import Status
from tegula.schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from tegula.schemas.windows import sliding
from tegula.serving.plan import FeaturePlan
from tegula.serving.read import FeatureReader, Reply
from tegula.state.keys import encode_key, shard_of
from tegula.state.online.redis_link import Link
from tegula.state.online.redis_reader import RedisReader, open_reader
from tegula.state.online.redis_writer import RedisStore
from tegula.state.online.rows import Mark, RowWrites
from tegula.state.rows import segment_number
from tests.services.redis import Server
from tests.support.serving import (
    NOON_US,
    SHARDS,
    MemoryStore,
    build_of,
    every_exact_feature,
    every_feature,
    plan_of,
)

EVERY = build_of(every_feature(), view="every", number=1)
EXACT = build_of(every_exact_feature(), view="exact", number=2)
SMALL = build_of({"n": agg.count().over(sliding("1h"))}, view="small", number=3)
BUILDS = (EVERY, EXACT, SMALL)
PLAN = plan_of(*BUILDS)
CARDS = [f"c{n}" for n in range(12)]


@pytest.fixture(scope="module")
def model() -> MemoryStore:
    made = MemoryStore(builds=(1, 2, 3))
    for build in BUILDS:
        for place, card in enumerate(CARDS[:-1]):
            newest_us = NOON_US - place * 7 * MINUTE_US
            events = [(newest_us - n * (place + 1) * SECOND_US, 2.5 * n, n, "x") for n in range(40)]
            made.put(build, card, events, horizon_us=NOON_US - 15 * MINUTE_US)
    return made


@pytest.fixture
def far(model: MemoryStore, redis_server: Server) -> Iterator[RedisReader]:
    """A store in Redis that holds what the model holds."""
    place = redis_server.url, {}, f"t-{uuid.uuid4().hex}"
    store = RedisStore(*place)
    for shard in range(SHARDS):
        writer = store.open_writer(Path(), shard, 1)
        writer.mark()
        changes = []
        for (build, key), (head, body) in model.rows.items():
            if shard_of(key, SHARDS) == shard and head is not None:
                blocks = [
                    (key, segment_number(hour, n), block)
                    for hour, many in model.segments[build, key].items()
                    for n, block in enumerate(many)
                ]
                bodies = [] if body is None else [(key, body)]
                changes.append(RowWrites(build, [(key, head)], bodies, segments=blocks))
        writer.write(changes, Mark(1, 1, model.builds))
    made = open_reader(*place)
    yield made
    made.close()
    store.link.close()


def ask(reader: FeatureReader, plan: FeaturePlan, cards: Sequence[str], at_us: int) -> Reply:
    keys = [encode_key((card,), ("string",)) for card in cards]
    return reader.read(plan, [keys], len(keys), SHARDS, at_us)


@pytest.mark.parametrize("cards", [CARDS[:1], CARDS[-3:], CARDS * 2], ids=["one", "few", "many"])
@pytest.mark.parametrize("back_us", [0, 1, 20 * MINUTE_US, 3 * HOUR_US, -DAY_US])
def test_answers_are_those_of_a_near_store(model, far, cards, back_us, monkeypatch):
    # The model's segments have so many instants: an hour of 40 events takes eight of them.
    monkeypatch.setattr("tegula.state.online.redis_reader.ROW_INSTANTS", 5)
    expected = ask(FeatureReader(model), PLAN, cards, NOON_US - back_us)
    found = ask(FeatureReader(far), PLAN, cards, NOON_US - back_us)
    assert (found.values, found.statuses) == (expected.values, expected.statuses)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many shards each round trip went to."""
    made: list[int] = []
    ask_link = Link.ask

    def counted(self: Link, asked: Sequence[object], **how: bool) -> object:
        made.append(len(asked))
        return ask_link(self, asked, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "ask", counted)
    return made


@pytest.mark.parametrize("cards", [CARDS[:1], CARDS[:8], CARDS * 2], ids=["one", "few", "many"])
def test_all_views_of_all_keys_take_one_round_trip(far, trips, cards):
    reader = FeatureReader(far)
    ask(reader, PLAN, cards, NOON_US + MINUTE_US)  # learns the generations
    trips.clear()
    ask(reader, PLAN, cards, NOON_US + MINUTE_US)
    shards = {shard_of(encode_key((card,), ("string",)), SHARDS) for card in cards}
    assert trips == [len(shards)]


def test_store_that_does_not_answer_gives_errors_and_no_zeros(own_redis, caplog):
    own_redis.start()
    reader = open_reader(own_redis.url, {}, "p")
    assert reader.marks(range(2)) == [None, None]
    own_redis.stop()
    reply = ask(FeatureReader(reader), PLAN, CARDS[:2], NOON_US)
    assert set(reply.values) == set(PLAN.names)
    for name in PLAN.names:
        assert reply.values[name] == [None, None]
        assert reply.statuses[name] == [int(Status.ERROR)] * 2
    assert "the online store does not answer" in caplog.text
    reader.close()
