from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import BadDuration
from tegula.schemas.time import CENTURY_US, DAY_US, floor_us, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "span_us"),
    [
        ("0s", 0),
        ("1us", 1),
        ("2ms", 2_000),
        ("30s", 30_000_000),
        ("10m", 600_000_000),
        ("1h30m", 5_400_000_000),
        ("7d", 7 * DAY_US),
        ("2w", 14 * DAY_US),
        (timedelta(days=1, microseconds=3), DAY_US + 3),
    ],
)
def test_duration_is_read_in_microseconds(text, span_us):
    assert parse_duration(text) == span_us


@pytest.mark.parametrize(
    "text",
    [30, 1.5, None, "", "30", "s", "-5m", "5 m", "1.5h", "1mo", "1y", "٣s", "1h ", timedelta(-1)],
)
def test_duration_is_refused_when_its_length_is_not_plain(text):
    with pytest.raises(BadDuration):
        parse_duration(text)


@given(st.integers(0, 2 * CENTURY_US))
def test_law_formatted_duration_is_read_as_the_same_span(span_us):
    assert parse_duration(format_duration(span_us)) == span_us


@given(st.integers(-(2**62), 2**62), st.integers(1, CENTURY_US))
def test_law_floor_is_the_last_multiple_at_or_before(at_us, step_us):
    floor = floor_us(at_us, step_us)
    assert floor % step_us == 0
    assert floor <= at_us < floor + step_us
