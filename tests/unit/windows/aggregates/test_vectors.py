"""Vectors: each element against exact fractions, and which events are vectors at all."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import UnsupportedInput
from tegula.schemas.signatures import COLUMNS_MAX
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import OVERFLOWED
from tests.oracle import naive
from tests.oracle.naive_values import VALUES, Held
from tests.support.aggregates import finished

numbers = {
    "float": st.floats(1e-4, 1e6) | st.floats(-1e6, -1e-4) | st.just(0.0),
    "int": st.integers(-9, 9) | st.integers(-(2**62), 2**62),
    "bool": st.integers(0, 1),
}


@pytest.mark.parametrize("name", ["vector_sum", "vector_mean"])
@given(data=st.data(), kinds=st.lists(st.sampled_from(list(numbers)), min_size=2, max_size=5))
def test_oracle_elements_are_those_of_exact_fractions(name, data, kinds):
    row = st.tuples(*(st.none() | numbers[kind] | numbers[kind] for kind in kinds))
    rows = data.draw(st.lists(row, max_size=20))
    cut = data.draw(st.integers(0, max(len(rows) - 1, 0)))
    present = [one for one in rows if None not in one]
    expected: Any = [0.0] * len(kinds) if name == "vector_sum" else None
    if present:
        held = [tuple(map(Fraction, one)) for one in present]
        expected = [float(value) for value in VALUES[name](Held(held, [], {}, 0, 0, 0))]
    assert naive.same(finished(name, ",".join(kinds), rows, cut=cut), expected)


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        ("vector_sum", [(1.0, 2, 3.0), (0.5, 0, -3.0)], [1.5, 2.0, 0.0]),
        ("vector_mean", [(1.0, 2, 3.0), (0.5, 0, -3.0)], [0.75, 1.0, 0.0]),
        ("vector_sum", [(1.0, None, 3.0), (None, 5, 2.0), (2.0, 5, None)], [0.0, 0.0, 0.0]),
        ("vector_mean", [(1.0, None, 3.0)], None),
        ("vector_sum", [], [0.0, 0.0, 0.0]),
        ("vector_sum", [(1e308, 1, 0.0), (1e308, 1, 0.0)], OVERFLOWED),
        ("vector_mean", [(0.0, 1, 1e308), (0.0, 1, 1e308)], OVERFLOWED),
        ("vector_sum", [(1e16, 1, 1.0), (1.0, 1, 0.5), (-1e16, 1, 0.5)], [1.0, 3.0, 2.0]),
    ],
)
def test_vectors_at_the_edges_of_their_meaning(name, rows, expected):
    assert finished(name, "float,int,float", rows, cut=len(rows) // 2) == expected


def test_elements_share_the_states_of_pairs_and_of_each_other():
    of_three = [need.monoid for need in AGGREGATES["vector_sum"].needs("float,int,float", {})]
    of_two = [need.monoid for need in AGGREGATES["ratio"].needs("float,int", {})]
    assert of_three[:2] == of_two
    assert [one.name for one in of_three] == ["firsts", "seconds", "elements_2"]
    mean = AGGREGATES["vector_mean"].needs("float,int,float", {})
    assert [need.monoid for need in mean][:3] == of_three


@pytest.mark.parametrize(
    "kind", [None, "float", "float,string", "int,int,time", ",".join(["int"] * (COLUMNS_MAX + 1))]
)
@pytest.mark.parametrize("name", ["vector_sum", "vector_mean"])
def test_what_is_no_vector_is_refused(name, kind):
    with pytest.raises(UnsupportedInput, match="several columns"):
        AGGREGATES[name].needs(kind, {})
