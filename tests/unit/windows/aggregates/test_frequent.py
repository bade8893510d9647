"""The most frequent values: exact of few, a function of the rows alone, and near beyond."""

from __future__ import annotations

import math
import struct
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from tegula.schemas.errors import BadParameter
from tegula.windows import count_sketch
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.aggregates.frequent import KEPT_MAX
from tegula.windows.algebra import Column, Order, Runs, States, concat, take
from tests.oracle.naive_values import VALUES, Held
from tests.support.aggregates import column_of, finished, takes

NAMES = ("approx_top_k", "approx_top_k_counts")
some = {
    "float": st.sampled_from([-0.0, 0.0, 0.5, -2.5]),
    "int": st.integers(-3, 3) | st.just(2**63 - 1),
    "bool": st.integers(0, 1),
    "time": st.integers(0, 5),
    "string": st.sampled_from([b"", b"a", b"a\x00", b"b"]),
}
CASES = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in NAMES
    for kind in some
    if takes(name, kind)
]


@pytest.mark.parametrize(("name", "kind"), CASES)
@given(data=st.data(), k=st.integers(1, 4))
def test_oracle_few_values_are_counted_exactly(name, kind, data, k):
    values = data.draw(st.lists(st.none() | some[kind], max_size=30))
    cut = data.draw(st.integers(0, max(len(values) - 1, 0)))
    present = [one for one in values if one is not None]
    expected = None
    if present:
        expected = VALUES[name](Held([plain(one) for one in present], [], {"k": k}, 0, 0, 0))
    found = finished(name, kind, values, {"k": k}, cut)
    if name.endswith("counts") and found is not None:
        found = {text.decode(): count for text, count in found}
        assert expected is not None
        assert [*found] == [*expected]
    elif found is not None:
        found = [plain(one) for one in found]
    assert found == expected


def plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def drawn(kind: str, count: int, different: int, seed: int) -> tuple[Column, Order, list[Any]]:
    """Zipf-like values of a column, at places that tell nothing about them."""
    chance = np.random.default_rng(seed)
    ranks = np.minimum(chance.zipf(1.2, count), different) * 7919
    places = chance.permutation(count)
    order = Order(np.sort(chance.integers(0, 10**9, count)), places % 3, places)
    values: list[Any] = ranks.tolist()
    if kind == "string":
        values = [f"shop {rank}".encode() for rank in values]
    return column_of(kind, values), order, values


def lifted(kind: str, column: Column, order: Order, runs: Runs) -> States:
    (need,) = AGGREGATES["approx_top_k"].needs(kind, {})
    return need.monoid.lift(column, order, runs)


@pytest.mark.parametrize("kind", ["int", "float", "string"])
def test_state_past_the_bound_is_the_same_however_it_was_put_together(kind, seed):
    column, order, values = drawn(kind, 6000, 3000, seed)
    assert len(set(values)) > KEPT_MAX
    (need,) = AGGREGATES["approx_top_k"].needs(kind, {})
    whole = lifted(kind, column, order, Runs(np.array([0]), 6000))
    chance = np.random.default_rng(seed)
    for _ in range(12):
        cuts = np.unique(np.append(0, chance.integers(1, 6000, chance.integers(1, 60))))
        parts = lifted(kind, column, order, Runs(cuts, 6000))
        while len(parts[0]) > 1:
            parts = take(parts, chance.permutation(len(parts[0])))
            ends = np.unique(np.append(0, chance.integers(0, len(parts[0]), 5)))
            parts = need.monoid.reduce(parts, Runs(ends, len(parts[0])))
        assert [field.to_pylist() for field in parts] == [field.to_pylist() for field in whole]


def test_rows_of_one_state_may_be_lifted_in_any_number_of_states(seed):
    """Full states and others beside each other do not feel their neighbours."""
    column, order, _ = drawn("int", 4000, 10_000, seed)
    runs = Runs(np.array([0, 5, 2500, 2501, 3900]), 4000)
    together = lifted("int", column, order, runs)
    for place, (begin, end) in enumerate(zip(runs.starts, runs.ends, strict=True)):
        rows = slice(int(begin), int(end))
        mine = Order(order.event_us[rows], order.ordinal[rows], order.offset[rows])
        alone = lifted("int", Column(column.values[rows]), mine, Runs(np.array([0]), end - begin))
        one = take(together, np.array([place]))
        assert [field.to_pylist() for field in one] == [field.to_pylist() for field in alone]


@pytest.mark.parametrize("kind", ["int", "string"])
def test_many_values_are_counted_within_the_bound(kind, seed):
    column, order, values = drawn(kind, 60_000, 20_000, seed)
    often = Counter(str(plain(one)) for one in values)
    squares = sum(count**2 for count in often.values())
    runs = Runs(np.array([0]), len(values))
    state = lifted(kind, column, order, runs)
    found, _ = AGGREGATES["approx_top_k_counts"].finish((state,), {"k": 100})  # type: ignore[union-attr]
    counted = {text.decode(): count for text, count in found.to_pylist()[0]}
    off = [
        abs(count - often[text]) > 3 * math.sqrt((squares - often[text] ** 2) / count_sketch.WIDTH)
        for text, count in counted.items()
    ]
    assert sum(off) <= 6  # 1.2 expected at most, each at most; far fewer as a rule
    shares = {text: count / len(values) for text, count in often.items()}
    heavy = {text for text, share in shares.items() if share > 0.02}
    assert heavy
    assert heavy <= counted.keys()
    assert all(count >= 1 for count in counted.values())
    listed, _ = AGGREGATES["approx_top_k"].finish((state,), {"k": 100})  # type: ignore[union-attr]
    assert [str(plain(one)) for one in listed.to_pylist()[0]] == [*counted]


def test_a_value_of_some_share_is_hardly_ever_missed(seed):
    """The bound of the sample, (1 - p)**512, over many states of other values that come once."""
    chance, missed, trials, share = np.random.default_rng(seed), 0, 300, 0.005
    rows = 2000
    column = np.where(np.arange(rows) < rows * share, -1, np.arange(rows))
    for _ in range(trials):
        order = Order(np.sort(chance.integers(0, 10**12, rows)), *[chance.permutation(rows)] * 2)
        state = lifted("int", Column(column), order, Runs(np.array([0]), rows))
        words = np.frombuffer(state[0][0].as_py(), np.int64)[1:].reshape(-1, 4)
        assert len(words) == KEPT_MAX
        missed += -1 not in words[:, 3]
    bound = (1 - share) ** KEPT_MAX  # 7.7 %
    assert missed / trials < bound + 4 * math.sqrt(bound / trials)


def test_state_has_at_most_its_stated_bytes(seed):
    column, order, _ = drawn("int", 60_000, 20_000, seed)
    state = lifted("int", column, order, Runs(np.array([0]), 60_000))
    assert [len(field[0].as_py()) for field in state] == [8 + 32 * 512, 20_480]


def test_golden_state_is_laid_out_as_described():
    order = Order(np.array([7, 8, 9]), np.ones(3, np.int64), np.arange(3))
    shops = pa.array([b"bo", b"a", b"bo"], pa.large_binary())
    state = lifted("string", Column(shops), order, Runs(np.array([0]), 3))
    words, texts, counters = (field[0].as_py() for field in state)
    assert (texts, counters) == (b"boa", b"")
    bo, a = (xxh3_64_intdigest(shop) for shop in (b"bo", b"a"))
    # The ranks of rows 0 and 2, of which "bo" has the less, and of row 1.
    first, other = 0x38086386009F13F6, 0x2B4A08CB010812D
    assert words == struct.pack("<QQ3qQ3q", 3, bo, first, 2, 2, a, other, 1, 1)


def test_counters_of_a_union_are_sums(seed):
    chance = np.random.default_rng(seed)
    hashes, counts = chance.integers(0, 2**64, 50, np.uint64), chance.integers(1, 9, 50)
    ids = np.repeat([0, 1], 25)
    parts = count_sketch.counters(hashes, counts, ids, 2)
    whole = count_sketch.counters(hashes, counts, np.zeros(50, np.int64), 1)
    assert (parts.sum(axis=0) == whole[0]).all()
    few = count_sketch.estimates(whole, hashes, np.zeros(50, np.int64))
    assert (few == counts).mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [0, 101, 2.0, True])
def test_k_out_of_bounds_is_refused(name, k):
    with pytest.raises(BadParameter, match=name):
        AGGREGATES[name].needs("string", {"k": k})


def test_states_of_nothing_are_nothing():
    (need,) = AGGREGATES["approx_top_k"].needs("string", {})
    nothing = concat((need.monoid.zero(2), need.monoid.zero(1)))
    merged = need.monoid.reduce(nothing, Runs(np.array([0]), 3))
    assert [field.to_pylist() for field in merged] == [[b""]] * 3
