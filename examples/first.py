"""A first program: two payments, and what a model would be told of the card as time goes on."""

from __future__ import annotations

import polars as pl

import tegula as tg
from tegula import agg, sliding, tumbling

card = tg.Entity("card", keys={"card_id": tg.String})

payments = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "merchant": tg.String, "amount": tg.Float64, "at": tg.Timestamp},
    event_time="at",
    disorder="30s",
)

spend = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    where=pl.col("amount") > 0,
    features={
        "payments_10m": agg.count().over(sliding("10m")),
        "spent_1h": agg.sum("amount").over(sliding("1h")),
        "spent_today": agg.sum("amount").over(tumbling("1d", current=True)),
        "last_merchant": agg.last("merchant").over(sliding("30d")),
    },
)

fraud = tg.FeatureService("fraud", version=1, features=[spend])


def paid(merchant: str, amount: float, at: str) -> dict[str, object]:
    """A payment as it stands in the log."""
    return {"card_id": "c1", "merchant": merchant, "amount": amount, "at": f"2024-05-01T{at}Z"}


def main() -> None:
    """Send two payments and let time pass."""
    with tg.TestDriver(fraud, at="2024-05-01T12:00:00Z") as driver:
        driver.send("payments", [paid("baker", 4.5, "11:52:00"), paid("grocer", 31.0, "11:58:30")])
        for at in ("12:00:00", "12:05:00", "12:10:00", "13:00:00", "23:59:59"):
            driver.advance_to(f"2024-05-01T{at}Z")
            values = driver.online(fraud, {"card_id": "c1"})
            print(at, *(f"{name.partition(':')[2]}={value}" for name, value in values.items()))
        assert values["spend:spent_today"] == 35.5
        assert values["spend:payments_10m"] == 0


if __name__ == "__main__":
    main()
