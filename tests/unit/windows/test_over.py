"""Aggregates over windows that order cuts, as they are finished."""

from __future__ import annotations

import tegula as tg


def test_bounds_of_a_window_that_order_cuts_are_those_of_its_events():
    view = tg.FeatureView(
        "view",
        entity=tg.Entity("name", keys={"k": tg.String}),
        stream=tg.Stream(
            "events", schema={"k": tg.String, "x": tg.Float64, "at": tg.Timestamp}, event_time="at"
        ),
        features={
            "visit": tg.agg.count().over(tg.session("10m")),
            "two": tg.agg.sum("x").over(tg.last(2)),
        },
    )
    with tg.TestDriver(view, at="2024-05-01T12:00:00Z") as driver:
        times = ("10:00:00", "11:50:00", "11:55:00", "11:58:00")
        driver.send("events", [{"k": "a", "x": 1.0, "at": f"2024-05-01T{t}Z"} for t in times])
        driver.settle()
        features = ["view:visit", "view:two"]
        reply = driver.read(features, {"k": ["a", "b"]})
    noon = 1_714_564_800_000_000
    minute = 60_000_000
    assert reply.bounds["view:visit"][0][0] == noon - 10 * minute
    assert reply.bounds["view:visit"][1][0] == noon - 2 * minute + 1
    assert reply.bounds["view:two"][0][0] == noon - 5 * minute
    assert reply.bounds["view:two"][1][0] == noon
