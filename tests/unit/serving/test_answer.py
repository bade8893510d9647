"""From body to body: one way to answer, whatever goes wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tegula.schemas import agg
from tegula.schemas.windows import sliding
from tegula.serving.answer import Answer, Answerer, trace_id_of
from tegula.serving.metrics import Counters
from tegula.serving.plan import Resolved
from tegula.serving.protocol import Limits
from tegula.serving.read import KEYS_AT_ONCE, FeatureReader
from tegula.serving.receipts import Waiter
from tests.support.serving import NOON_US, MemoryStore, build_of, resolved_of

BUILD = build_of({"n": agg.count().over(sliding("1h"))})
TRACE = "cd" * 16


class House:
    """An answerer and what it stands on; its clock stands still until it is moved."""

    def __init__(self) -> None:
        self.store = MemoryStore(positions={0: 5})
        self.store.put(BUILD, "c1", [(NOON_US, 1.0, 1, "x")])
        self.resolved = resolved_of(BUILD)
        self.at_us = NOON_US + 1
        waiter = Waiter(self.store, lambda stream: {"0": 0}, self.now_us)
        self.answerer = Answerer(
            lambda: self.resolved,
            FeatureReader(self.store),
            waiter,
            Limits(keys=1_000, values=900, wait_us=50_000),
            Counters(),
            self.now_us,
        )

    def now_us(self) -> int:
        return self.at_us

    def answer(self, **request: Any) -> Answer | None:
        return self.answerer.answer(orjson.dumps(request), TRACE)

    def answer_soon(self, **request: Any) -> Answer:
        return asyncio.run(self.answerer.answer_soon(orjson.dumps(request), TRACE))


@pytest.fixture
def house() -> House:
    return House()


def content(answer: Answer | None) -> dict[str, Any]:
    assert answer is not None
    return dict(orjson.loads(answer.body))


ASKED = {"service": "fraud", "keys": {"card_id": ["c1"]}}


def test_answer_is_as_of_now_or_as_of_the_instant_asked_for(house):
    assert content(house.answer(**ASKED))["values"] == {"spend:n": [1]}
    house.at_us += 2 * 3_600_000_000
    assert content(house.answer(**ASKED))["values"] == {"spend:n": [0]}
    assert content(house.answer(**ASKED, as_of=NOON_US + 1))["values"] == {"spend:n": [1]}


def test_answer_says_which_catalogue_it_rests_on(house):
    assert house.answer(**ASKED).catalogue == 7


def test_both_answers_are_the_same_bytes(house):
    for request in (ASKED, {**ASKED, "include": ["bounds"]}, {"service": "x", "keys": {}}):
        assert house.answer(**request) == house.answer_soon(**request)


def test_answer_at_once_declines_what_takes_long(house):
    many = {"service": "fraud", "keys": {"card_id": ["c1"] * (KEYS_AT_ONCE + 1)}}
    assert house.answer(**many) is None
    assert house.answer(**ASKED, after="payments/0:1") is None
    assert len(content(house.answer_soon(**many))["values"]["spend:n"]) == KEYS_AT_ONCE + 1


def test_slices_of_many_keys_keep_every_status_in_its_place(house):
    cards = ["never"] * KEYS_AT_ONCE + ["c1"] * KEYS_AT_ONCE + ["never"]
    many = {"service": "fraud", "keys": {"card_id": cards}}
    wanted = ["PRESENT" if card == "c1" else "NOT_FOUND" for card in cards]
    assert content(house.answer_soon(**many))["status"]["spend:n"] == wanted
    reverse = {"service": "fraud", "keys": {"card_id": ["c1"] * KEYS_AT_ONCE + ["never"]}}
    statuses = content(house.answer_soon(**reverse))["status"]["spend:n"]
    assert statuses == ["PRESENT"] * KEYS_AT_ONCE + ["NOT_FOUND"]


def test_answer_after_a_receipt_uses_the_catalogue_and_the_instant_of_then(house):
    async def pushed() -> Answer:
        body = orjson.dumps({**ASKED, "after": "payments/0:6"})
        asked = asyncio.create_task(house.answerer.answer_soon(body, TRACE))
        await asyncio.sleep(0.02)
        resolved = house.resolved
        house.resolved = Resolved(8, resolved.shards, resolved.views, resolved.services)
        house.at_us += 1_000
        house.store.positions[0] = 6
        return await asked

    answer = asyncio.run(pushed())
    assert (answer.status, answer.catalogue) == (200, 8)


def test_receipt_that_does_not_come_is_an_error_that_may_be_retried(house):
    ticks = iter(range(0, 10**9, 10_000))
    house.answerer._waiter._now_us = lambda: next(ticks)
    error = content(house.answer_soon(**ASKED, after="payments/0:6"))["error"]
    assert (error["code"], error["retryable"]) == ("TG-408", True)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"service": "fruad", "keys": {}}, 404, "TG-402"),
        ({"features": ["spend:m"], "keys": {}}, 404, "TG-403"),
        ({"service": "fraud", "keys": {}}, 422, "TG-405"),
        ({"service": "fraud", "keys": {"card_id": [1]}}, 422, "TG-406"),
        ({"service": "fraud", "keys": {"card_id": ["c1"], "card": ["c1"]}}, 400, "TG-401"),
        ({"service": "fraud", "keys": {"card_id": ["c"] * 1_001}}, 413, "TG-407"),
    ],
)
def test_request_that_cannot_be_answered_is_an_answer_too(house, request_, status, code):
    for answer in (house.answer(**request_), house.answer_soon(**request_)):
        assert answer.status == status
        assert content(answer)["error"]["code"] == code
        assert content(answer)["trace_id"] == TRACE


def test_fault_of_the_server_is_logged_and_names_its_trace(house, caplog):
    broken = object()  # no plan has its attributes
    house.resolved = Resolved(1, 4, services={"fraud": broken})  # type: ignore[dict-item]
    answer = house.answer(**ASKED)
    assert answer.status == 500
    assert TRACE in content(answer)["error"]["hint"]
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (f"00-{TRACE}-{'b' * 16}-01", True),
        (f"00-{TRACE.upper()}-{'b' * 16}-01", False),
        (f"00-{TRACE}-{'b' * 16}", False),
        ("", False),
        (None, False),
    ],
)
def test_trace_id_is_the_callers_where_it_is_one_and_else_a_new_one(header, kept):
    assert (trace_id_of(header) == TRACE) == kept
    assert len(trace_id_of(header)) == 32
    assert trace_id_of(None) != trace_id_of(None)


def test_answer_of_too_many_values_is_refused_before_any_is_read(house):
    keys = {"card_id": ["c1"] * 901}
    answer = house.answer_soon(features=[f"{BUILD.view}:n"], keys=keys)
    assert answer.status == 413
    error = content(answer)["error"]
    assert (error["code"], error["got"], error["expected"]) == ("TG-407", "901", "at most 900")
