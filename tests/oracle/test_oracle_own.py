"""A user's own aggregate against a recomputation from raw events that shares nothing with it.

Events come out of order, the engine crashes on the way, the view is built anew at the end; at every
instant each key's value must be what plain Python counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

import tegula as tg
from tegula import sliding
from tests.support.own import HoursSeen

HOUR_US = 3_600_000_000
START_US = 1_714_521_600_000_000  # 2024-05-01, midnight UTC
ROUNDS = 12
CARDS = ("a", "b", "c")

hours_seen = tg.own_aggregate(HoursSeen(), version=1)
payments = tg.Stream(
    "payments",
    schema={
        "card": tg.String,
        "shop": tg.String,
        "amount": tg.Int64,
        "at": tg.Timestamp.of("us"),
    },
    event_time="at",
    disorder="1h",
)
WINDOWS = {
    "recent": sliding("6h", resolution="exact"),
    "before": sliding("6h", resolution="exact", offset="3h"),
    "today": tg.calendar("day", tz="UTC"),
    "newest": tg.last(5),
    "open": tg.session("30m"),
    "ever": tg.lifetime(),
}
habits = tg.FeatureView(
    "habits",
    entity=tg.Entity("card", keys={"card": tg.String}),
    stream=payments,
    features={
        **{name: hours_seen("at").over(window) for name, window in WINDOWS.items()},
        "large": hours_seen("at", where=pl.col("amount") > 50).over(tg.lifetime()),
        "shops": hours_seen("at", by="shop").over(WINDOWS["recent"]),
    },
)

Event = dict[str, Any]


def hours(events: list[Event]) -> int:
    return len({event["at"] // HOUR_US % 24 for event in events})


def right(events: list[Event], now_us: int) -> dict[str, Any]:
    """Every feature of one card, whose events come in order of event time."""
    past = [event for event in events if event["at"] < now_us]

    def within(older_us: int, newer_us: int) -> list[Event]:
        return [event for event in past if older_us <= event["at"] < newer_us]

    recent = within(now_us - 6 * HOUR_US, now_us)
    session = past[-1:]
    for event in reversed(past[:-1]):
        if session[0]["at"] - event["at"] > HOUR_US // 2:
            break
        session.insert(0, event)
    shops = sorted({event["shop"] for event in recent})
    values = {
        "recent": hours(recent),
        "before": hours(within(now_us - 9 * HOUR_US, now_us - 3 * HOUR_US)),
        "today": hours(within(now_us - now_us % (24 * HOUR_US), now_us)),
        "newest": hours(past[-5:]),
        "open": hours(session),
        "ever": hours(past),
        "large": hours([event for event in past if event["amount"] > 50]),
        "shops": {s: hours([e for e in recent if e["shop"] == s]) for s in shops} or None,
    }
    return {f"habits:{name}": value for name, value in values.items()}


def test_oracle_own_aggregate_is_what_plain_python_counts(seed):
    rng = np.random.default_rng(seed)
    sent: list[Event] = []

    def assert_right(driver: tg.TestDriver, now_us: int) -> None:
        read = driver.read(habits, {"card": [*CARDS, "nobody"]}).values
        for place, card in enumerate([*CARDS, "nobody"]):
            mine = sorted((e for e in sent if e["card"] == card), key=lambda e: e["at"])
            expected = right(mine, now_us)
            assert {name: values[place] for name, values in read.items()} == expected, card
            assert driver.online(habits, {"card": card}) == expected, card

    with tg.TestDriver(habits, at=START_US) as driver:
        now_us = START_US
        for number in range(ROUNDS):
            now_us += int(rng.integers(HOUR_US // 10, 8 * HOUR_US))
            driver.advance_to(now_us)
            delays_us = rng.exponential(2 * HOUR_US, size=12).astype(np.int64)
            events = [
                {
                    "card": str(rng.choice(CARDS)),
                    "shop": str(rng.choice(["x", "y"])),
                    "amount": int(rng.integers(0, 100)),
                    "at": now_us - 1 - int(delay_us),
                }
                for delay_us in delays_us
            ]
            driver.send("payments", events)
            sent += events
            assert_right(driver, now_us)
            if number % 5 == 4:
                driver.crash()
                driver.restart()
        assert driver.outcomes("habits")["expired"] == 0
        driver.backfill("habits")
        assert_right(driver, now_us)
