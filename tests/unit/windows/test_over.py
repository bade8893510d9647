"""Aggregates over windows that order cuts, as they are finished."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tegula as tg
from tegula.state.keys import encode_key
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import (
    NOTHING,
    NULL,
    Column,
    OfNothing,
    Order,
    Reading,
    Runs,
    States,
    concat,
    take,
)
from tegula.windows.over import OverRows

NOON_US = 1_714_564_800_000_000
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


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
    assert reply.bounds["view:visit"][0][0] == NOON_US - 10 * MINUTE_US
    assert reply.bounds["view:visit"][1][0] == NOON_US - 2 * MINUTE_US + 1
    assert reply.bounds["view:two"][0][0] == NOON_US - 5 * MINUTE_US
    assert reply.bounds["view:two"][1][0] == NOON_US


def over_rows(aggregate: str, count: int, skip: int, within_us: int | None) -> OverRows:
    return OverRows(AGGREGATES[aggregate], "int", count + skip, skip=skip, within_us=within_us)


def states_of(over: OverRows, times: list[int]) -> States:
    """The state of rows whose values are their times, and of a key without any."""
    order = Order(np.array(times), np.zeros(len(times), np.int64), np.arange(len(times)))
    runs = Runs(np.zeros(min(len(times), 1), np.int64), len(times))
    mine = over.rows.lift(Column(np.array(times, np.int64)), order, runs)
    return take(concat((mine, over.rows.zero(2))), np.arange(2))


@given(
    st.lists(st.integers(0, 12), max_size=9).map(sorted),
    st.integers(1, 4),
    st.integers(0, 3),
    st.none() | st.integers(1, 14),
)
def test_law_the_newest_of_a_span_are_those_of_the_definition(times, count, skip, within):
    inside = [us for us in times if within is None or us >= 13 - within]
    expected = inside[: max(len(inside) - skip, 0)][-count:]
    for aggregate, value in (
        ("count", len(expected)),
        ("first", expected[0] if expected else None),
        ("last", expected[-1] if expected else None),
    ):
        over = over_rows(aggregate, count, skip, within)
        states = states_of(over, times)
        at = Reading(*(np.full(2, us) for us in (13, -99, 13)))
        values, codes = over.finish_at((states,), {}, at)
        assert (values[0] if codes[0] != NULL else None) == value
        assert codes[1] == (NOTHING if aggregate == "count" else NULL)
        alone = over.finish_one_at((tuple(f[0].as_py() for f in states),), {}, Reading(13, -99, 13))
        assert (alone.value if isinstance(alone, OfNothing) else alone) == value
        bounds, counts = over.counted((states,), {}, at)
        assert counts.tolist() == [bool(expected), False]
        older = -99 if within is None else 13 - within
        assert bounds.start_us.tolist() == [expected[0] if expected else older, older]


def view_over(window: object) -> tg.FeatureView:
    """A count and a sum over a window, of a stream and a view that keep nothing beyond it."""
    return tg.FeatureView(
        "view",
        entity=tg.Entity("name", keys={"k": tg.String}),
        stream=tg.Stream(
            "events",
            schema={"k": tg.String, "x": tg.Float64, "at": tg.Timestamp.of("us")},
            event_time="at",
            disorder="0s",
        ),
        features={"n": tg.agg.count().over(window), "x": tg.agg.sum("x").over(window)},
        history="0s",
    )


@pytest.mark.parametrize("included", [False, True])
def test_the_newest_of_a_span_leave_it_to_the_microsecond(included):
    view = view_over(tg.last(2, within="1h", include_instant=included))
    leaves_us = NOON_US + HOUR_US + (not included)
    with tg.TestDriver(view, at=NOON_US) as driver:
        driver.send("events", [{"k": "a", "x": 5.0, "at": NOON_US}])
        for at_us, n in (
            (NOON_US, int(included)),
            (NOON_US + 1, 1),
            (leaves_us - 1, 1),
            (leaves_us, 0),
        ):
            driver.advance_to(at_us)
            reply = driver.read(["view:n", "view:x"], {"k": ["a"]})
            assert (reply.values["view:n"], reply.values["view:x"]) == ([n], [5.0 * n])
        assert reply.statuses["view:n"] == [tg.Status.NOT_FOUND]


def test_the_newest_of_a_span_are_gone_alike_whether_swept_or_not():
    # One event is told apart from none by its time, not by whether its tile is still there.
    view = view_over(tg.last(2, within="1h"))
    with tg.TestDriver(view, at=NOON_US) as driver:
        driver.send("events", [{"k": "a", "x": 5.0, "at": NOON_US}])
        driver.advance_to(NOON_US + HOUR_US + 1)
        few = driver.read(["view:n"], {"k": ["a"]})
        many = driver.read(["view:n"], {"k": ["a", *(f"nobody {n}" for n in range(100))]})
        assert few.statuses["view:n"] == [tg.Status.NOT_FOUND]
        assert many.statuses["view:n"][0] == tg.Status.NOT_FOUND


def test_the_newest_before_some_newer_ones_are_empty_until_there_are_more():
    view = view_over(tg.last(2, skip=1))
    with tg.TestDriver(view, at=NOON_US) as driver:
        found = []
        for x in (1.0, 2.0, 4.0, 8.0):
            driver.send("events", [{"k": "a", "x": x, "at": driver.clock()}])
            driver.advance_to(driver.clock() + 1)
            reply = driver.read(["view:n", "view:x"], {"k": ["a"]})
            found.append((reply.values["view:n"][0], reply.values["view:x"][0]))
            assert (reply.statuses["view:n"][0] == tg.Status.EMPTY) == (len(found) == 1)
        assert found == [(0, 0.0), (1, 1.0), (2, 3.0), (2, 6.0)]


def test_a_session_that_reaches_back_to_one_that_was_dropped_gives_no_wrong_number():
    """Partition 1 falls silent, sessions are dropped without it, and then its events come."""
    view = view_over(tg.session("10m", lateness="30m"))
    start_us = NOON_US - 4 * HOUR_US
    with tg.TestDriver(view, at=start_us, shards=1) as driver:

        def send(partition: str, minutes: int) -> None:
            row = {"k": "a", "x": 1.0, "at": start_us + minutes * MINUTE_US}
            driver.send("events", [row], partition=partition)
            driver.settle()

        send("0", 0)
        send("1", 0)
        driver.advance_to(NOON_US)
        send("0", 121)
        send("0", 240)
        engine = driver.engine
        (build, shape), *_ = engine.ingest.committer.shapes.items()
        key = encode_key(("a",), ("string",))
        engine.ingest.committer.fold(0, build, [key], shape, NOON_US)
        for minutes in range(5, 240, 5):
            send("1", minutes)
        driver.advance_to(NOON_US + 1)
        assert driver.outcomes("view")["folded"] == 4 + 47
        many = {"k": ["a", *(f"nobody {n}" for n in range(100))]}
        for keys in ({"k": ["a"]}, many):
            reply = driver.read(["view:n", "view:x"], keys)
            for name in ("view:n", "view:x"):
                found = reply.values[name][0], tg.Status(reply.statuses[name][0])
                assert found in ((51, tg.Status.PRESENT), (None, tg.Status.OVERFLOW))
        # A session of its own is whole again.
        driver.advance_to(NOON_US + HOUR_US)
        send("1", 300)
        driver.advance_to(NOON_US + HOUR_US + 1)
        assert driver.read(["view:n"], {"k": ["a"]}).values["view:n"] == [1]
