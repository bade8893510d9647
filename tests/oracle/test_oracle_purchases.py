"""Purchases and returns of a shop, read for each user at each checkout.

The windows are those of the quick start that the data come from: 3, 14 and 30 days, sum, count,
average and the last ten. No expected values come with it, so they are computed in SQL. What is left
out: the join with the users' table, which waits for lookups.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import tegula as tg
from tegula import agg, sliding
from tegula.schemas.time import DAY_US
from tests.oracle.real import blocks, different, from_history, naive, read
from tests.support.oracles import oracle

DAYS = (3, 14, 30)
COLUMNS = {"purchases": "purchase_price", "returns": "refund_amt"}


def view(name: str) -> tg.FeatureView:
    """Sum, count and mean of what a stream's events are worth, by user."""
    amount = COLUMNS[name]
    stream = tg.Stream(
        name,
        schema={"user_id": tg.Int64, amount: tg.Int64, "ts": tg.Timestamp.of("ms")},
        event_time="ts",
    )
    features = {}
    for days in DAYS:
        window = sliding(f"{days}d", resolution="exact")
        features |= {
            f"sum_{days}d": agg.sum(amount).over(window),
            f"count_{days}d": agg.count().over(window),
            f"mean_{days}d": agg.mean(amount).over(window),
            f"last_{days}d": agg.last(amount).over(window),
            f"last_10_{days}d": agg.last_n(amount, 10).over(window),
        }
    return tg.FeatureView(
        name,
        entity=tg.Entity("user", keys={"user_id": tg.Int64}),
        stream=stream,
        features=features,
        history="2d",
    )


def query(name: str) -> str:
    """The same windows in SQL."""
    amount, columns = COLUMNS[name], []
    for days in DAYS:
        inside = f"filter (event_us >= t - {days * DAY_US} and event_us < t)"
        columns += [
            f"coalesce(sum({amount}) {inside}, 0)::bigint as sum_{days}d",
            f"count(event_us) {inside} as count_{days}d",
            f"avg({amount}) {inside} as mean_{days}d",
            f"arg_max({amount}, (event_us, place)) {inside} as last_{days}d",
            f"list({amount} order by event_us, place) {inside} [-10:] as last_10_{days}d",
        ]
    return f"""select {", ".join(columns)} from probes left join events using (user_id)
        group by probe, t order by probe"""


def table(name: str) -> pl.DataFrame:
    rows = pl.read_csv(oracle(f"real/chronon_quickstart_{name}.csv"))
    return rows.with_columns(at=pl.col("ts") * 1_000)


def probes(rng: np.random.Generator, events: pl.DataFrame) -> pl.DataFrame:
    """Every checkout, and every event's own instant, the one after, and where it leaves."""
    checkouts = table("checkouts").select("user_id", t="at")
    users = events["user_id"].to_numpy()
    shifts_us = rng.choice([0, 1, *(days * DAY_US for days in DAYS)], len(users))
    edges = pl.DataFrame({"user_id": users, "t": events["at"].to_numpy() + shifts_us})
    return pl.concat([checkouts, edges]).sort("t").with_row_index("probe")


@pytest.mark.parametrize("name", list(COLUMNS))
def test_oracle_purchases_have_the_windows_that_sql_gives(name, seed):
    events = table(name).sort("at", maintain_order=True).with_row_index("place")
    asked = probes(np.random.default_rng(seed), events)
    served, got = view(name), {}
    with tg.TestDriver(served, at=int(events["at"][0]), shards=2) as driver:
        before_us = 0
        stretches = [*blocks(events, "at", DAY_US), (int(asked["t"].max()) + 1, events.clear())]
        for end_us, rows in stretches:
            due = asked.filter(pl.col("t") >= before_us, pl.col("t") < end_us)
            before_us = end_us
            driver.advance_to(end_us)
            driver.send(name, rows.select(*served.stream.schema).to_dicts(), partition="0")
            keys = [(user,) for user in due["user_id"]]
            for feature, column in read(driver, name, keys, due["t"].to_list()).items():
                got.setdefault(feature, []).extend(column)
    expected = naive(query(name), probes=asked, events=events.drop("ts").rename({"at": "event_us"}))
    assert different(got, expected) == []
    assert len(got["sum_3d"]) == asked.height == 700


@pytest.mark.parametrize("name", list(COLUMNS))
def test_oracle_purchases_have_the_same_windows_in_a_training_set_of_imported_history(name, seed):
    events = table(name).sort("at", maintain_order=True).with_row_index("place")
    asked = probes(np.random.default_rng(seed), events)
    asked = asked.filter(pl.col("t") >= events["at"][0]).drop("probe").with_row_index("probe")
    got = from_history(view(name), oracle(f"real/chronon_quickstart_{name}.csv"), asked)
    expected = naive(query(name), probes=asked, events=events.drop("ts").rename({"at": "event_us"}))
    assert different(got, expected) == []
    assert asked.height >= 500
