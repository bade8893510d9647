"""Departures from New York: how busy and how late each airport, route and aircraft is."""

from __future__ import annotations

import polars as pl

import tegula as tg
from tegula import agg, sliding

flights = tg.Stream(
    "flights",
    schema={
        "at": tg.Timestamp,
        "carrier": tg.String,
        "origin": tg.String,
        "dest": tg.String,
        "tailnum": tg.String,
        "delay": tg.Int64,
        "air_time": tg.Int64,
        "distance": tg.Float64,
    },
    event_time="at",
    partition_by="origin",
    owner="demo",
    description="Every departure; a cancelled flight has no delay, and its scheduled time.",
)

airport = tg.Entity("airport", keys={"origin": tg.String})
route = tg.Entity("route", keys={"carrier": tg.String, "origin": tg.String})
aircraft = tg.Entity("aircraft", keys={"tailnum": tg.String})

departed = pl.col("delay").is_not_null()

every = {
    "departures": agg.count(),
    "delay_mean": agg.mean("delay"),
    "delay_max": agg.max("delay"),
    "delay_min": agg.min("delay"),
    "delay_stddev": agg.stddev("delay"),
    "minutes": agg.sum("air_time"),
    "miles": agg.sum("distance"),
    "last_dest": agg.last("dest"),
    "dests": agg.approx_distinct("dest"),
}
shared = {**every, "aircraft": agg.approx_distinct("tailnum")}


def over_windows(aggregates):
    """Each aggregate over each length, as in `departures_7d`."""
    return {
        f"{name}_{length}": aggregate.over(sliding(length))
        for length in ("1h", "24h", "7d", "30d")
        for name, aggregate in aggregates.items()
    }


airports = tg.FeatureView(
    "airports",
    entity=airport,
    stream=flights,
    where=departed,
    features=over_windows(shared),
    owner="demo",
)
routes = tg.FeatureView(
    "routes",
    entity=route,
    stream=flights,
    where=departed,
    features=over_windows(shared),
    owner="demo",
)
planes = tg.FeatureView(
    "planes",
    entity=aircraft,
    stream=flights,
    where=departed,
    features=over_windows(every),
    owner="demo",
)

delays = tg.FeatureService("delays", version=1, features=[airports, routes, planes], owner="demo")
