"""States of ranges: every way to them gives what lifting the rows gives."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tegula as tg
from tegula.windows.aggregates.distinct import APPROX_DISTINCT, DISTINCT_HASHES
from tegula.windows.aggregates.sums import SUM_FLOAT
from tegula.windows.algebra import Column, Order, States
from tegula.windows.instants.distinct import distinct
from tegula.windows.instants.dyadic import BLOCK, direct, dyadic
from tegula.windows.instants.prefixes import summed_float, summed_int
from tegula.windows.instants.rows import in_order
from tegula.windows.instants.states import LONG, states_of
from tests.support.instants import build_of, drawn, every_aggregate

BUILD = build_of(every_aggregate(tg.lifetime(), "lifetime"))
SLOTS = {slot.name: slot for slot in BUILD.shape.slots}
ROWS = 5 * LONG


@pytest.fixture(scope="module")
def rows(request):
    rng = np.random.default_rng(int(request.config.option.hypothesis_seed))
    drawn_rows = drawn(BUILD, rng, ROWS, 1, 10**7)
    return in_order(drawn_rows)


def order_of(size: int) -> Order:
    return Order(np.arange(size), np.zeros(size, np.int64), np.arange(size))


def same(mine: States, theirs: States) -> bool:
    """Bit for bit, but for floats, of which a sum may have been added in another order."""
    for one, other in zip(mine, theirs, strict=True):
        if isinstance(one, pa.Array):
            if not one.equals(other):
                return False
        elif one.dtype == np.float64:
            if not np.allclose(one, other, rtol=1e-13, atol=1e-9):
                return False
        elif not np.array_equal(one, other):
            return False
    return True


@pytest.mark.parametrize("name", SLOTS)
def test_oracle_states_of_ranges_are_what_lifting_their_rows_gives(name, rows, seed):
    slot, rng = SLOTS[name], np.random.default_rng(seed)
    column = None if slot.input is None else rows.inputs[slot.input]
    lo, hi = np.sort(rng.integers(0, ROWS + 1, (2, 40)), axis=0)
    lo[:2], hi[:2] = (0, 5), (ROWS, 5)
    wanted = direct(slot.monoid, column, rows.order, lo, hi)
    assert same(states_of(slot.monoid, column, rows.order, lo, hi), wanted)
    assert same(dyadic(slot.monoid, column, rows.order, lo, hi), wanted)
    few = slice(0, 2)
    assert same(
        states_of(slot.monoid, column, rows.order, lo[few], hi[few]),
        tuple(field[few] for field in wanted),
    )


@given(
    st.lists(
        st.one_of(
            st.floats(-1e6, 1e6),
            st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from([1e300, -1e300, 5e-324, 0.1, 1e16]),
        ),
        max_size=40,
    )
)
def test_law_sums_by_prefixes_are_the_exact_ones_or_none(values):
    ends = np.arange(len(values) + 1)
    lo, hi = (one.ravel() for one in np.meshgrid(ends, ends))
    lo, hi = np.minimum(lo, hi), np.maximum(lo, hi)
    column = Column(np.array(values))
    states = summed_float(SUM_FLOAT, column, order_of(len(values)), lo, hi)
    if states is not None:
        exact = [math.fsum(values[a:b]) for a, b in zip(lo, hi, strict=True)]
        assert np.array_equal(states[0], exact)


def test_sums_by_prefixes_hold_for_what_money_is_like(seed):
    rng = np.random.default_rng(seed)
    values = np.round(rng.lognormal(3, 2, 10_000), 2)
    lo, hi = np.sort(rng.integers(0, 10_001, (2, 50)), axis=0)
    states = summed_float(SUM_FLOAT, Column(values), order_of(10_000), lo, hi)
    assert states is not None
    assert states[0].tolist() == [math.fsum(values[a:b]) for a, b in zip(lo, hi, strict=True)]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30))
def test_law_sums_of_integers_never_wrap(values):
    ends = np.arange(len(values) + 1)
    column, none = Column(np.array(values, np.int64)), np.zeros_like(ends)
    high, low = summed_int(None, column, order_of(len(values)), none, ends)  # type: ignore[arg-type]
    found = [(int(h) << 64) + int(w) for h, w in zip(high, low, strict=True)]
    assert found == [sum(values[:end]) for end in ends]


@pytest.mark.parametrize("different", [400, 3000])
def test_oracle_distinct_is_what_its_state_says(different, seed):
    rng = np.random.default_rng(seed)
    size = 4000
    values, valid = rng.integers(0, different, size), rng.random(size) < 0.9
    column = Column(np.where(rng.random(size) < 0.3, 7, values), valid)
    lo, hi = np.sort(rng.integers(0, size + 1, (2, 60)), axis=0)
    state = direct(DISTINCT_HASHES, column, order_of(size), lo, hi)
    wanted, _ = APPROX_DISTINCT.finish((state,), {})
    assert distinct(column, lo, hi).tolist() == wanted.tolist()
    assert different < 512 or max(wanted) > 512


def test_spans_of_a_state_that_is_one_array_for_several_fields_stay_apart():
    # The zero of such a monoid is one array, and what is merged is written field by field.
    slot = next(slot for slot in BUILD.shape.slots if slot.monoid.name == "squares_int")
    column = Column(np.full(8 * BLOCK, 2**40))
    lo, hi = np.array([0]), np.array([8 * BLOCK])
    (low,), (middle,), (high,) = dyadic(slot.monoid, column, order_of(8 * BLOCK), lo, hi)
    assert int(low) + (int(middle) << 64) + (int(high) << 128) == 8 * BLOCK * 2**80
