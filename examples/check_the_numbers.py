"""Do not take our word for it: the archive is a plain table, and a window is three lines.

Sends payments, late and bad ones among them, reads features at random instants, and recomputes each
of them from the archive with nothing but Polars.
"""

from __future__ import annotations

import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

import tegula as tg
from tegula import agg, sliding

card = tg.Entity("card", keys={"card_id": tg.String})

payments = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "amount": tg.Int64, "at": tg.Timestamp},
    event_time="at",
    disorder="5m",
)

spend = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    features={
        "count_1h": agg.count().over(sliding("1h")),
        "sum_1h": agg.sum("amount").over(sliding("1h")),
        "max_6h": agg.max("amount").over(sliding("6h")),
    },
    history="1d",
)

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def event(chance: random.Random) -> dict[str, object]:
    """A payment of the morning."""
    at = NOON - timedelta(seconds=chance.randrange(8 * 3600))
    return {
        "card_id": f"c{chance.randrange(4)}",
        "amount": chance.randrange(-50, 100),
        "at": at.isoformat(),
    }


def recomputed(archive: pl.DataFrame, card_id: str, at: datetime) -> dict[str, object]:
    """The features from raw rows: an hour reaches back to a whole minute, six to five of them."""
    good = archive.filter(pl.col("_code").is_null(), pl.col("card_id") == card_id)
    hour = at - timedelta(hours=1)
    six = at - timedelta(hours=6)
    hour = hour.replace(second=0, microsecond=0)
    six = six.replace(minute=six.minute - six.minute % 5, second=0, microsecond=0)
    last_hour = good.filter(pl.col("at") >= hour, pl.col("at") < at)
    last_six = good.filter(pl.col("at") >= six, pl.col("at") < at)
    return {
        "spend:count_1h": last_hour.height,
        "spend:sum_1h": last_hour["amount"].sum(),
        "spend:max_6h": last_six["amount"].max(),
    }


def main() -> None:
    """Ask, recompute, compare."""
    chance = random.Random(11)  # noqa: S311 - a seeded example
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with tg.TestDriver(spend, at=NOON, home=home) as driver:
            for _ in range(8):
                driver.send("payments", [*(event(chance) for _ in range(200)), b'{"amount": "?"}'])
            outcomes = driver.outcomes("spend")
            questions = [
                (f"c{chance.randrange(4)}", NOON - timedelta(seconds=chance.randrange(3600)))
                for _ in range(40)
            ]
            answers = [
                driver.online(spend, {"card_id": card_id}, as_of=at) for card_id, at in questions
            ]
        archive = pl.read_delta(str(home / ".tegula/lake/log/payments"))
    print("outcomes:", outcomes)
    for (card_id, at), answer in zip(questions, answers, strict=True):
        assert answer == recomputed(archive, card_id, at), (card_id, at)
    print(f"{3 * len(answers)} values compared with the raw rows, 0 differ")


if __name__ == "__main__":
    main()
