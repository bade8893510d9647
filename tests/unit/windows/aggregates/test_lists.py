"""Aggregates that keep several values, against plain Python, and what their bytes look like."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import BadParameter
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import OVERFLOWED, Column, Order, Runs
from tests.oracle import naive
from tests.oracle.naive_values import VALUES, Held
from tests.support.aggregates import column_of, finished, takes

PARAMS: dict[str, dict[str, Any]] = {
    "first_n": {"n": 3},
    "last_n": {"n": 3},
    "lag": {"n": 2},
    "top_n": {"n": 3},
    "top_n_by": {"n": 3},
    "last_n_by": {"n": 3},
    "distinct": {"cap": 50},
    "union": {"cap": 80},
    "mode": {"cap": 50},
    "entropy": {"cap": 50},
    "histogram": {"edges": [-2.0, 0.0, 0.5]},
    "min_by": {},
    "max_by": {},
}
some = {
    "float": st.sampled_from([-0.0, 0.0, 0.5, -2.5]) | st.floats(-1e6, 1e6),
    "int": st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1),
    "bool": st.integers(0, 1),
    "time": st.integers(0, 2 * 10**15),
    "string": st.sampled_from([b"", b"a", b"a\x00"]) | st.text(max_size=5).map(str.encode),
}
some |= {
    f"list[{kind}]": st.lists(st.none() | some[kind], max_size=4)
    for kind in ("float", "int", "bool", "string")
}
KINDS = [*some, *(f"{first},{second}" for first in some for second in some)]
CASES = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in PARAMS
    for kind in KINDS
    if takes(name, kind)
]


@pytest.mark.parametrize(("name", "kind"), CASES)
@given(data=st.data())
def test_oracle_items_are_those_of_plain_python(name, kind, data):
    parts = [st.none() | some[one] for one in kind.split(",")]
    values = data.draw(st.lists(parts[0] if len(parts) == 1 else st.tuples(*parts), max_size=20))
    cut = data.draw(st.integers(0, max(len(values) - 1, 0)))
    given = values
    if kind.startswith("list["):
        given = [[one for one in row or () if one is not None] or None for row in values]
    present = [one for one in given if naive.usable(one)]
    expected = None
    if present or name == "histogram":
        expected = VALUES[name](Held(present, range(len(present)), PARAMS[name], 0, 0, 0))
    assert naive.same(finished(name, kind, values, PARAMS[name], cut), expected)


@pytest.mark.parametrize("name", ["distinct", "mode", "entropy"])
@pytest.mark.parametrize("kind", ["int", "string"])
def test_past_its_bound_a_set_overflows_in_every_grouping(name, kind):
    given: list[Any] = list(range(4)) if kind == "int" else [b"", b"b", b"c", b"d"]
    for cut in range(4):
        assert finished(name, kind, given, {"cap": 3}, cut) is OVERFLOWED
        assert finished(name, kind, given[1:] * 3, {"cap": 3}, cut) is not OVERFLOWED


def test_union_past_its_bound_overflows_whether_within_one_list_or_over_many():
    whole, parts = [[b"a", b"b", b"c"]], [[b"a", b"b"], [], None, [b"b", None, b"c"]]
    for cap, expected in ((2, OVERFLOWED), (3, [b"a", b"b", b"c"])):
        assert finished("union", "list[string]", whole, {"cap": cap}) == expected
        for cut in range(4):
            assert finished("union", "list[string]", parts, {"cap": cap}, cut) == expected


def test_union_keeps_the_state_that_distinct_keeps_of_the_elements():
    lists = [[3, 1, None], [], None, [3]]
    elements = [3, 1, None, 3]
    assert state_of("union", "list[int]", lists, {}) == state_of("distinct", "int", elements, {})


def test_overflowed_states_absorb_and_leave_their_neighbours_alone():
    (need,) = AGGREGATES["distinct"].needs("string", {"cap": 2})
    words = [[b"a", b"b", b"c"], [b"x"], [b"d"], [b"a", b"b"]]
    runs = Runs.of_lengths(np.array([len(part) for part in words]))
    places = np.arange(runs.size)
    column = column_of("string", [word for part in words for word in part])
    states = need.monoid.lift(column, Order(places, places, places), runs)
    merged = need.monoid.reduce(states, Runs(np.array([0, 1, 2]), 4))
    values, codes = AGGREGATES["distinct"].finish((merged,), {"cap": 2})
    assert codes.tolist() == [2, 1, 2]
    assert values.to_pylist()[1] == [b"x"]
    again = need.monoid.reduce(merged, Runs(np.array([0]), 3))
    assert [field.to_pylist() for field in again] == [[field[0].as_py()] for field in merged]


def state_of(name: str, kind: str, values: list[Any], params: dict[str, Any]) -> list[bytes]:
    (need,) = AGGREGATES[name].needs(kind, params)
    count = len(values)
    order = Order(np.arange(count) + 7, np.ones(count, np.int64), np.arange(count) + 3)
    fields = need.monoid.lift(column_of(kind, values), order, Runs(np.array([0]), count))
    return [field.to_pylist()[0] for field in fields]


def test_golden_items_are_laid_out_as_described():
    """`windows/items.py` says it in words; these bytes must open for ever."""
    assert state_of("last_n", "float", [0.5, None, 2.0], {"n": 2}) == [
        struct.pack("<Q3qd3qd", 1, 7, 1, 3, 0.5, 9, 1, 5, 2.0)
    ]
    assert state_of("top_n", "int", [5, -1, 9], {"n": 2}) == [struct.pack("<Q2q", 2, 9, 5)]
    assert state_of("last_n_by", "int,float", [(5, 0.0), (6, -0.5)], {"n": 1}) == [
        struct.pack("<Q5q", 2, 0, 7, 1, 3, 5)
    ]
    assert state_of("top_n_by", "string,float", [(b"ab", -0.5)], {"n": 1}) == [
        struct.pack("<Q5q", 3, ~0x3FE0000000000000, 7, 1, 3, 2),
        b"ab",
    ]
    assert state_of("distinct", "string", [b"b", b"", b"b"], {"cap": 2}) == [
        struct.pack("<Q4q", 3, 1, 0, 2, 1),
        b"b",
    ]
    assert state_of("mode", "int", [1, 2, 3], {"cap": 2}) == [struct.pack("<Q2q", 2, -1, 0)]
    assert state_of("first_n", "string", [None], {"n": 2}) == [b"", b""]


def test_lag_of_one_is_last_n_of_two():
    (lag,) = AGGREGATES["lag"].needs("string", {"n": 1})
    (last,) = AGGREGATES["last_n"].needs("string", {"n": 2})
    assert lag.monoid == last.monoid


def test_of_equal_ones_the_top_has_the_earliest_and_the_last_has_the_latest():
    pairs = [(1, 7), (2, 7), (3, 7), (4, 6)]
    for cut in range(4):
        assert finished("top_n_by", "int,int", pairs, {"n": 2}, cut) == [1, 2]
        assert finished("last_n_by", "int,int", pairs, {"n": 2}, cut) == [2, 3]


def test_items_of_a_slice_are_those_of_the_slice():
    strings = pa.array([b"zz", b"a", b"b"], pa.large_binary())[1:]
    (need,) = AGGREGATES["top_n"].needs("string", {"n": 5})
    places = np.arange(2)
    states = need.monoid.lift(Column(strings), Order(places, places, places), Runs(places[:1], 2))
    values, _ = AGGREGATES["top_n"].finish((states,), {"n": 5})
    assert values.to_pylist() == [[b"b", b"a"]]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("last_n", {"n": 0}),
        ("last_n", {"n": 2.0}),
        ("lag", {"n": 1000}),
        ("distinct", {"cap": True}),
        ("histogram", {"edges": [1.0, 1.0]}),
        ("histogram", {"edges": []}),
    ],
)
def test_parameter_out_of_bounds_is_refused(name, params):
    with pytest.raises(BadParameter, match=name):
        AGGREGATES[name].needs("float", params)
