"""Which rows of a set late events touched."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tegula.backfill.training.compute import touched

small = st.integers(-3, 12)
events = st.lists(st.tuples(st.integers(0, 2), small, small), max_size=12)
asked = st.lists(st.tuples(st.integers(-1, 3), small), min_size=1, max_size=12)


@given(events=events, asked=asked, reach=st.none() | st.integers(0, 8))
def test_law_a_row_is_touched_by_what_had_happened_and_was_not_known(events, asked, reach):
    key, event_us, known_us = np.array(events, np.int64).reshape(-1, 3).T
    of, at_us = np.array(asked, np.int64).T
    found = touched(key, event_us, known_us, of, at_us, reach)
    expected = [
        any(
            k == mine and event < at <= known and (reach is None or at <= event + reach)
            for k, event, known in events
        )
        for mine, at in asked
    ]
    assert found.tolist() == expected
