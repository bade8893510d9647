"""Card payments of five minutes, and training sets of their features."""

from __future__ import annotations

from typing import Any

import polars as pl

import tegula as tg
from tegula import agg, last, lifetime, sliding
from tegula.schemas.time import MINUTE_US

START_US = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z
card = tg.Entity("card", keys={"card_id": tg.String})
shop = tg.Entity("shop", keys={"shop": tg.String})
SCHEMA = {
    "card_id": tg.String,
    "shop": tg.String,
    "amount": tg.Float64,
    "at": tg.Timestamp.of("us"),
}
payments = tg.Stream("payments", schema=SCHEMA, event_time="at", disorder="10s")
spend = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    features={
        "n": agg.count().over(sliding("1h", resolution="exact")),
        "total": agg.sum("amount").over(lifetime()),
        "last": agg.last("shop").over(last(1)),
    },
)
shops = tg.FeatureView(
    "shops", entity=shop, stream=payments, features={"n": agg.count().over(sliding("1h"))}
)
fraud = tg.FeatureService("fraud", version=2, features=[spend, shops["n"]])


def paid(minute: float, card_id: str = "a", amount: float = 1.0, shop: str = "x") -> dict[str, Any]:
    at_us = START_US + int(minute * MINUTE_US)
    return {"card_id": card_id, "shop": shop, "amount": amount, "at": at_us}


def lived(driver: tg.TestDriver) -> None:
    """Five minutes: in each two events come that happened half a minute before."""
    for minute in range(1, 6):
        driver.advance_to(START_US + minute * MINUTE_US)
        driver.send("payments", [paid(minute - 0.5), paid(minute - 0.5, "b", 2.0, "y")])
        driver.settle()
        if minute in (2, 4):
            driver.engine.archiving.flush()
    driver.advance_to(START_US + 10 * MINUTE_US)


def spine(*minutes: float, **more: list[Any]) -> pl.DataFrame:
    at_us = [START_US + int(minute * MINUTE_US) for minute in minutes]
    cards = {"card_id": ["a"] * len(at_us), "shop": ["y"] * len(at_us)}
    return pl.DataFrame({**cards, "at": at_us, **more})


def made(driver: tg.TestDriver, rows: Any, features: Any = fraud, **options: Any) -> Any:
    return tg.training_set(
        rows, features, project=driver.settings, now_us=driver.clock(), **options
    )
