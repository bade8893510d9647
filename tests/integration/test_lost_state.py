"""A state that was lost is built again from the log, and never answers zeros meanwhile."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import tegula as tg
from tegula import agg
from tegula.connectors.local_reader import LocalReader
from tegula.connectors.rfc3339 import parse_one
from tegula.connectors.source import RawBatch
from tegula.engine.runtime.clock import ScriptedClock, now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.housekeeping import outcomes
from tegula.engine.settings import Settings
from tegula.schemas.errors import StateError
from tegula.schemas.time import DAY_US
from tegula.state.keys import encode_key, shard_of
from tests.support.engines import Project

CARD = tg.Entity("card", keys={"card_id": tg.String})
PAYMENTS = tg.Stream("payments", schema={"card_id": tg.String, "at": tg.Timestamp}, event_time="at")
SPEND = tg.FeatureView(
    "spend", entity=CARD, stream=PAYMENTS, features={"events": agg.count().over(tg.lifetime())}
)
SHARDS = 4


@pytest.mark.parametrize("lost", ["state", "state/shard-00", "state/shard-03"])
def test_lost_state_is_not_ready_until_it_is_whole_again(tmp_path: Path, lost: str):
    cards = [f"c{number}" for number in range(40)]
    with tg.TestDriver(SPEND, home=tmp_path, shards=SHARDS, at="2024-01-01T01:00:00Z") as driver:
        driver.send("payments", [{"card_id": c, "at": "2024-01-01T00:00:00Z"} for c in cards])
        driver.settle()
        now_us = driver.clock()
    shutil.rmtree(tmp_path / ".tegula" / lost)

    settings = Settings(project=tmp_path, home=tmp_path / ".tegula", shards=SHARDS)
    with Engine(settings, clock=ScriptedClock(now_us), threaded=False) as engine:
        for card in cards:
            key = encode_key((card,), ("string",))
            mark, ((head, _),) = engine.mirrors.reader().read(shard_of(key, SHARDS), 1, (key,))
            assert head is not None or mark is None or 1 not in mark.builds, card

    with tg.TestDriver(SPEND, home=tmp_path, shards=SHARDS, at=now_us) as driver:
        reply = driver.read(SPEND, {"card_id": cards})
        assert reply.values["spend:events"] == [1] * len(cards)
        assert driver.outcomes("spend")["folded"] == len(cards)


ONCE = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "id": tg.String, "at": tg.Timestamp},
    event_time="at",
    unique_by="id",
)
COUNTS = tg.FeatureView(
    "spend", entity=CARD, stream=ONCE, features={"events": agg.count().over(tg.lifetime())}
)


@pytest.mark.parametrize("first", ["0", "1"])
def test_copy_counts_once_where_the_shard_that_knew_of_it_was_lost(tmp_path: Path, first: str):
    """Read again in another order before it was archived, its original would be the copy."""
    shards = {shard_of(encode_key((f"c{n}",), ("string",)), SHARDS): f"c{n}" for n in range(40)}
    cards = [shards[3], shards[0]]
    with tg.TestDriver(COUNTS, home=tmp_path, shards=SHARDS, at="2024-01-01T01:00:00Z") as driver:
        for card, partition in zip(cards, (first, "1" if first == "0" else "0"), strict=True):
            row = {"card_id": card, "id": "same", "at": "2024-01-01T00:00:00Z"}
            driver.send("payments", [row], partition=partition)
            driver.settle()
        assert driver.read(COUNTS, {"card_id": cards}).values["spend:events"] == [1, 0]
        now_us = driver.clock()
        driver.crash()
    shutil.rmtree(tmp_path / ".tegula" / "state" / "shard-00")
    with tg.TestDriver(COUNTS, home=tmp_path, shards=SHARDS, at=now_us) as driver:
        driver.settle()
        found = driver.outcomes("spend")
        assert sum(driver.read(COUNTS, {"card_id": cards}).values["spend:events"]) == 1
        assert (found["read"], found["folded"], found["duplicate"]) == (2, 1, 1)


@pytest.mark.parametrize("lost", range(SHARDS))
def test_verdict_of_the_clock_stands_where_the_shard_that_knew_of_it_was_lost(
    tmp_path: Path, lost: int, monkeypatch: pytest.MonkeyPatch
):
    """Read again later, before it was archived, the record would be future no more."""
    poll = LocalReader.poll

    def stamped_by_producer(reader: LocalReader, rows_max: int) -> RawBatch | None:
        """As it comes from a topic whose producers set the time of their records."""
        batch = poll(reader, rows_max)
        if batch is None:
            return None
        times = [parse_one(orjson.loads(payload or b"{}")["at"]) for payload in batch.payloads]
        return replace(batch, log_us=np.array(times, np.int64), stamped_by_producer=True)

    monkeypatch.setattr(LocalReader, "poll", stamped_by_producer)
    began_us = parse_one("2024-01-01T00:00:00Z")
    rows = [{"card_id": f"c{n}", "at": f"2024-01-0{1 + n % 2}T00:00:00Z"} for n in range(40)]
    with tg.TestDriver(SPEND, home=tmp_path, shards=SHARDS, at=began_us) as driver:
        driver.send("payments", rows, partition="0")
        driver.settle()
        assert (driver.outcomes("spend")["folded"], driver.outcomes("spend")["read"]) == (20, 40)
        driver.crash()
    shutil.rmtree(tmp_path / ".tegula" / "state" / f"shard-{lost:02}")
    with tg.TestDriver(SPEND, home=tmp_path, shards=SHARDS, at=began_us + 2 * DAY_US) as driver:
        driver.settle()
        found = driver.outcomes("spend")
        assert found["read"] == found["folded"] + found["dead_lettered"] == 40
        values = driver.read(SPEND, {"card_id": [row["card_id"] for row in rows]}).values
        assert sum(values["spend:events"]) == found["folded"]
        assert found["folded"] in (20, 40)  # all as the first time, or all as if for the first time


def test_commit_that_was_written_and_said_to_have_failed_is_not_undone_by_the_end(tmp_path):
    project = Project.make(tmp_path)
    project.send([{"k": f"k{n}", "x": 1.0, "at": now_us()} for n in range(20)])
    with pytest.raises(StateError):
        run_into_unsure_write(project)
    with Engine(project.settings, threaded=False) as engine:
        assert engine.shards[0].commit_number == 1
        engine.settle()
        assert outcomes(engine.shards, 1)["folded"] == 20
        assert engine.mirrors.commits() == [shard.commit_number for shard in engine.shards]


def run_into_unsure_write(project: Project) -> None:
    with Engine(project.settings, threaded=False) as engine:
        shard = engine.shards[0]
        write = shard._write

        def unsure(batch: Any) -> None:
            write(batch)
            raise StateError("nobody knows")

        shard._write = unsure  # type: ignore[method-assign]
        engine.settle()
