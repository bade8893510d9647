"""Civil periods by the quarter of an hour: as whole tables have them, for every zone there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.civil import UNITS
from tegula.schemas.quarters import BLOCK_US, QUARTER_US, longest_us, periods_about
from tegula.schemas.time import DAY_US, MINUTE_US
from tegula.schemas.zones import periods, zone_names
from tests.oracle.places import PLACES

zones = st.sampled_from(zone_names())
FIRST_US, END_US = -70 * BLOCK_US, 229 * BLOCK_US
"""1 January 1900 lies in the block that begins at the first, 1 January 2200 in that at the last."""
WHOLE = sorted({place.zone for place in PLACES})


def about(unit: str, zone: str, at_us: int) -> np.ndarray:
    table = periods_about(unit, zone, at_us)
    assert table is not None
    return table.starts_us


@given(st.sampled_from(UNITS), st.sampled_from(WHOLE), st.integers(BLOCK_US, END_US))
def test_law_edges_since_1970_are_those_of_the_whole_table(unit, zone, at_us):
    near, whole = about(unit, zone, at_us), periods(unit, zone).starts_us
    near = near[near >= 0]
    inside = (whole >= max(near[0], 0)) & (whole <= near[-1])
    assert near.tolist() == whole[inside].tolist()


@given(st.sampled_from(UNITS), zones, st.integers(10 * BLOCK_US, END_US))
def test_law_every_zone_keeps_to_quarters_since_1980_and_to_the_longest(unit, zone, at_us):
    starts_us = about(unit, zone, at_us)
    assert not (starts_us % QUARTER_US).any()
    for count in (1, 2):
        assert (starts_us[count:] - starts_us[:-count]).max(initial=0) <= longest_us(unit, count)


@given(st.sampled_from(UNITS), zones, st.integers(-68 * BLOCK_US, END_US))
def test_law_table_reaches_two_periods_back_and_one_on(unit, zone, at_us):
    starts_us = about(unit, zone, at_us)
    assert 2 <= np.searchsorted(starts_us, at_us, side="right") < len(starts_us)


@pytest.mark.parametrize("at_us", [FIRST_US - 2 * BLOCK_US, END_US + 3 * BLOCK_US, 8000 * BLOCK_US])
def test_there_are_no_periods_outside_of_the_calendar(at_us):
    for unit in UNITS:
        assert len(about(unit, "Europe/Berlin", at_us)) == 1


@pytest.mark.parametrize(
    "name", ["", "Nowhere", "europe/berlin", "UTC ", "../../etc/passwd", "a/b"]
)
def test_name_that_the_database_lacks_is_no_zone(name):
    assert periods_about("day", name, 0) is None


def test_edge_off_the_quarters_is_moved_back_to_the_one_before():
    """Liberia was 44 minutes and 30 seconds behind until 7 January 1972."""
    days_us = np.datetime64("1972-01-05").astype(int) * DAY_US + np.arange(5) * DAY_US
    starts_us = about("day", "Africa/Monrovia", int(days_us[0]))
    edges_us = starts_us[np.searchsorted(starts_us, days_us)]
    assert ((edges_us - days_us) // MINUTE_US).tolist() == [30, 30, 30, 0, 0]


def test_tables_are_made_once():
    one = periods_about("day", "Asia/Tokyo", 0)
    assert one is periods_about("day", "Asia/Tokyo", BLOCK_US - 1)
    assert one is not periods_about("day", "Asia/Tokyo", BLOCK_US)
