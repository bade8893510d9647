"""A year of a shop's invoice lines: heavy ties, returns as negative rows, customers unknown.

For a sample of 2 140 baskets, what another engine computed strictly before each, and the lines of
a week up to and including it. Streamed are all lines of the sampled customers, and some of those
without a customer, which are filtered. Different items are counted as `distinct` lists them; where
there are up to 512, `approx_distinct` must say the same, and within its stated error beyond.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import tegula as tg
from tegula import agg, lifetime, sliding
from tegula.schemas.time import DAY_US
from tests.oracle.real import blocks, different, from_history, micros, read
from tests.support.oracles import oracle

EXACT_DISTINCT_MAX = 512
STANDARD_ERROR = 0.016
UNKNOWN_COUNT = 5_000

LINES = tg.Stream(
    "lines",
    schema={
        "customer_id": tg.Int64,
        "invoice_no": tg.String,
        "stock_code": tg.String,
        "quantity": tg.Int64,
        "unit_price": tg.Float64,
        "at": tg.Timestamp.of("us"),
    },
    event_time="at",
)
bought, returned = pl.col("quantity") > 0, pl.col("quantity") < 0
worth = pl.col("quantity") * pl.col("unit_price")
month = sliding("30d", resolution="exact")
CUSTOMERS = tg.FeatureView(
    "customers",
    entity=tg.Entity("customer", keys={"customer_id": tg.Int64}),
    stream=LINES,
    history="8d",  # a block is shorter
    features={
        "invoices_30d": agg.approx_distinct("invoice_no", where=bought).over(month),
        "spend_30d": agg.sum(worth, where=bought).over(month),
        "returned_90d": agg.sum(-worth, where=returned).over(sliding("90d", resolution="exact")),
        "distinct_items_30d": agg.distinct("stock_code", where=bought).over(month),
        "about_items_30d": agg.approx_distinct("stock_code", where=bought).over(month),
        "last_purchase_ts": agg.max("at", where=bought).over(lifetime()),
        "lines_7d_including_now": agg.count().over(
            sliding("7d", resolution="exact", include_instant=True)
        ),
    },
)


def lines(customers: pl.Series) -> pl.DataFrame:
    """The lines of some customers, and some of nobody, in the order of the file."""
    every = pl.read_parquet(oracle("real/online_retail.parquet")).with_columns(at=micros("ts"))
    nobody = every.filter(pl.col("customer_id").is_null()).head(UNKNOWN_COUNT)
    theirs = every.filter(pl.col("customer_id").is_in(customers.unique().implode()))
    return pl.concat([theirs, nobody]).sort("row")


@pytest.mark.slow
def test_oracle_retail_has_the_features_that_another_engine_computed():
    asked = baskets()
    events = lines(asked["customer_id"])
    wrong, compared, beyond = [], 0, 0
    with tg.TestDriver(CUSTOMERS, at=int(events["at"][0]), shards=2) as driver:
        for end_us, rows in blocks(events, "at", 7 * DAY_US):
            driver.advance_to(end_us)
            driver.send("lines", rows.select(*LINES.schema).to_dicts(), partition="0")
            due = asked.filter(pl.col("t") >= end_us - 7 * DAY_US, pl.col("t") < end_us)
            keys = [(customer,) for customer in due["customer_id"]]
            got = read(driver, "customers", keys, due["t"].to_list())
            differences, many = unlike(got, due)
            wrong, beyond = [*wrong, *differences], beyond + many
            compared += due.height
        outcomes = driver.outcomes("customers")
    assert (wrong, compared, beyond) == ([], 2_140, 51)
    assert outcomes["filtered"] == UNKNOWN_COUNT
    assert outcomes["folded"] == events.height - UNKNOWN_COUNT


@pytest.mark.slow
def test_oracle_retail_has_the_same_features_in_a_training_set_of_imported_history():
    """The whole file is imported: the lines of all customers, and of nobody."""
    asked = baskets().sample(fraction=1, shuffle=True, seed=1)
    got = from_history(CUSTOMERS, oracle("real/online_retail.parquet"), asked, {"at": "ts"})
    assert (unlike(got, asked), asked.height) == (([], 51), 2_140)


def baskets() -> pl.DataFrame:
    """What another engine was asked for, and gave."""
    asked = pl.read_parquet(oracle("real/online_retail_expected_sample.parquet"))
    return asked.with_columns(t=micros("ts"), last_purchase_ts=micros("last_purchase_ts"))


def unlike(got: dict[str, list[Any]], asked: pl.DataFrame) -> tuple[list[Any], int]:
    """Every difference, and in how many rows items were more than are counted exactly."""
    items = [len(listed or ()) for listed in got["distinct_items_30d"]]
    names = [name for name in CUSTOMERS.features if name != "about_items_30d"]
    expected, beyond = asked.select(*names).to_dict(as_series=False), 0
    for about, count in zip(got["about_items_30d"], items, strict=True):
        is_beyond = count > EXACT_DISTINCT_MAX
        assert abs(about - count) <= is_beyond * 5 * STANDARD_ERROR * count
        beyond += is_beyond
    found = {**got, "distinct_items_30d": items}
    return different(found, expected, rel_tol=1e-9, abs_tol=1e-9), beyond
