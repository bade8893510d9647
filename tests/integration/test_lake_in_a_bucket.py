"""A project whose lake is a bucket: archived, found, mended, driven again, replayed, maintained."""

from __future__ import annotations

import uuid

import orjson
import pytest

import tegula as tg
from tegula import agg
from tegula.engine.maintenance import maintain
from tegula.schemas.errors import SinkError
from tests.services.s3 import BUCKET, serving

AT = 1_714_564_800_000_000
EVENTS = tg.Stream(
    "events",
    schema={"k": tg.String, "x": tg.Float64, "at": tg.Timestamp.of("us")},
    event_time="at",
)
NAME = tg.Entity("name", keys={"k": tg.String})


def view(name: str) -> tg.FeatureView:
    total = agg.sum("x").over(tg.lifetime())
    return tg.FeatureView(name, entity=NAME, stream=EVENTS, features={"sum": total})


@pytest.fixture
def store(monkeypatch):
    with serving() as buckets:
        monkeypatch.setenv("TEGULA_LAKE", f"s3://{BUCKET}/{uuid.uuid4().hex}")
        monkeypatch.setenv("TEGULA_LAKE_OPTIONS", orjson.dumps(buckets.options).decode())
        yield buckets


def test_lake_in_a_bucket_serves_all_that_one_on_a_disk_does(store, tmp_path):
    with tg.TestDriver(view("first"), at=AT, home=tmp_path) as driver:
        for number in range(3):
            good = {"k": "a", "x": 1.0, "at": AT - 10 + number}
            text = {"k": "a", "x": "2.5", "at": AT - 10 + number}
            driver.send("events", [good, text], partition="0")
            driver.settle()
            driver.engine.archiving.flush()
        assert {letter.offset for letter in driver.dead_letters("events")} == {1, 3, 5}
        done = driver.redrive("events", mend=lambda raw: raw.replace(b'"2.5"', b"2.5"))
        assert done.driven == 3
        assert driver.online("first:sum", {"k": "a"}) == {"first:sum": 10.5}
        reports = maintain(driver.settings, driver.engine.now_us)
        assert {one.table: one.made for one in reports} == {
            "log/events": 1,
            "dead_letter/events": 1,
        }
    assert store.objects
    assert not list((tmp_path / ".tegula").rglob("*.parquet"))
    with tg.TestDriver(view("first"), view("second"), at=AT, home=tmp_path) as driver:
        driver.settle()
        assert driver.online("second:sum", {"k": "a"}) == {"second:sum": 10.5}


def test_bucket_that_is_away_holds_nothing_up_and_loses_nothing(store, tmp_path):
    with tg.TestDriver(view("first"), at=AT, home=tmp_path) as driver:
        driver.send("events", {"k": "a", "x": 1.0, "at": AT - 1}, partition="0")
        store.away = True
        driver.settle()
        assert driver.online("first:sum", {"k": "a"}) == {"first:sum": 1.0}
        with pytest.raises(SinkError):
            driver.engine.archiving.flush()
        store.away = False
        driver.engine.archiving.flush()
        assert driver.engine.archiving.places("events")["0"].next_offset == 1
