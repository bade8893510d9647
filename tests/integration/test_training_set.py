"""Training sets against what was served: by `as_of` afterwards, and live at each instant."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

import tegula as tg
from tegula import agg, calendar, hopping, last, lifetime, series, session, since, sliding, tumbling
from tegula.schemas.outcomes import Status
from tegula.schemas.time import SECOND_US

START_US = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z
STEP_US = 137 * SECOND_US + 1

card = tg.Entity("card", keys={"card_id": tg.String})
shop = tg.Entity("shop_online", keys={"shop": tg.String, "online": tg.Bool})
payments = tg.Stream(
    "payments",
    schema={
        "card_id": tg.String,
        "shop": tg.String,
        "online": tg.Bool,
        "amount": tg.Float64,
        "items": tg.Int64,
        "zone": tg.String,
        "at": tg.Timestamp.of("us"),
    },
    event_time="at",
    disorder="1m",
)
windows = {
    "exact": sliding("10m", resolution="exact"),
    "hour": sliding("1h"),
    "before": sliding("20m", offset="10m"),
    "tumbling": tumbling("15m"),
    "current": tumbling("15m", current=True),
    "hopping": hopping("20m", "7m"),
    "day": calendar("day", tz="Europe/Berlin"),
    "home": calendar("day", tz=pl.col("zone")),
    "session": session("5m"),
    "since": since(pl.col("amount") > 80),
    "ever": lifetime(),
    "last": last(3),
    "within": last(3, within="10m", skip=1),
    "series": series("10m", "10m", 3),
    "upto": sliding("10m", include_instant=True),
}
aggregates: dict[str, Any] = {
    "n": agg.count(),
    "total": agg.sum("amount"),
    "items": agg.sum("items"),
    "mean": agg.mean("amount"),
    "spread": agg.stddev("amount"),
    "most": agg.max("amount"),
    "first": agg.first("shop"),
    "last": agg.last("shop"),
    "large": agg.count(where=pl.col("amount") > 50),
}
spend = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    where=pl.col("amount") != 13,
    history="1d",
    features={
        f"{name}_{window}": one.over(over, default=0.5 if name == "mean" else None)
        for window, over in windows.items()
        for name, one in aggregates.items()
        if not (window == "session" and name == "spread")
    },
)
shops = tg.FeatureView(
    "shops",
    entity=shop,
    stream=payments,
    history="1d",
    features={
        "cards": agg.approx_distinct("card_id").over(sliding("1h")),
        "median": agg.median("amount").over(sliding("1h")),
        "by_card": agg.sum("amount", by="card_id").over(sliding("1h")),
        "distinct": agg.distinct("items").over(sliding("30m")),
        "top": agg.top_n("amount", 2).over(sliding("30m")),
        "faded": agg.decayed_sum("amount", half_life="10m").over(sliding("1h")),
        "ago": agg.time_since_last().over(sliding("1h")),
        "ratio": agg.ratio("amount", "items").over(tumbling("10m")),
        "pair": agg.correlation("amount", "items").over(lifetime()),
        "started": agg.min("at").over(session("10m")),
    },
)

events = st.fixed_dictionaries(
    {
        "card_id": st.sampled_from(["a", "b", "c", None]),
        "shop": st.sampled_from(["x", "y", None]),
        "online": st.booleans(),
        "amount": st.none() | st.sampled_from([13.0, 0.1, 90.5]) | st.floats(0, 100),
        "items": st.none() | st.integers(-5, 5),
        "zone": st.sampled_from([None, "Asia/Tokyo", "Nowhere", "Europe/Berlin"]),
        "back": st.sampled_from([0, 0, 1, 7, 60, 4_000, 90_000]),
    }
)
batches = st.lists(st.lists(events, max_size=6), min_size=1, max_size=6)
KEYS = {"card_id": ["a", "b", "c", "nobody"], "shop": ["x", "y"], "online": [True, False]}


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    return type(one) is type(other) and bool(one == other)


def plain(value: Any) -> Any:
    """Values of a set as serving writes them: instants as µs, maps as dicts."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, pl.Series):
        return [plain(one) for one in value.to_list()]
    if hasattr(value, "timestamp"):
        since_epoch = value - value.__class__(1970, 1, 1, tzinfo=value.tzinfo)
        return (
            since_epoch.days * 86_400 + since_epoch.seconds
        ) * SECOND_US + since_epoch.microseconds
    return value


def spine_at(at_us: list[int]) -> pl.DataFrame:
    cards = pl.DataFrame({"card_id": KEYS["card_id"]})
    places = pl.DataFrame({"shop": KEYS["shop"]}).join(
        pl.DataFrame({"online": KEYS["online"]}), how="cross"
    )
    both = pl.concat([cards, places], how="horizontal")
    return both.join(pl.DataFrame({"at": at_us}), how="cross")


def served(driver: tg.TestDriver, at_us: int) -> dict[tuple[str, int, int], tuple[Any, Status]]:
    """What serving answers at an instant: by feature, row of the keys, and instant."""
    found = {}
    spine = spine_at([at_us])
    for view, keys in ((spend, ["card_id"]), (shops, ["shop", "online"])):
        reply = driver.read(view, {name: spine[name].to_list() for name in keys}, as_of=at_us)
        for name, values in reply.values.items():
            for row, value in enumerate(values):
                status = Status(reply.statuses[name][row])
                found[name, row, at_us] = (value, status)
    return found


def compare(made: pl.DataFrame, expected: dict[tuple[str, int, int], tuple[Any, Status]]) -> None:
    """Every value and status of a set; before the first event it says so instead of zeros."""
    times = {at: n for n, at in enumerate(dict.fromkeys(made["at"].to_list()))}
    lists = {name: made[name].to_list() for name in made.columns}
    for (name, row, at_us), (value, status) in expected.items():
        place = row * len(times) + times[at_us]
        got, told = plain(lists[name][place]), lists[f"{name}|status"][place]
        if told == "BEFORE_HISTORY":
            assert status is Status.NOT_FOUND
            continue
        shown = f"{name} of key {row} at {at_us}: {got!r} {told}, served {value!r} {status.name}"
        if status is Status.COARSE:
            continue  # tiles were cut; a set never is
        assert told == status.name, shown
        assert alike(got, value), shown


@settings(max_examples=3)
@given(batches=batches, partitions=st.integers(1, 2))
def test_law_values_are_those_that_were_served(batches, partitions):
    """By clock `known` what was served live, by clock `event` what `as_of` says afterwards."""
    with tg.TestDriver(spend, shops, at=START_US) as driver:
        live: dict[tuple[str, int, int], tuple[Any, Status]] = {}
        asked = []
        for number, batch in enumerate(batches):
            driver.advance_to(START_US + number * STEP_US)
            for partition in range(partitions):
                mine = [
                    {k: v for k, v in one.items() if k != "back"}
                    | {"at": driver.clock() - one["back"] * SECOND_US - place}
                    for place, one in enumerate(batch)
                    if place % partitions == partition
                ]
                if mine:
                    driver.send("payments", mine, partition=str(partition))
            driver.advance_to(driver.clock() + 1)
            asked.append(driver.clock())
            live |= served(driver, driver.clock())
            if number % 2:
                driver.engine.archiving.flush()
        after = {k: v for at_us in asked for k, v in served(driver, at_us).items()}
        spine = spine_at(asked)
        options: dict[str, Any] = {"include": ["status"], "project": driver.settings}
        known = tg.training_set(spine, [spend, shops], clock="known", **options)
        compare(known.to_polars(), live)
        event = tg.training_set(spine, [spend, shops], **options)
        compare(event.to_polars(), after)
        assert known.late_rows == 0
        small = tg.training_set(
            spine, [spend, shops], clock="known", memory_bytes=1 << 20, **options
        )
        assert small.manifest["hash"] == known.manifest["hash"]
