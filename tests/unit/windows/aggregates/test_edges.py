"""What each aggregate does at the edges of its range, and what its states look like."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tegula.windows.aggregates import AGGREGATES, MONOIDS
from tegula.windows.aggregates.distinct import EXACT_MAX
from tegula.windows.algebra import OVERFLOWED, Column, Group, Order, Runs, States, concat

ONE_RUN = np.array([0])
HUGE = 1.7e308


def lift(monoid: str, values: object, valid: object = None) -> States:
    places = np.arange(len(values))
    column = Column(values, None if valid is None else np.array(valid))
    return MONOIDS[monoid].lift(column, Order(places, places, places), Runs(ONE_RUN, len(values)))


def value_of(name: str, kind: str, values: list) -> object:
    array = np.array(values, "f8" if kind == "float" else "i8")
    needs = AGGREGATES[name].needs(kind, {})
    states = tuple(need.monoid.reduce_one(lift(need.monoid.name, array)) for need in needs)
    columns = tuple(lift(need.monoid.name, array) for need in needs)
    _, codes = AGGREGATES[name].finish(columns, {})
    value = AGGREGATES[name].finish_one(states, {})
    assert (value is OVERFLOWED) == (codes[0] == 2)
    return value


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("sum", "int", [2**63 - 1, 1]),
        ("sum", "int", [-(2**63), -1]),
        ("sum", "float", [HUGE, HUGE]),
        ("mean", "float", [HUGE, HUGE]),
        ("variance", "float", [1e200, -1e200]),
        ("stddev", "float", [1e200, -1e200]),
    ],
)
def test_value_beyond_the_range_overflows(name, kind, values):
    assert value_of(name, kind, values) is OVERFLOWED


@pytest.mark.parametrize(
    ("name", "kind", "values", "expected"),
    [
        ("sum", "int", [2**63 - 1, 1, -1], 2**63 - 1),
        ("sum", "float", [HUGE, HUGE, -HUGE], HUGE),
        ("mean", "int", [2**63 - 1] * 3, 2.0**63),
        ("variance", "int", [2**63 - 1, 2**63 - 3], 2.0),
        ("variance", "int", [2**63 - 1, -(2**63)], (2.0**64 - 1) ** 2 / 2),
        ("variance", "float", [0.1] * 10, 0.0),
        ("stddev", "float", [1e9 + 1, 1e9 + 1, 1e9 + 4], 3.0**0.5),
        ("variance", "float", [1e14, 1e14 + 1, 1e14 + 2], 1.0),
        ("min", "float", [-0.0, 0.0], 0.0),
        ("max", "int", [-(2**63), -(2**63)], -(2**63)),
    ],
)
def test_value_within_the_range_is_right_whatever_is_passed_on_the_way(
    name, kind, values, expected
):
    assert value_of(name, kind, values) == expected


def test_sum_after_retraction_of_everything_is_zero_without_residue():
    monoid = MONOIDS["sum_float"]
    assert isinstance(monoid, Group)
    a, b = lift("sum_float", np.array([1e300, 0.1])), lift("sum_float", np.array([0.3, 1e-300]))
    both = monoid.reduce(concat((a, b)), Runs(ONE_RUN, 2))
    left = monoid.subtract(monoid.subtract(both, a), b)
    values, _ = AGGREGATES["sum"].finish((left, (np.array([0]),)), {})
    assert values.tolist() == [0.0]


def test_min_of_strings_knows_the_empty_string_from_none():
    strings = pa.array([b"", b"b"], pa.large_binary())
    assert lift("min_bytes", strings)[0].to_pylist() == [b"\x01"]
    assert lift("min_bytes", strings, [False, True])[0].to_pylist() == [b"\x01b"]
    assert lift("max_bytes", strings, [False, False])[0].to_pylist() == [b""]


def test_max_of_strings_is_of_code_points_not_of_utf16_units():
    strings = pa.array([s.encode() for s in ("\uffee", "\U0001f600", "z")], pa.large_binary())
    assert lift("max_bytes", strings)[0].to_pylist() == [b"\x01" + "\U0001f600".encode()]


def test_min_reads_a_slice_of_a_longer_column():
    strings = pa.array([b"a", b"d", b"c", b"b"], pa.large_binary())[1:]
    state = lift("min_bytes", strings)
    many = concat((state, MONOIDS["min_bytes"].zero(2)))
    values, codes = AGGREGATES["min"].finish(((many[0][1:],), (np.array([0, 0]),)), {})
    assert codes.tolist() == [0, 0]
    values, _ = AGGREGATES["min"].finish((many, (np.array([3, 0, 0]),)), {})
    assert values.to_pylist() == [b"b", b"", b""]


@pytest.mark.parametrize(("name", "expected"), [("first_int", 40), ("last_int", 20)])
def test_equal_event_times_are_ordered_by_partition_and_offset(name, expected):
    monoid = MONOIDS[name]
    states = (
        np.array([5, 5, 5, 5]),
        np.array([1, 2, 1, 0]),
        np.array([9, 3, 8, 99]),
        np.array([10, 20, 30, 40]),
    )
    for turn in range(4):
        turned = tuple(np.roll(field, turn) for field in states)
        assert monoid.reduce(turned, Runs(ONE_RUN, 4))[3].tolist() == [expected]
        assert monoid.reduce_one(turned)[3] == expected


def test_first_finds_a_value_at_the_least_instant_there_is():
    least = np.array([-(2**63)])
    monoid = MONOIDS["last_float"]
    state = monoid.lift(
        Column(np.array([1.5])), Order(least, np.array([0]), np.array([0])), Runs(ONE_RUN, 1)
    )
    merged = monoid.reduce(concat((monoid.zero(1), state)), Runs(ONE_RUN, 2))
    assert AGGREGATES["last"].finish((merged,), {})[0].tolist() == [1.5]


def distinct_state(count: int, start: int = 0) -> bytes:
    (state,) = lift("distinct_hashes", np.arange(start, start + count))
    return state.to_pylist()[0]


@pytest.mark.parametrize("count", [1, EXACT_MAX - 1, EXACT_MAX])
def test_distinct_is_exact_up_to_its_bound(count):
    state = distinct_state(count)
    assert (state[0], len(state)) == (1, 8 + 8 * count)
    assert AGGREGATES["approx_distinct"].finish_one(((state,),), {}) == count


def test_distinct_beyond_its_bound_is_registers_of_fixed_size():
    for count in (EXACT_MAX + 1, 50_000):
        state = distinct_state(count)
        assert (state[0], len(state)) == (2, 8 + 4096)
        value = AGGREGATES["approx_distinct"].finish_one(((state,),), {})
        assert abs(value / count - 1) < 0.05


@pytest.mark.parametrize(
    "sizes", [(300, 300), (512, 1), (600, 100), (100, 600), (600, 600), (5, 5)]
)
def test_distinct_state_depends_on_the_set_only(sizes):
    """Small and large parts, in both orders, overlapping: the state is that of the whole."""
    first, second = sizes
    monoid = MONOIDS["distinct_hashes"]
    parts = [distinct_state(first), distinct_state(second, first), distinct_state(first), b""]
    whole = distinct_state(first + second)
    for turn in range(4):
        column = pa.array(parts[turn:] + parts[:turn], pa.large_binary())
        assert monoid.reduce((column,), Runs(ONE_RUN, 4))[0].to_pylist() == [whole]
        assert monoid.reduce_one((column,)) == (whole,)


def test_distinct_of_many_keys_at_once_is_that_of_each():
    monoid = MONOIDS["distinct_hashes"]
    sizes = [3, 700, 1, 512, 513, 2000, 2]
    values = np.concatenate([np.arange(size) for size in sizes])
    runs = Runs.of_lengths(np.array(sizes))
    places = np.arange(runs.size)
    (states,) = monoid.lift(Column(values), Order(places, places, places), runs)
    assert states.to_pylist() == [distinct_state(size) for size in sizes]
    values, codes = AGGREGATES["approx_distinct"].finish(((states,),), {})
    exact = [i for i, size in enumerate(sizes) if size <= EXACT_MAX]
    assert [values[i] for i in exact] == [sizes[i] for i in exact]
    assert codes.tolist() == [1] * len(sizes)


def test_distinct_tells_hashes_apart_that_share_their_leading_bits(monkeypatch):
    """The fast sort looks at the top bits of a hash; sets are right where those do not differ."""
    from tegula.windows.aggregates import distinct

    close = np.array([2**40 + 2, 2**40 + 1, 2**40 + 2, 2**40 + 3], np.uint64)
    monkeypatch.setattr(distinct, "hash_values", lambda values: close[values])
    runs = Runs.of_lengths(np.array([4] * 1000))
    places = np.arange(runs.size)
    column = Column(np.tile(np.arange(4), 1000))
    (states,) = MONOIDS["distinct_hashes"].lift(column, Order(places, places, places), runs)
    expected = bytes([1] + [0] * 7) + np.array([1, 2, 3], "<u8").__add__(2**40).tobytes()
    assert set(states.to_pylist()) == {expected}
