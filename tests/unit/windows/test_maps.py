"""Maps as they are finished: their bound, values that overflow, values that are null."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import tegula as tg
from tegula import agg, lifetime, sliding
from tegula.schemas.errors import UnsupportedInput
from tegula.schemas.outcomes import Status
from tegula.schemas.types import Float64, Int64, String, Timestamp, list_of, map_of
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import NULL, OVERFLOW, OVERFLOWED, VALUE, Column, Order, Reading, Runs
from tegula.windows.maps import ByCategory

AT = Reading(np.array([10_000_000]), np.array([0]), np.array([10_000_000]))
STREAM = tg.Stream(
    "events",
    schema={"k": tg.String, "x": tg.Float64, "n": tg.Int64, "shop": tg.String, "at": tg.Timestamp},
    event_time="at",
)


def finished(name, kind, values, shops, params=None, cap=100):
    """The map of one key by every way there is to it, and its code."""
    params = params or {}
    aggregate = ByCategory(AGGREGATES[name], kind, "string", cap)
    (need,) = aggregate.needs(f"{kind},string", params)
    rows = np.arange(len(values))
    column = Column(np.array(values), None, pa.array(shops, pa.large_binary()))
    runs = Runs(np.zeros(min(1, len(values)), np.int64), len(values))
    state = need.monoid.lift(column, Order(rows, rows, rows), runs) if len(rows) else ()
    state = state or need.monoid.zero(1)
    (value,), (code,) = aggregate.finish_at((state,), params, AT)
    alone = aggregate.finish_one_at((tuple(field[0].as_py() for field in state),), params, AT)
    value = {NULL: None, OVERFLOW: OVERFLOWED, VALUE: value.as_py()}[code]
    assert alone == value
    return value


def test_each_category_is_finished_as_a_key_is():
    assert finished("sum", "float", [1.0, 2.0, 4.0], [b"a", b"b", b"a"]) == [
        (b"a", 5.0),
        (b"b", 2.0),
    ]
    assert finished("variance", "float", [1.0, 2.0, 3.0], [b"a", b"b", b"a"]) == [
        (b"a", 2.0),
        (b"b", None),
    ]
    params = {"edges": [2.0]}
    assert finished("histogram", "float", [1.0, 2.0, 3.0], [b"a", b"a", b"b"], params) == [
        (b"a", [1, 1]),
        (b"b", [0, 1]),
    ]


def test_an_instant_of_reading_is_that_of_the_key():
    assert finished("rate", "int", [1, 1, 1], [b"a", b"b", b"a"], {"per": "10s"}) == [
        (b"a", 2.0),
        (b"b", 1.0),
    ]


def test_what_is_past_the_cap_is_finished_as_one():
    shops = [b"a", b"a", b"a", b"b", b"b", b"c", b"d"]
    values = [1, 2, 3, 10, 20, 100, 300]
    assert finished("mean", "int", values, shops, cap=1) == [(b"a", 2.0), (b"__other__", 107.5)]
    assert finished("mean", "int", values, shops, cap=4)[2:] == [(b"c", 100.0), (b"d", 300.0)]


def test_a_map_without_categories_is_null():
    assert finished("sum", "int", [], []) is None


def test_a_value_that_overflows_makes_the_map_overflow():
    big = 2**63 - 1
    assert finished("sum", "int", [big, 1, 5], [b"a", b"b", b"c"])[0] == (b"a", big)
    assert finished("sum", "int", [big, 1, 5], [b"a", b"a", b"c"]) is OVERFLOWED
    assert finished("sum", "int", [5, 5, big, 1], [b"c", b"c", b"a", b"b"], cap=1) is OVERFLOWED


def test_output_is_a_map_of_what_the_aggregate_gives():
    def output(name, kind, dtype):
        return ByCategory(AGGREGATES[name], kind, "int", 5).output(dtype, {"edges": [1]})

    assert output("sum", "int", Int64) == map_of(Int64)
    assert output("last", "time", Timestamp.of("ms")) == map_of(Timestamp)
    assert output("histogram", "float", Float64) == map_of(list_of(Int64))
    assert output("count", None, String) == map_of(Int64)


def test_a_state_without_a_fixed_size_is_refused():
    with pytest.raises(UnsupportedInput, match="each category"):
        ByCategory(AGGREGATES["median"], "float", "string", 5).needs("float,string", {})


def test_more_categories_than_are_kept_overflow_for_one_key_and_for_many_in_any_order():
    view = tg.FeatureView(
        "v",
        entity=tg.Entity("name", keys={"k": tg.String}),
        stream=STREAM,
        features={
            "ever": agg.sum("x", by="shop", cap=2).over(lifetime()),
            "hour": agg.sum("x", by="shop", cap=2).over(sliding("1h"), default={}),
        },
    )

    def event(key, place, at):
        return {"k": key, "x": 1.0, "shop": f"s{place}", "at": f"2024-05-01T{at}Z"}

    with tg.TestDriver(view, at="2024-05-01T12:00:00Z") as driver:
        for begin in (0, 400, 800):
            some = range(begin, begin + 400)
            driver.send("events", [event("a", place, "10:00:00") for place in some])
            driver.send("events", [event("b", place % 1024, "10:00:00") for place in some])
            driver.settle()
        driver.send("events", [event("a", 7, "11:30:00"), event("b", 7, "11:30:00")])
        one = driver.online(view, {"k": "a"}), driver.statuses(view, {"k": "a"})
        assert one[0] == {"v:ever": None, "v:hour": {"s7": 1.0}}
        assert one[1] == {"v:ever": Status.OVERFLOW, "v:hour": Status.PRESENT}
        many = driver.read(["v:ever", "v:hour"], {"k": ["a", "b", *map(str, range(70))]})
        assert many.values["v:ever"][:3] == [
            None,
            {"s7": 3.0, "s0": 2.0, "__other__": 1196.0},
            None,
        ]
        assert many.values["v:hour"][1:3] == [{"s7": 1.0}, {}]
        assert many.statuses["v:ever"][:3] == [Status.OVERFLOW, Status.PRESENT, Status.NOT_FOUND]
