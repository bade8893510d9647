"""Parity from a real engine: what is right is equal, and every difference has its cause."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

import tegula as tg
from tegula import agg, lifetime, session, sliding
from tegula.backfill.parity import Report, check
from tegula.connectors.rfc3339 import format_instant
from tegula.engine.parity import last_reports
from tegula.schemas.definitions import FeatureService, FeatureView
from tegula.serving.parity_metrics import parity_metrics
from tegula.state.keys import encode_key, shard_of
from tegula.state.online.rows import RowWrites
from tegula.testing.driver import TestDriver
from tests.support.answering import served

CARD = tg.Entity("card", keys={"card_id": tg.String})
PAYMENTS = tg.Stream(
    "payments",
    schema={
        "card_id": tg.String,
        "amount": tg.Float64,
        "shop": tg.String,
        "id": tg.Int64,
        "at": tg.Timestamp,
    },
    event_time="at",
    disorder="5s",
    unique_by="id",
)
FEATURES = {
    "n": agg.count().over(sliding("10m")),
    "spent": agg.sum("amount").over(sliding("1h")),
    "mean_day": agg.mean("amount").over(sliding("1d")),
    "shops": agg.distinct("shop").over(sliding("1h")),
    "last": agg.last("shop").over(lifetime()),
    "lately": agg.last_n("at", 2).over(sliding("1h")),
    "by_shop": agg.sum("amount", by="shop").over(sliding("1h")),
    "lately_by_shop": agg.max("at", by="shop").over(sliding("1h")),
    "visit": agg.count().over(session("5m")),
}
AT = "2024-05-01T12:00:00Z"
NOON_US = 1_714_564_800_000_000
MINUTE_US = 60_000_000


def definitions(**more: Any) -> FeatureService:
    view = FeatureView(
        "spend", entity=CARD, stream=PAYMENTS, where=pl.col("amount") > 0, features=FEATURES
    )
    return FeatureService("fraud", version=1, features=[view], **more)


@pytest.fixture
def driver() -> Iterator[TestDriver]:
    with TestDriver(definitions(), at=AT) as made:
        yield made


def pay(driver: TestDriver, card: str, amount: float, ago_s: float = 0, **more: Any) -> None:
    at_us = driver.clock() - int(ago_s * 1e6)
    pay.count += 1  # type: ignore[attr-defined]
    event = {
        "card_id": card,
        "amount": amount,
        "shop": f"s{int(amount) % 3}",
        "id": pay.count,  # type: ignore[attr-defined]
        "at": format_instant(at_us),
    }
    driver.send("payments", {**event, **more})


pay.count = 0  # type: ignore[attr-defined]


def advance(driver: TestDriver, minutes: float) -> None:
    driver.advance_to(driver.clock() + int(minutes * MINUTE_US))


def checked(driver: TestDriver, **more: Any) -> Report:
    driver.settle()
    driver.engine.archiving.flush()
    given = {"since_us": 0, "sample": 1_000, "seed": 1, "now_us": driver.clock(), **more}
    return check(driver._settings, driver.engine.registry, "fraud", **given)


def test_what_is_served_is_what_history_says(driver):
    for minute in range(6):
        pay(driver, "c1", 10.5 + minute, ago_s=1)
        pay(driver, "c2", 0.1 * minute, ago_s=3)
        pay(driver, "c1", 7, ago_s=2, id=1_000_000)  # copies of one event
        served(driver, {"card_id": ["c1", "c2", "never", None]})
        advance(driver, 7)
    report = checked(driver)
    assert not report.differences
    assert report.faults == []
    assert (report.rows, report.pending, report.skipped.total()) == (24, 0, 0)
    assert report.compared == 24 * len(FEATURES) - 6 * len(FEATURES)  # a null key has no build
    assert report.share_equal == 1


def test_event_that_comes_after_it_was_served_is_late(driver):
    pay(driver, "c1", 10, ago_s=30)
    served(driver, {"card_id": ["c1"]}, trace_id="cd" * 16)
    served_us = driver.clock()
    advance(driver, 0.05)
    pay(driver, "c1", 5, ago_s=20)
    report = checked(driver)
    assert report.causes["late"] == report.different > 0
    (one,) = [each for each in report.differences if each.feature == "spend:spent"]
    assert (one.served, one.recomputed, one.key) == (10.0, 15.0, {"card_id": "c1"})
    assert (one.at, one.trace_id) == (format_instant(served_us), "cd" * 16)
    assert [event.offset for event in one.events] == [1]


def test_event_that_had_come_and_was_not_readable_yet_is_lag(driver):
    pay(driver, "c1", 10, ago_s=30)
    driver.settle()
    pay(driver, "c1", 5, ago_s=20)
    advance(driver, 0.01)
    values = served(driver, {"card_id": ["c1"]}, settle=False)
    assert values["spend:spent"] == [10.0]
    assert set(checked(driver).causes) == {"lag"}


def test_event_too_late_to_be_counted_is_expired():
    view = FeatureView(
        "spend",
        entity=CARD,
        stream=PAYMENTS,
        allowed_lateness="1m",
        features={"n": agg.count().over(sliding("1h"))},
    )
    with TestDriver(FeatureService("fraud", version=1, features=[view]), at=AT) as driver:
        pay(driver, "c1", 10)
        pay(driver, "c1", 5, ago_s=600)
        advance(driver, 1)
        assert served(driver, {"card_id": ["c1"]})["spend:n"] == [1]
        report = checked(driver)
        (one,) = report.differences
        assert (one.cause, one.served, one.recomputed) == ("expired", 1, 2)
        assert [event.offset for event in one.events] == [1]


def test_definition_that_is_another_since_is_the_cause(driver):
    pay(driver, "c1", 10, ago_s=1)
    pay(driver, "c1", 30, ago_s=1)
    served(driver, {"card_id": ["c1"]})
    view = FeatureView(
        "spend",
        entity=CARD,
        stream=PAYMENTS,
        where=pl.col("amount") > 20,
        features={**FEATURES, "mean_day": agg.mean("amount").over(sliding("1d"))},
    )
    driver.apply(FeatureService("fraud", version=1, features=[view]))
    driver.backfill("spend")
    report = checked(driver)
    assert set(report.causes) == {"definition"}
    (one,) = [each for each in report.differences if each.feature == "spend:spent"]
    assert (one.served, one.recomputed) == (40.0, 30.0)


def test_wrong_value_planted_in_the_online_store_is_found_and_named(driver):
    pay(driver, "c1", 10, ago_s=1)
    pay(driver, "c2", 70, ago_s=1)
    driver.settle()
    plant(driver, "c1", "c2")
    served(driver, {"card_id": ["c1", "c2"]})
    report = checked(driver)
    assert set(report.causes) == {"unexplained"}
    assert {one.key["card_id"] for one in report.differences} == {"c1"}
    (one,) = [each for each in report.differences if each.feature == "spend:spent"]
    assert (one.served, one.recomputed) == (70.0, 10.0)
    assert [event.offset for event in one.events] == [0]


def plant(driver: TestDriver, card: str, other: str) -> None:
    """Give a card the online rows of another one."""
    (build,) = driver.engine.deployed.builds
    reader = driver.engine.mirrors.reader()
    keys = [encode_key((name,), ("string",)) for name in (card, other)]
    shards = [shard_of(key, 4) for key in keys]
    _, ((head, body),) = reader.read(shards[1], build.id, [keys[1]])
    writer = driver.engine.mirrors.reader()._writers[shards[0]]  # type: ignore[attr-defined]
    mark = writer.mark()
    assert head is not None
    bodies = [] if body is None else [(keys[0], body)]
    writer.write([RowWrites(build.id, [(keys[0], head)], bodies)], mark)


def test_what_is_not_archived_yet_waits_for_the_next_check(driver):
    pay(driver, "c1", 10, ago_s=1)
    served(driver, {"card_id": ["c1"]})
    given = {"since_us": 0, "sample": 10, "seed": 1, "now_us": driver.clock()}
    report = check(driver._settings, driver.engine.registry, "fraud", **given)
    assert (report.rows, report.pending, report.compared) == (1, 1, 0)
    assert report.share_equal is None
    assert checked(driver).pending == 0


def test_sample_is_of_what_was_served_since_and_of_that_size(driver):
    pay(driver, "c1", 10, ago_s=1)
    served(driver, {"card_id": ["c1"] * 5})
    advance(driver, 60)
    served(driver, {"card_id": ["c1"] * 7})
    assert checked(driver, sample=4).rows == 4
    assert checked(driver, since_us=driver.clock()).rows == 7
    assert checked(driver, since_us=driver.clock() + 1).rows == 0


def test_report_is_kept_for_the_servers_to_show(driver):
    pay(driver, "c1", 10, ago_s=1)
    served(driver, {"card_id": ["c1"]})
    folder = driver._settings.parity_path
    assert last_reports(folder) == {}
    checked(driver).keep(folder)
    report = last_reports(folder)["fraud"]
    assert (report["share_equal"], report["compared"]) == (1.0, len(FEATURES))
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parity_metrics(folder, 0.99)
        for sample in family.samples
    }
    assert shown["tegula_parity_share", "fraud"] == 1.0
    assert shown["tegula_parity_objective",] == 0.99
    assert shown["tegula_parity_different", "fraud", "unexplained"] == 0
    assert shown["tegula_parity_check_seconds", "fraud"] == driver.clock() / 1e6
