"""The ladder: nested widths, and which of them an edge leaves whole."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.ladder import (
    CIVIL,
    CIVIL_QUARTERS_MAX,
    DAY,
    EVER,
    EVER_START_US,
    FIFTEEN_MINUTES,
    FIVE_MINUTES,
    HOUR,
    INSTANT,
    LADDER,
    MINUTE,
    RUNG_US,
    SECOND,
    WIDTH_US,
    automatic_resolution_us,
    finest_of,
    rung_dividing,
)

spans_us = st.integers(1, 400 * RUNG_US[DAY]) | st.sampled_from(
    [RUNG_US[rung] * n for rung in LADDER for n in (1, 2, 7, 90)]
)
AUTOMATIC_US = [RUNG_US[rung] for rung in LADDER if rung != FIFTEEN_MINUTES]


def test_ladder_rungs_are_each_a_multiple_of_the_finer_one():
    widths_us = [RUNG_US[rung] for rung in LADDER]
    assert all(coarse % fine == 0 < fine < coarse for fine, coarse in pairwise(widths_us))
    assert {*LADDER, EVER} == set(range(len(RUNG_US)))
    assert finest_of(reversed(LADDER)) == INSTANT
    assert finest_of([DAY, HOUR, FIFTEEN_MINUTES]) == FIFTEEN_MINUTES


def test_golden_rung_numbers_stay_what_they_are():
    """They are stored in every tile."""
    widths_s = [1e-6, 1, 60, 300, 3600, 86400, 0, 900]
    assert WIDTH_US[:8].tolist() == [round(width * 10**6) for width in widths_s]
    assert not WIDTH_US[8:CIVIL].any()
    assert CIVIL == 32
    assert WIDTH_US[CIVIL:].tolist() == [n * 900 * 10**6 for n in range(CIVIL_QUARTERS_MAX + 1)]
    assert CIVIL + CIVIL_QUARTERS_MAX < 255
    assert (EVER, EVER_START_US) == (6, -(2**63))
    assert LADDER == (INSTANT, SECOND, MINUTE, FIVE_MINUTES, FIFTEEN_MINUTES, HOUR, DAY)
    assert LADDER == (0, 1, 2, 3, 7, 4, 5)


@given(spans_us)
def test_law_rung_dividing_is_the_coarsest_that_divides(span_us):
    rung = rung_dividing(span_us)
    assert span_us % RUNG_US[rung] == 0
    assert all(span_us % RUNG_US[one] for one in LADDER[LADDER.index(rung) + 1 :])


@given(spans_us)
def test_law_automatic_resolution_overshoots_by_at_most_a_24th_of_the_length(length_us):
    resolution_us = automatic_resolution_us(length_us)
    assert resolution_us in AUTOMATIC_US
    assert resolution_us == 1 or resolution_us * 24 <= length_us
    assert all(
        width > resolution_us for width in AUTOMATIC_US if width * 24 > length_us and width > 1
    )


def test_automatic_resolution_steps_up_exactly_at_24_times_a_rung():
    for width_us in AUTOMATIC_US[1:]:
        assert automatic_resolution_us(24 * width_us) == width_us
        assert automatic_resolution_us(24 * width_us - 1) < width_us
