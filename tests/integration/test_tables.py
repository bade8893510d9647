"""Rows that hold from an instant on, beside counters of events: one answer from both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import tegula as tg
from tegula import agg

SHOP = tg.Entity("shop", keys={"shop_id": tg.String})
DAILY = tg.Table(
    "daily",
    entity=SHOP,
    schema={"mean": tg.Float64, "tier": tg.String},
    valid_from="day",
)
PAYMENTS = tg.Stream(
    "payments",
    schema={"shop_id": tg.String, "amount": tg.Float64, "at": tg.Timestamp},
    event_time="at",
)
SPEND = tg.FeatureView(
    "spend",
    entity=SHOP,
    stream=PAYMENTS,
    features={"n": agg.count().over(tg.sliding("1h"))},
)
BOTH = tg.FeatureService("both", version=1, features=[DAILY, SPEND])
NOON = datetime(2024, 5, 10, 12, tzinfo=UTC)
COLUMNS = {"shop_id": pl.String, "mean": pl.Float64, "tier": pl.String}
SCHEMA = {**COLUMNS, "day": pl.Datetime("us", "UTC")}


def day(number: int) -> datetime:
    return datetime(2024, 5, number, tzinfo=UTC)


ROWS = [
    ("a", 1.0, "low", day(1)),
    ("a", 2.0, None, day(5)),
    ("b", 5.0, "high", day(9)),
    ("a", 3.0, "mid", day(11)),
    ("b", None, "high", day(2)),
]


@pytest.fixture
def place(tmp_path):
    def write(rows):
        pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    return write


def newest(rows, shop, at, columns=("mean", "tier")):
    """The newest row of a shop that holds at an instant, by looking at all of them."""
    held = [row for row in rows if row[0] == shop and row[3] <= at]
    row = max(enumerate(held), key=lambda one: (one[1][3], one[0]), default=(0, None))[1]
    values = (None, None) if row is None else row[1:3]
    return dict(zip((f"daily:{name}" for name in columns), values, strict=True))


def test_table_and_counters_are_one_answer_online_and_in_a_replay(place):
    with tg.TestDriver(BOTH, at=NOON) as driver:
        paid = {"shop_id": "a", "amount": 3.0, "at": "2024-05-10T11:50:00Z"}
        driver.send("payments", [paid, paid])
        assert driver.materialize("daily", place(ROWS)).rows == 5
        for shop, count in (("a", 2), ("b", 0), ("c", 0)):
            expected = {**newest(ROWS, shop, NOON), "spend:n": count}
            assert driver.online(BOTH, {"shop_id": shop}) == expected
            assert driver.offline(BOTH, {"shop_id": shop}) == expected
        statuses = driver.statuses(DAILY, {"shop_id": "a"})
        # A null of the newest row is its value, not a reason to look for an older one.
        assert [one.name for one in statuses.values()] == ["PRESENT", "EMPTY"]
        assert driver.statuses(DAILY, {"shop_id": "c"})["daily:mean"].name == "NOT_FOUND"


def test_row_holds_from_its_instant_on_and_is_known_before(place):
    with tg.TestDriver(BOTH, at=NOON) as driver:
        driver.materialize("daily", place(ROWS))
        for at in (NOON, day(11) - timedelta(microseconds=1), day(11), day(20)):
            driver.advance_to(at)
            assert driver.online(DAILY, {"shop_id": "a"}) == newest(ROWS, "a", at)


def test_correction_takes_the_place_of_its_row_whatever_the_order(place):
    with tg.TestDriver(BOTH, at=NOON) as driver:
        driver.materialize("daily", place(ROWS))
        driver.settle()
        better = [("a", 7.0, "low", day(5)), ("b", 4.0, "x", day(1))]
        assert driver.materialize("daily", place(better)).rows == 2
        driver.crash()
        driver.restart()
        rows = [*ROWS, *better]
        for shop in "ab":
            assert driver.online(DAILY, {"shop_id": shop}) == newest(rows, shop, NOON)
        driver.backfill("daily")
        for shop in "ab":
            assert driver.online(DAILY, {"shop_id": shop}) == newest(rows, shop, NOON)


def test_rows_may_be_pushed_too_and_may_end_to_hold(place):
    short = tg.Table(
        "short", entity=SHOP, schema={"mean": tg.Float64}, valid_from="day", within="2d"
    )
    with tg.TestDriver(short, at=NOON) as driver:
        driver.send("short", {"shop_id": "a", "mean": 4.0, "day": "2024-05-09T00:00:00Z"})
        assert driver.online(short, {"shop_id": "a"}) == {"short:mean": 4.0}
        driver.advance_to(day(11) + timedelta(microseconds=1))
        assert driver.online(short, {"shop_id": "a"}) == {"short:mean": None}


def test_query_is_given_what_is_there_already(place, tmp_path):
    written = place(ROWS)
    query = f"SELECT * FROM '{written}' WHERE day > $since"
    with tg.TestDriver(BOTH, at=NOON) as driver:
        done = driver.materialize("daily", "", query=query)
        assert (done.held.read, done.rows) == (5, 5)
        place([*ROWS, ("a", 4.0, "top", day(12))])
        done = driver.materialize("daily", "", query=query)
        assert (done.held.read, done.rows) == (1, 1)


@pytest.mark.parametrize(("clock", "known_from"), [("event", 0), ("known", 1)])
def test_training_set_has_the_rows_that_held_and_had_landed(place, tmp_path, clock, known_from):
    home = tmp_path / "home"
    with tg.TestDriver(BOTH, at=NOON, home=home) as driver:
        driver.materialize("daily", place(ROWS), landing_delay="1d")
        driver.settle()
        settings = driver._settings
    instants = [day(1), day(2), day(3), day(5), day(6), day(7), day(10), NOON]
    spine = pl.DataFrame({"shop_id": ["a"] * len(instants), "at": instants})
    made = tg.training_set(spine, DAILY, clock=clock, project=settings)
    landed = [(*row[:3], row[3]) for row in ROWS]
    expected = []
    for at in instants:
        # `known`: what landed a day after it began to hold, before the instant.
        shown = [row for row in landed if not known_from or row[3] + timedelta(days=1) < at]
        expected.append(newest(shown, "a", at)["daily:mean"])
    assert made.to_polars()["daily:mean"].to_list() == expected
