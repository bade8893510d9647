"""The ladder: nested widths, and which of them an edge leaves whole."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.ladder import (
    DAY,
    EVER,
    EVER_START_US,
    FIVE_MINUTES,
    HOUR,
    INSTANT,
    MINUTE,
    RUNG_US,
    SECOND,
    WIDTH_US,
    automatic_resolution_us,
    rung_dividing,
)

spans_us = st.integers(1, 400 * RUNG_US[DAY]) | st.sampled_from(
    [width * n for width in RUNG_US for n in (1, 2, 7, 90)]
)


def test_ladder_rungs_are_each_a_multiple_of_the_finer_one():
    assert all(coarse % fine == 0 for fine, coarse in pairwise(RUNG_US))
    assert list(range(len(RUNG_US))) == [INSTANT, SECOND, MINUTE, FIVE_MINUTES, HOUR, DAY]


def test_golden_rung_numbers_stay_what_they_are():
    """They are stored in every tile."""
    assert WIDTH_US.tolist() == [1, 10**6, 60 * 10**6, 300 * 10**6, 3600 * 10**6, 86400 * 10**6, 0]
    assert (EVER, EVER_START_US) == (6, -(2**63))


@given(spans_us)
def test_law_rung_dividing_is_the_coarsest_that_divides(span_us):
    rung = rung_dividing(span_us)
    assert span_us % RUNG_US[rung] == 0
    assert all(span_us % width for width in RUNG_US[rung + 1 :])


@given(spans_us)
def test_law_automatic_resolution_overshoots_by_at_most_a_24th_of_the_length(length_us):
    resolution_us = automatic_resolution_us(length_us)
    assert resolution_us in RUNG_US
    assert resolution_us == 1 or resolution_us * 24 <= length_us
    assert all(width > resolution_us for width in RUNG_US if width * 24 > length_us and width > 1)


def test_automatic_resolution_steps_up_exactly_at_24_times_a_rung():
    for width_us in RUNG_US[1:]:
        assert automatic_resolution_us(24 * width_us) == width_us
        assert automatic_resolution_us(24 * width_us - 1) < width_us
