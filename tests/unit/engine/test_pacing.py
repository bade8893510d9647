"""How often to commit and to mirror: promptly while there is time, in larger lots when behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.engine.runtime.pacing import (
    BEHIND_INTERVAL_MAX_US,
    BEHIND_INTERVAL_US,
    MIRROR_REST_MAX_S,
    commit_interval_us,
    mirror_rest_s,
)
from tegula.schemas.time import DAY_US, HOUR_US, SECOND_US

SETTING_US = 100_000


@pytest.mark.parametrize("lag_us", [-HOUR_US, 0, SECOND_US - 1])
def test_commit_interval_is_the_setting_while_the_engine_keeps_up(lag_us):
    assert commit_interval_us(SETTING_US, lag_us, idle=False, catching_up=False) == SETTING_US


def test_commit_interval_is_the_setting_when_all_that_was_old_has_been_read():
    assert commit_interval_us(SETTING_US, DAY_US, idle=True, catching_up=True) == SETTING_US


def test_commit_interval_grows_with_the_lag_up_to_a_bound():
    lags_us = [SECOND_US, 4 * SECOND_US, 6 * SECOND_US, DAY_US]
    found = [commit_interval_us(SETTING_US, lag, idle=False, catching_up=False) for lag in lags_us]
    assert found == [BEHIND_INTERVAL_US, SECOND_US, 1_500_000, BEHIND_INTERVAL_MAX_US]


def test_commit_interval_is_longer_while_a_build_reads_history_beside_live_events():
    found = commit_interval_us(SETTING_US, 0, idle=False, catching_up=True)
    assert found == BEHIND_INTERVAL_US


@given(st.integers(1_000, 60_000_000), st.integers(-DAY_US, DAY_US), st.booleans(), st.booleans())
def test_law_commit_interval_is_never_shorter_than_the_setting(setting_us, lag_us, idle, behind):
    assert commit_interval_us(setting_us, lag_us, idle=idle, catching_up=behind) >= setting_us


@given(st.floats(0, 100), st.floats(0.001, 1), st.none() | st.integers(SECOND_US, DAY_US))
def test_law_mirror_rests_no_longer_than_it_worked_and_than_the_bound(
    took_s, interval_s, newest_us
):
    rest_s = mirror_rest_s(took_s, interval_s, newest_us)
    assert 0 <= rest_s <= min(took_s, MIRROR_REST_MAX_S)


@given(st.floats(0, 100), st.integers(0, SECOND_US - 1))
def test_law_mirror_does_not_rest_while_the_newest_event_was_readable_within_a_second(took_s, us):
    assert mirror_rest_s(took_s, 0.02, us) == 0
