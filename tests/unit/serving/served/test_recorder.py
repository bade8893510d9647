"""The served log from an answer to a row: what is kept, what it says, and what is not kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from tegula.engine.plan import ServicePlan
from tegula.engine.settings import Settings
from tegula.schemas import agg
from tegula.schemas.errors import TableUnwritable
from tegula.schemas.time import DAY_US
from tegula.schemas.windows import sliding
from tegula.serving.answer import Answerer
from tegula.serving.metrics import SERVED, Counters, ServerCollector
from tegula.serving.plan import Resolved
from tegula.serving.protocol import Limits
from tegula.serving.read import KEYS_AT_ONCE, FeatureReader
from tegula.serving.receipts import Waiter
from tegula.serving.served.recorder import Recorder
from tegula.state.delta import MarkedTable
from tegula.state.served import served_path
from tests.support.serving import NOON_US, MemoryStore, build_of, every_feature, resolved_of

BUILD = build_of(
    {
        **every_feature(),
        "shops": agg.last_n("shop", 3).over(sliding("1h")),
        "times": agg.last_n("at", 2).over(sliding("1h")),
    }
)
TRACE = "cd" * 16


class House:
    """An answerer with a served log in a folder; its clock stands still until it is moved."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        given = {"served_share": 1.0, "served_interval_s": 3600.0, **settings}
        self.settings = Settings(project=folder, **given)
        self.store = MemoryStore(positions={0: 5, 3: 8})
        self.store.put(BUILD, "c1", [(NOON_US, 1.5, 1, "x"), (NOON_US - 7, 2.5, 2, "ä\n")])
        self.resolved = serves(resolved_of(BUILD), 3)
        self.at_us = NOON_US + 1
        self.counters = Counters()
        self.recorder = Recorder(self.settings, self.counters, self.now_us)
        self.answerer = Answerer(
            lambda: self.resolved,
            FeatureReader(self.store),
            Waiter(self.store, lambda stream: {"0": 0}, self.now_us),
            Limits(),
            self.counters,
            self.now_us,
            self.recorder,
        )

    def now_us(self) -> int:
        return self.at_us

    def ask(self, trace_id: str = TRACE, **request: Any) -> dict[str, Any]:
        body = orjson.dumps({"service": "fraud", "keys": {"card_id": ["c1"]}, **request})
        answer = self.answerer.answer(body, trace_id)
        assert answer is not None
        return dict(orjson.loads(answer.body))

    def log(self, *parts: Callable[[], Coroutine[Any, Any, None] | None]) -> pl.DataFrame:
        """Do the parts while the recorder runs; then what is in the log, in order."""

        async def run() -> None:
            self.recorder.start()
            try:
                for part in parts:
                    waited = part()
                    if waited is not None:
                        await waited
            finally:
                await self.recorder.close()

        asyncio.run(run())
        return self.rows()

    def rows(self) -> pl.DataFrame:
        path = self.settings.lake_path / served_path("fraud")
        if not path.exists():
            return pl.DataFrame()
        return pl.read_delta(str(path)).sort("_writer", "_sequence", "_row")

    def counted(self) -> dict[str, float]:
        (family,) = [
            one for one in ServerCollector(self.counters).collect() if one.name == "tegula_served"
        ]
        return {one.labels["outcome"]: one.value for one in family.samples}


def serves(resolved: Resolved, version: int, share: float | None = None) -> Resolved:
    """The catalogue with a service behind the plan, as `resolve` makes it."""
    plan = resolved.services["fraud"]
    service = ServicePlan("fraud", version, (), share)
    return replace(resolved, services={"fraud": replace(plan, service=service)})


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def instant(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def as_answered(value: Any) -> Any:
    """A value of the log as the answer wrote it."""
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat()
        return f"{text[:-6]}Z"
    if isinstance(value, pl.Series):
        return [as_answered(one) for one in value.to_list()]
    if isinstance(value, list):
        return [as_answered(one) for one in value]
    return value


def test_log_has_every_value_and_status_as_it_was_answered(house):
    answers: list[dict[str, Any]] = []
    rows = house.log(lambda: answers.append(house.ask(keys={"card_id": ["c1", "never", None]})))
    assert rows["card_id"].to_list() == ["c1", "never", None]
    plan = house.resolved.services["fraud"]
    for name in plan.names:
        got = [as_answered(one) for one in rows[name].to_list()]
        assert got == answers[0]["values"][name], name
        wanted = answers[0].get("status", {}).get(name, ["PRESENT"] * 3)
        assert rows[f"{name}:status"].to_list() == wanted, name
    assert rows["spend:seen_1h"].dtype == pl.Datetime("us", "UTC")
    assert rows["spend:times"].dtype == pl.List(pl.Datetime("us", "UTC"))


def test_log_says_what_an_answer_rests_on(house):
    asked = {"card_id": ["c1", "c2"]}
    values = {"amount": [1.5, None], "text": ["a", "b"]}
    as_of = house.at_us - 60_000_000
    rows = house.log(
        lambda: house.ask(keys=asked, request=values) and None,
        lambda: house.ask(as_of=as_of) and None,
    )
    assert rows["_trace_id"].to_list() == [TRACE] * 3
    assert rows["_sequence"].to_list() == [0, 0, 1]
    assert rows["_row"].to_list() == [0, 1, 0]
    assert rows["_version"].to_list() == [3] * 3
    assert rows["_catalogue"].to_list() == [7] * 3
    assert rows["_served"].to_list() == [instant(house.at_us)] * 3
    assert rows["_as_of"].to_list() == [None, None, instant(as_of)]
    assert (rows["_latency_us"] > 0).all()
    assert [one and orjson.loads(one) for one in rows["_request"]] == [
        {"amount": 1.5, "text": "a"},
        {"amount": None, "text": "b"},
        None,
    ]
    (applied,) = rows["_applied"].to_list()[0]
    assert applied == {
        "view": "spend",
        "build": 1,
        "fingerprint": BUILD.fingerprint,
        "shard": applied["shard"],
        "incarnation": 1,
        "commit": 1,
        "positions": [{"partition": 0, "offset": 5}, {"partition": 3, "offset": 8}],
    }


def test_each_slice_of_many_keys_has_the_mark_under_which_it_was_read(house):
    count = 2 * KEYS_AT_ONCE + 1
    body = orjson.dumps({"service": "fraud", "keys": {"card_id": ["c1"] * count}})

    async def ask() -> None:
        answering = asyncio.create_task(house.answerer.answer_soon(body, TRACE))
        await asyncio.sleep(0)  # the first slice is read; each of the others lets us in once
        house.store.positions = {0: 6}
        await answering

    rows = house.log(ask)
    offsets = [row[0]["positions"][0]["offset"] for row in rows["_applied"].to_list()]
    assert offsets[:KEYS_AT_ONCE] == [5] * KEYS_AT_ONCE
    assert offsets[KEYS_AT_ONCE:] == [6] * (count - KEYS_AT_ONCE)
    assert rows["_row"].to_list() == list(range(count))


def test_share_is_of_traces_and_the_same_in_every_process(tmp_path, seed):
    traces = [f"{random.Random(seed + n).getrandbits(128):032x}" for n in range(400)]
    houses = [House(tmp_path / str(number), served_share=0.25) for number in range(2)]
    kept = [house.log(partial(ask_all, house, traces))["_trace_id"].to_list() for house in houses]
    assert kept[0] == kept[1] == [t for t in traces if int(t[18:], 16) < 2**54]


def ask_all(house: House, traces: list[str]) -> None:
    for trace in traces:
        house.ask(trace_id=trace)


def test_service_says_its_own_share_and_lists_of_features_are_not_kept(house):
    house.resolved = serves(house.resolved, 3, share=0.0)
    rows = house.log(
        lambda: house.ask() and None,
        lambda: (
            house.answerer.answer(
                b'{"features":["spend:count_1h"],"keys":{"card_id":["c1"]}}', TRACE
            )
            and None
        ),
    )
    assert rows.is_empty()
    assert house.counted()["chosen"] == 0


def test_changed_service_goes_on_in_the_same_table(house):
    before = house.resolved
    after = build_of(
        {"count_1h": agg.mean("amount").over(sliding("1h")), "new": agg.count().over(sliding("1h"))}
    )

    def change() -> None:
        house.ask()
        house.store.put(after, "c1", [(NOON_US, 1.5, 1, "x")])
        house.resolved = serves(resolved_of(after), 4)
        house.ask()

    rows = house.log(change)
    assert before is not house.resolved
    assert rows["spend:count_1h"].to_list() == [2, None]
    assert rows["spend:count_1h:Float64"].to_list() == [None, 1.5]
    assert rows["spend:new"].to_list() == [None, 1]
    assert rows["_version"].to_list() == [3, 4]


def test_answers_past_the_bound_are_not_kept_and_are_counted(tmp_path):
    house = House(tmp_path, served_buffer_bytes=1 << 20)
    size = len(orjson.dumps(house.ask(keys={"card_id": ["c1"] * 100})))
    times = 2 * (1 << 20) // size

    def ask() -> None:
        for _ in range(times):  # the writer cannot finish meanwhile what it never begins
            house.ask(keys={"card_id": ["c1"] * 100})

    blocked = house.recorder
    rows = house.log(lambda: hold(blocked), ask, lambda: release(blocked))
    counted = house.counted()
    assert counted["chosen"] == times
    assert counted["full"] > 0
    assert counted["written"] == rows.height / 100 == times - counted["full"]


def hold(recorder: Recorder) -> None:
    writer = recorder._writer
    assert writer is not None
    writer.put = (held := []).extend  # type: ignore[method-assign]
    recorder.held = held  # type: ignore[attr-defined]


def release(recorder: Recorder) -> None:
    writer = recorder._writer
    assert writer is not None
    del writer.put  # type: ignore[method-assign]
    writer.put(recorder.held)  # type: ignore[attr-defined]


@pytest.mark.parametrize("arrived", [False, True])
def test_append_that_fails_is_tried_again_and_adds_nothing_twice(house, monkeypatch, arrived):
    append, failures = MarkedTable.append, [1, 2]

    def failing(self: MarkedTable, *args: Any) -> None:
        if failures:
            failures.pop()
            if arrived:
                append(self, *args)
            raise TableUnwritable(where="there", detail="no")
        append(self, *args)

    monkeypatch.setattr(MarkedTable, "append", failing)
    rows = house.log(lambda: house.ask() and None)
    assert rows.height == 1
    assert house.counted() == {**dict.fromkeys(SERVED, 0), "chosen": 1, "written": 1}


def test_log_that_cannot_be_written_is_said_and_counted_at_the_end(house, monkeypatch):
    monkeypatch.setattr("tegula.serving.served.writer.STOP_S", 0.2)
    house.settings.lake_path.parent.mkdir(parents=True)
    house.settings.lake_path.write_text("no folder")
    house.log(lambda: house.ask() and None)
    assert house.counted()["lost"] == 1


def test_answers_older_than_what_is_kept_go(house):
    house.log(lambda: house.ask() and None)
    house.at_us += 29 * DAY_US
    house.recorder = house.answerer._recorder = Recorder(
        house.settings, house.counters, house.now_us
    )
    assert house.log(lambda: house.ask() and None).height == 2
    house.at_us += 2 * DAY_US
    house.recorder = house.answerer._recorder = Recorder(
        house.settings, house.counters, house.now_us
    )
    assert house.log(lambda: house.ask() and None).height == 2
