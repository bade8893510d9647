"""A day of ride events, with windows that a stream processor computed (its golden results).

7 932 pickups and dropoffs come in the order of their arrival, some up to 23 s out of order. Each
hour and each hop is read as soon as the watermark has passed its end. What is left out: the bit
operations and regression terms of the aggregates, which we do not have, and hops of 40 m that are
aligned by their start.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import polars as pl
import pytest

import tegula as tg
from tegula import agg, hopping, lifetime, tumbling
from tegula.schemas.time import HOUR_US, SECOND_US
from tests.oracle.real import different, micros, read
from tests.support.oracles import oracle

DISORDER_US = 30 * SECOND_US
BLOCK_ROWS = 400

CARS = tg.Stream(
    "cars",
    schema={
        "event_type": tg.String,
        "driver_id": tg.Int64,
        "second": tg.Int64,
        "at": tg.Timestamp.of("us"),
    },
    event_time="at",
    disorder="30s",
)
KIND = tg.Entity("kind", keys={"event_type": tg.String})
DRIVER = tg.Entity("driver", keys={"driver_id": tg.Int64})
HOURLY = tg.FeatureView(
    "hourly",
    entity=KIND,
    stream=CARS,
    features={
        "count": agg.count().over(tumbling("1h")),
        "drivers": agg.approx_distinct("driver_id").over(tumbling("1h")),
    },
)
EVER = {
    "cnt": agg.count(),
    "avg_driver": agg.mean("driver_id"),
    "min_driver": agg.min("driver_id"),
    "max_driver": agg.max("driver_id"),
    "sum_driver": agg.sum("driver_id"),
    "bool_and_driver": agg.all(pl.col("driver_id") > 0),
    "bool_or_driver": agg.any(pl.col("driver_id") > 0),
    "stddev_driver": agg.stddev("driver_id"),
    "stddev_pop_driver": agg.stddev("driver_id", ddof=0),
    "var_driver": agg.variance("driver_id"),
    "var_pop_driver": agg.variance("driver_id", ddof=0),
    "corr_driver_ts": agg.correlation("driver_id", "second"),
    "covar_pop_driver_ts": agg.covariance("driver_id", "second", ddof=0),
    "covar_samp_driver_ts": agg.covariance("driver_id", "second"),
    "regr_slope": agg.slope("driver_id"),
    "regr_avgx": agg.mean("second"),
    "approx_distinct_driver": agg.approx_distinct("driver_id"),
    "median_driver": agg.median("driver_id"),
}
EVERY = tg.FeatureView(
    "every",
    entity=KIND,
    stream=CARS,
    features={name: aggregate.over(lifetime()) for name, aggregate in EVER.items()},
)
HOPS = tg.FeatureView(
    "hops",
    entity=DRIVER,
    stream=CARS,
    history="2h",  # a block is shorter
    features={
        "by_1m": agg.count().over(hopping("1h", "1m")),
        # The golden windows *start* on multiples of 40 m, ours *end* on multiples of the hop, which
        # is not the same as 1 h is no multiple of 40 m. At their ends these are the same windows.
        "by_40m": agg.count().over(hopping("1h", "20m")),
    },
)
NOT_OURS = {
    "event_type",
    "bit_and_driver",
    "bit_or_driver",
    "bit_xor_driver",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
    "approx_median_driver",
    "approx_percentile_cont_driver",
    "approx_percentile_cont_weighted_driver",
}
"""Of the golden aggregates those that we do not have, or have under another name above."""


def cars() -> pl.DataFrame:
    events = pl.read_parquet(oracle("real/arroyo_cars.parquet")).with_columns(at=micros("ts"))
    return events.with_columns(second=pl.col("at") // SECOND_US)


def golden(name: str, *times: str) -> pl.DataFrame:
    """A table of golden results, its instants in µs."""
    table = pl.read_csv(oracle(f"real/arroyo_cars_{name}.csv"))
    instant = pl.col(*times).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").to_physical()
    return table.with_columns(instant)


def streamed(driver: tg.TestDriver, events: pl.DataFrame) -> Iterator[tuple[int, int]]:
    """Send the events in blocks; after each, `(before, now)`: where the watermark was and is."""
    before_us = 0
    for rows in events.select(*CARS.schema).iter_slices(BLOCK_ROWS):
        newest_us = int(rows["at"].max())  # type: ignore[arg-type]
        driver.advance_to(max(driver.clock(), newest_us))
        driver.send("cars", rows.to_dicts(), partition="0")
        yield before_us, driver.clock() - DISORDER_US
        before_us = driver.clock() - DISORDER_US
    end_us = driver.clock() + 2 * HOUR_US
    driver.advance_to(end_us)
    yield before_us, end_us


@pytest.fixture
def driver() -> Iterator[tg.TestDriver]:
    start_us = int(cars()["at"][0])
    with tg.TestDriver(HOURLY, EVERY, HOPS, at=start_us, shards=2) as made:
        yield made


def ending(table: pl.DataFrame, column: str, before_us: int, now_us: int) -> pl.DataFrame:
    """The windows whose end the watermark has just passed."""
    return table.filter(pl.col(column) > before_us, pl.col(column) <= now_us)


def test_oracle_cars_have_the_hourly_counts_and_drivers_of_the_golden_results(driver):
    counts = golden("hourly_by_type", "hour").with_columns(end=pl.col("hour") + HOUR_US)
    wide = golden("hourly_distinct_drivers", "hour").with_columns(end=pl.col("hour") + HOUR_US)
    drivers = wide.unpivot(index="end", variable_name="event_type", value_name="drivers")
    drivers = drivers.with_columns(pl.col("event_type").str.strip_suffix("_drivers")).filter(
        pl.col("event_type") != "hour"
    )
    expected = counts.join(drivers, on=["end", "event_type"], how="left")
    wrong, compared = [], 0
    for before_us, now_us in streamed(driver, cars()):
        due = ending(expected, "end", before_us, now_us)
        keys = [(kind,) for kind in due["event_type"]]
        got = read(driver, "hourly", keys, due["end"].to_list())
        wrong += different(got, due.select("count", "drivers").to_dict(as_series=False))
        compared += due.height
    assert (wrong, compared) == ([], counts.height)
    outcomes = driver.outcomes("hourly")
    assert (outcomes["folded"], outcomes["late"]) == (7_932, 0)


@pytest.mark.parametrize("hop", ["1m", "40m"])
def test_oracle_cars_have_the_busiest_drivers_of_the_golden_results(driver, hop):
    expected = golden(f"hop_{hop}_1h_top1", "start", "end")
    events = cars()
    numbers = sorted(events["driver_id"].unique())
    wrong, compared = [], 0
    for before_us, now_us in streamed(driver, events):
        due = ending(expected, "end", before_us, now_us)
        keys = [(number,) for _ in range(due.height) for number in numbers]
        at_us = [end for end in due["end"] for _ in numbers]
        counts = read(driver, "hops", keys, at_us)[f"by_{hop}"]
        for place, row in enumerate(due.iter_rows(named=True)):
            each = counts[place * len(numbers) : (place + 1) * len(numbers)]
            # Of drivers with equal counts the golden results name any one.
            if (max(each), each[numbers.index(row["driver_id"])]) != (row["count"], row["count"]):
                wrong.append((row, max(each)))
            start = row["start"]
            held = events.filter(pl.col("at") >= start, pl.col("at") < start + HOUR_US)
            if sum(each) != held.height:
                wrong.append((row, sum(each)))
        compared += due.height
    assert (wrong, compared) == ([], expected.height)


def test_oracle_cars_have_every_aggregate_of_the_golden_results(driver):
    expected = orjson.loads(oracle("real/arroyo_cars_every_aggregate.json").read_bytes())
    for _ in streamed(driver, cars()):
        pass
    for kind, values in expected.items():
        got = read(driver, "every", [(kind,)], [driver.clock()])
        golden_ones = {name: [value] for name, value in values.items() if name not in NOT_OURS}
        # The golden numbers are rounded to four places.
        assert set(golden_ones) == set(EVER)
        assert different(got, golden_ones, rel_tol=0, abs_tol=5.1e-5) == []


def test_oracle_cars_are_the_day_that_the_golden_results_are_of():
    events = cars()
    back_us = (events["at"].cum_max() - events["at"]).max()
    assert (events.height, back_us) == (7_932, 23 * SECOND_US)
