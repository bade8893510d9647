"""Runs become parts, in order of time over all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tegula.backfill.imports.merging import plan

TIMES = st.lists(st.integers(-3, 12) | st.just(-(2**63)) | st.just(2**62), max_size=30)


@given(st.lists(TIMES, max_size=4), st.integers(1, 7))
def test_law_parts_are_all_records_in_order_and_no_larger_than_asked(drawn, part_rows):
    runs = [np.array(sorted(times), np.int64) for times in drawn]
    parts = list(plan(runs, part_rows))
    assert all(0 < sum(end - begin for _, begin, end in part) <= part_rows for part in parts)
    merged = []
    for part in parts:
        taken = [(int(runs[n][i]), n, i) for n, begin, end in part for i in range(begin, end)]
        merged += sorted(taken)
    everything = [(int(at), n, i) for n, run in enumerate(runs) for i, at in enumerate(run)]
    assert merged == sorted(everything)


@given(st.lists(TIMES, min_size=1, max_size=4))
def test_law_one_part_holds_all_if_it_may(drawn):
    runs = [np.array(sorted(times), np.int64) for times in drawn]
    assert len(list(plan(runs, 10_000))) == (1 if any(map(len, runs)) else 0)
