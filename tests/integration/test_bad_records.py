"""Rubbish in: one outcome each, counted, kept with its bytes, explained; neighbours untouched."""

from __future__ import annotations

import pytest

import tegula as tg
from tegula import agg

GOOD = b'{"card_id":"c1","amount":2.5,"at":"2024-01-01T00:00:0%dZ"}'
BAD = {
    "cut short": (b'{"card_id":"c1","amount":', "TG-201"),
    "no JSON at all": (b"rubbish", "TG-201"),
    "two objects": (b'{"a":1}{"b":2}', "TG-201"),
    "a raw newline": (b'{"card_id":"c1",\n"amount":"x","at":"2024-01-01T00:00:00Z"}', "TG-202"),
    "text for a number": (b'{"card_id":"c1","amount":"1","at":"2024-01-01T00:00:00Z"}', "TG-202"),
    "a number for text": (b'{"card_id":1,"amount":1,"at":"2024-01-01T00:00:00Z"}', "TG-202"),
    "an object for text": (b'{"card_id":{},"amount":1,"at":"2024-01-01T00:00:00Z"}', "TG-202"),
    "a bool for a number": (
        b'{"card_id":"c1","amount":true,"at":"2024-01-01T00:00:00Z"}',
        "TG-202",
    ),
    "no zone": (b'{"card_id":"c1","amount":1,"at":"2024-01-01T00:00:00"}', "TG-202"),
    "no event time": (b'{"card_id":"c1","amount":1}', "TG-203"),
    "a null event time": (b'{"card_id":"c1","amount":1,"at":null}', "TG-203"),
    "a list": (b'["c1"]', "TG-204"),
    "a bare null": (b"null", "TG-204"),
    "a field twice": (b'{"card_id":"c1","card_id":"c2","at":"2024-01-01T00:00:00Z"}', "TG-205"),
    "not UTF-8": (b'{"card_id":"\xff","at":"2024-01-01T00:00:00Z"}', "TG-206"),
    "huge": (b'{"card_id":"' + b"x" * (1 << 20) + b'","at":"2024-01-01T00:00:00Z"}', "TG-207"),
    "empty": (b"", "TG-208"),
    "the year 2100": (b'{"card_id":"c1","amount":1,"at":"2100-01-01T00:00:00Z"}', "TG-209"),
    "eleven minutes ahead": (
        b'{"card_id":"c1","amount":1,"at":"2024-01-01T00:11:11Z"}',
        "TG-209",
    ),
}
STILL_GOOD = {
    "an unknown field": b'{"card_id":"c2","amount":1,"at":"2024-01-01T00:00:00Z","more":[1]}',
    "an integer for a float": b'{"card_id":"c2","amount":1,"at":"2024-01-01T00:00:00Z"}',
    "a null input": b'{"card_id":"c2","amount":null,"at":"2024-01-01T00:00:00Z"}',
    "a missing input": b'{"card_id":"c2","at":"2024-01-01T00:00:00Z"}',
    "an escaped name": b'{"\\u0063ard_id":"c2","amount":1,"at":"2024-01-01T00:00:00Z"}',
    "before the epoch": b'{"card_id":"c2","amount":1,"at":"1969-12-31T23:59:59Z"}',
}

CARD = tg.Entity("card", keys={"card_id": tg.String})
PAYMENTS = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "amount": tg.Float64, "at": tg.Timestamp},
    event_time="at",
)
SPEND = tg.FeatureView(
    "spend",
    entity=CARD,
    stream=PAYMENTS,
    features={
        "events": agg.count().over(tg.lifetime()),
        "spent": agg.sum("amount").over(tg.lifetime()),
    },
)


@pytest.fixture
def driver():
    with tg.TestDriver(SPEND, at="2024-01-01T00:01:00Z") as driver:
        yield driver


@pytest.mark.parametrize("name", BAD)
def test_bad_record_is_dead_lettered_alone_with_its_code_and_bytes(driver, name):
    raw, code = BAD[name]
    driver.send("payments", [GOOD % 1, raw, GOOD % 2], partition="0")
    assert driver.online(SPEND, {"card_id": "c1"}) == {"spend:events": 2, "spend:spent": 5.0}
    (record,) = driver.dead_letters("payments")
    assert (record.offset, record.code) == (1, code)
    assert record.raw == raw
    assert len(record.reason) > 10
    outcomes = driver.outcomes("spend")
    assert (outcomes["read"], outcomes["folded"], outcomes["dead_lettered"]) == (3, 2, 1)


@pytest.mark.parametrize("name", STILL_GOOD)
def test_odd_but_valid_record_is_folded(driver, name):
    driver.send("payments", [GOOD % 1, STILL_GOOD[name], GOOD % 2], partition="0")
    assert driver.online("spend:events", {"card_id": "c2"}) == {"spend:events": 1}
    assert driver.dead_letters("payments") == ()


def test_all_bad_records_together_cost_their_neighbours_nothing(driver):
    records = [raw for bad, _ in BAD.values() for raw in (GOOD % 1, bad)]
    driver.send("payments", records, partition="0")
    driver.crash()
    driver.restart()
    assert driver.online("spend:events", {"card_id": "c1"}) == {"spend:events": len(BAD)}
    codes = sorted(record.code for record in driver.dead_letters("payments"))
    assert codes == sorted(code for _, code in BAD.values())


def test_null_key_is_filtered_and_not_a_key(driver):
    record = b'{"card_id":null,"amount":1,"at":"2024-01-01T00:00:00Z"}'
    driver.send("payments", [record], partition="0")
    assert driver.outcomes("spend")["filtered"] == 1


def test_a_record_from_the_future_moves_no_watermark(driver):
    """One record from the year 2100 must never expire what comes behind it."""
    driver.send("payments", [BAD["the year 2100"][0], GOOD % 1], partition="0")
    assert driver.online("spend:events", {"card_id": "c1"}) == {"spend:events": 1}
    assert driver.outcomes("spend")["expired"] == 0
