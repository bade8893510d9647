"""Pushes: verdicts, group commit, receipts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import orjson
import pytest

from tegula.connectors.source import Receipt
from tegula.engine.plan import StreamPlan
from tegula.schemas import types as t
from tegula.schemas.errors import (
    BadRequest,
    Busy,
    SourceError,
    TegulaError,
    TooLarge,
    UnknownStream,
)
from tegula.schemas.time import MINUTE_US
from tegula.serving.logs import Appended, Batch
from tegula.serving.plan import Resolved
from tegula.serving.push import Pushed, Pusher, PushLimits

NOW_US = 1_700_000_000_000_000
STREAM = StreamPlan(
    name="payments",
    schema={"card": t.String, "n": t.Int64, "at": t.Timestamp.of("us")},
    event_time="at",
    disorder_us=0,
    ahead_us=10 * MINUTE_US,
    idle_timeout_us=0,
    partition_by=None,
    source=None,
)
NDJSON = "application/x-ndjson"
LIMITS = PushLimits(record_bytes=200)
GOOD = {"card": "c1", "n": 1, "at": NOW_US}


class MemoryLog:
    """Appends everything to partition 0; can be held back, or fail."""

    def __init__(self) -> None:
        self.commits: list[list[Batch]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.refused: dict[int, TegulaError] = {}
        self.closed = False
        self.held = 0
        self._end = 0

    def append(self, batches: Sequence[Batch]) -> list[Appended]:
        self.held = len(batches)
        assert self.gate.wait(10)
        if self.fault is not None:
            raise self.fault
        self.commits.append(list(batches))
        answers = []
        for batch in batches:
            count = len(batch.events) - len(self.refused)
            answers.append(Appended([Receipt("0", self._end, count)], self.refused))
            self._end += count
        return answers

    def close(self) -> None:
        self.closed = True


def resolved(stream: StreamPlan = STREAM) -> Resolved:
    return Resolved(1, 4, streams={stream.name: stream})


def pusher(log: MemoryLog, limits: PushLimits = LIMITS) -> Pusher:
    return Pusher(lambda _: log, lambda: NOW_US, limits)


def waiting(one: Pusher) -> int:
    """How many pushes wait for their turn to be appended."""
    return sum(len(stream._waiting) for stream in one._streams.values())


def push(log: MemoryLog, *events: object, stream: StreamPlan = STREAM) -> Pushed:
    body = b"".join(e if isinstance(e, bytes) else orjson.dumps(e) + b"\n" for e in events)
    one = pusher(log)
    return asyncio.run(one.push(resolved(stream), "payments", body, "application/x-ndjson"))


def test_push_appends_good_records_as_they_came_and_gives_a_receipt():
    log = MemoryLog()
    raw = b'{"card": "c1",  "n": 1, "at": %d}' % NOW_US
    pushed = push(log, raw + b"\n", GOOD)
    assert (pushed.accepted, str(pushed.receipt), pushed.rejected) == (2, "payments/0:2", ())
    assert log.commits == [[Batch([raw, orjson.dumps(GOOD)])]]


def test_push_judges_each_record_by_itself():
    log = MemoryLog()
    pushed = push(
        log,
        GOOD,
        b"{oops\n",
        {**GOOD, "n": "1"},
        GOOD,
        b"\n",
        {**GOOD, "at": None},
        {**GOOD, "at": NOW_US + 10 * MINUTE_US},
        {**GOOD, "at": NOW_US + 10 * MINUTE_US + 1},
        {**GOOD, "card": "x" * 300},
        b'{"n":1,"n":2,"at":%d}\n' % NOW_US,
        {**GOOD, "more": True},
    )
    assert pushed.accepted == 4
    assert [(one.index, one.code) for one in pushed.rejected] == [
        (1, "TG-201"),
        (2, "TG-202"),
        (4, "TG-208"),
        (5, "TG-203"),
        (7, "TG-209"),
        (8, "TG-207"),
        (9, "TG-205"),
    ]
    assert "10m" in pushed.rejected[4].message
    assert len(log.commits[0][0].events) == 4


def test_push_without_a_good_record_appends_nothing_and_has_no_receipt():
    log = MemoryLog()
    pushed = push(log, b"{oops\n")
    assert (pushed.accepted, pushed.receipt, log.commits) == (0, None, [])
    assert push(log).rejected == ()


def test_push_spreads_events_by_the_column_that_the_stream_names():
    log = MemoryLog()
    by_card = replace(STREAM, partition_by="card")
    push(log, GOOD, {**GOOD, "card": None}, stream=by_card)
    assert log.commits[0][0].keys == [b"c1", None]
    push(log, {**GOOD, "n": 7}, stream=replace(STREAM, partition_by="n"))
    assert log.commits[1][0].keys == [b"7"]


def test_pushes_that_wait_together_are_one_commit():
    log = MemoryLog()
    log.gate.clear()

    async def many() -> list[Pushed]:
        one = pusher(log)
        body = orjson.dumps({"events": [GOOD]})
        pushes = [
            asyncio.create_task(one.push(resolved(), "payments", body, "application/json"))
            for _ in range(20)
        ]
        while log.held + waiting(one) < len(pushes):  # the first is being appended, the others wait
            await asyncio.sleep(0.001)
        log.gate.set()
        answers = await asyncio.gather(*pushes)
        await one.close()
        return answers

    answers = asyncio.run(many())
    assert len(log.commits) <= 3
    assert sorted(str(one.receipt) for one in answers) == sorted(
        f"payments/0:{n}" for n in range(1, 21)
    )
    assert log.closed


def test_push_to_a_log_that_cannot_be_written_is_told_to_every_caller_and_the_next_goes_on():
    log = MemoryLog()
    log.fault = SourceError("the log cannot be written")

    async def twice() -> Pushed:
        one = pusher(log)
        body = orjson.dumps({"events": [GOOD]})
        with pytest.raises(SourceError):
            await one.push(resolved(), "payments", body, "")
        log.fault = None
        return await one.push(resolved(), "payments", body, "")

    assert asyncio.run(twice()).accepted == 1


def test_push_tells_which_records_a_broker_did_not_take():
    log = MemoryLog()
    log.refused = {1: SourceError("not acknowledged in time")}
    pushed = push(log, b"{oops\n", GOOD, GOOD)
    assert pushed.accepted == 1
    assert [(one.index, one.code) for one in pushed.rejected] == [
        (0, "TG-201"),
        (2, SourceError.code),
    ]
    log.refused = {0: SourceError("not acknowledged in time")}
    with pytest.raises(SourceError):
        push(log, GOOD)


def test_push_to_an_unknown_stream_is_refused_with_those_that_there_are():
    with pytest.raises(UnknownStream, match="payments"):
        asyncio.run(pusher(MemoryLog()).push(resolved(), "payment", b"", ""))


def test_push_of_a_large_body_is_judged_too():
    pushed = push(MemoryLog(), *[GOOD] * 3_000)
    assert pushed.accepted == 3_000


def test_push_follows_a_stream_whose_definition_changed():
    async def changed() -> list[int]:
        one = pusher(MemoryLog())
        body = orjson.dumps({"events": [{**GOOD, "n": "text"}]})
        first = await one.push(resolved(), "payments", body, "")
        stream = replace(STREAM, schema={**STREAM.schema, "n": t.String})
        second = await one.push(resolved(stream), "payments", body, "")
        return [first.accepted, second.accepted]

    assert asyncio.run(changed()) == [0, 1]


def test_body_that_is_no_push_is_refused_whole():
    with pytest.raises(BadRequest):
        asyncio.run(pusher(MemoryLog()).push(resolved(), "payments", b"[]", ""))


def test_pushes_that_would_pile_up_before_a_slow_log_are_refused():
    log, body = MemoryLog(), orjson.dumps(GOOD)
    log.gate.clear()
    one = pusher(log, PushLimits(waiting_bytes=2 * len(body)))

    async def all_at_once() -> list[Pushed | BaseException]:
        pushes = [one.push(resolved(), "payments", body, NDJSON) for _ in range(3)]
        waiting = [asyncio.ensure_future(push) for push in pushes]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert done == {waiting[2]}
        log.gate.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert (await one.push(resolved(), "payments", body, NDJSON)).accepted == 1
        return found

    *kept, refused = asyncio.run(all_at_once())
    assert [found.accepted for found in kept if isinstance(found, Pushed)] == [1, 1]
    assert isinstance(refused, Busy)
    assert refused.retryable
    assert sum(len(batch.events) for commit in log.commits for batch in commit) == 3


def test_push_that_is_larger_than_what_may_wait_is_taken_alone():
    log, body = MemoryLog(), orjson.dumps(GOOD)
    one = pusher(log, PushLimits(waiting_bytes=1))
    assert asyncio.run(one.push(resolved(), "payments", body, NDJSON)).accepted == 1


def test_push_of_too_many_events_is_refused_whole():
    log, body = MemoryLog(), b"\n" * 11
    one = pusher(log, PushLimits(events=10))
    with pytest.raises(TooLarge, match="too many events"):
        asyncio.run(one.push(resolved(), "payments", body, NDJSON))
    assert not log.commits
