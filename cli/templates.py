"""The files that `tegula init` writes: a project that works as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SETTINGS: Final = """\
# Settings of this project. Weak to strong: this file, TEGULA_… variables, flags of a command.
# What is commented out shows the default.

# port = 6180
# host = "127.0.0.1"
# server_processes = 1

# The embedded stores (log, state, online store, lake) lie here. Ignored by git.
# home = ".tegula"

# Slices of the key space. Fixed when the registry is made; 64 and more for clusters.
# shards = 16

# Streams with `source=tg.Kafka(topic=…)` read from these brokers.
# [kafka]
# bootstrap = "127.0.0.1:9092"
# [kafka.options]
# "security.protocol" = "SASL_SSL"
"""

EXAMPLE: Final = '''\
"""Card payments: how much and how often each card pays. Change it, then `tegula plan`."""

from __future__ import annotations

import polars as pl

import tegula as tg
from tegula import agg, sliding, tumbling

card = tg.Entity("card", keys={"card_id": tg.String})

payments = tg.Stream(
    "payments",
    schema={
        "card_id": tg.String,
        "merchant": tg.String,
        "amount": tg.Float64,
        "at": tg.Timestamp,
    },
    event_time="at",
    disorder="30s",
    partition_by="card_id",
    owner="you",
)

spend = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    where=pl.col("amount") > 0,
    features={
        "payments_10m": agg.count().over(sliding("10m")),
        "spent_1h": agg.sum("amount").over(sliding("1h")),
        "largest_24h": agg.max("amount").over(sliding("24h"), default=0.0),
        "spent_today": agg.sum("amount").over(tumbling("1d", current=True)),
        "last_merchant": agg.last("merchant").over(sliding("30d")),
        "merchants_30d": agg.approx_distinct("merchant").over(sliding("30d")),
    },
    owner="you",
)

fraud = tg.FeatureService("fraud", version=1, features=[spend], owner="you")
'''

TEST: Final = '''\
"""The real engine, in process, with a clock of its own: run with `python -m pytest`."""

from __future__ import annotations

from features.example import fraud

import tegula as tg


def paid(card_id: str, merchant: str, amount: float, at: str) -> dict[str, object]:
    return {"card_id": card_id, "merchant": merchant, "amount": amount, "at": at}


def test_spend_counts_what_each_window_holds():
    with tg.TestDriver(fraud, at="2024-05-01T12:30:00Z") as driver:
        driver.send(
            "payments",
            [
                paid("c1", "m1", 12.5, "2024-05-01T12:00:00Z"),
                paid("c1", "m2", 3.0, "2024-05-01T12:25:00Z"),
            ],
        )
        values = driver.online(fraud, {"card_id": "c1"})
        assert values["spend:payments_10m"] == 1
        assert values["spend:spent_1h"] == 15.5
        assert values["spend:last_merchant"] == "m2"

        driver.advance_to("2024-05-01T12:40:00Z")  # no event, and the values change all the same
        assert driver.online(fraud, {"card_id": "c1"})["spend:payments_10m"] == 0
'''

CONFTEST: Final = '''\
"""Marks the project's root for pytest, so that tests can import `features.…`."""
'''

GIT_IGNORE: Final = """\
# The embedded stores: log, state, online store, lake.
.tegula/
__pycache__/
.pytest_cache/
"""

FILES: Final[Mapping[str, str]] = {
    "tegula.toml": SETTINGS,
    "features/example.py": EXAMPLE,
    "tests/test_features.py": TEST,
    "conftest.py": CONFTEST,
    ".gitignore": GIT_IGNORE,
}
"""Path in the project -> text."""
