"""The time zone database: which names there are, and every change of a clock found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas import zones
from tegula.schemas.time import SECOND_US
from tests.oracle.naive_calendar import zone_of


def test_zones_are_those_of_the_package():
    names = zones.zone_names()
    assert {"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Asia/Calcutta"} <= set(names)
    assert list(names) == sorted(names)


def test_table_of_a_zone_is_made_once():
    assert zones.periods("day", "UTC") is zones.periods("day", "UTC")


@pytest.mark.parametrize("zone", ["Africa/Casablanca", "Asia/Gaza"])
def test_changes_that_are_weeks_apart_are_all_found(zone):
    """Summer time is suspended for Ramadan, so there are four changes in such a year."""
    begin, end = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2013, 2014))
    since = zones._clock(zone).since_us // SECOND_US
    found = int(((since >= begin) & (since < end)).sum())
    assert found == {"Africa/Casablanca": 4, "Asia/Gaza": 2}[zone]


@given(
    st.sampled_from(["Europe/London", "America/St_Johns", "Africa/Monrovia", "Pacific/Apia"]),
    st.integers(-2_200_000_000, 7_200_000_000),
)
def test_law_clock_shows_what_datetime_shows(zone, instant):
    clock = zones._clock(zone)
    place = int(np.searchsorted(clock.since_us, instant * SECOND_US, side="right")) - 1
    ahead = datetime.fromtimestamp(instant, zone_of(zone)).utcoffset()
    assert timedelta(microseconds=int(clock.offset_us[place])) == ahead
