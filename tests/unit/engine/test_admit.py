"""Admission: the watermark of each row is a pure function of the partition's prefix."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from tegula.engine.runtime.ingest import archive_rows
from tegula.engine.steps.admit import Admitted, watermark_at
from tegula.schemas.outcomes import RecordCode
from tegula.schemas.time import MINUTE_US, SECOND_US
from tegula.windows.tiles import NEVER_US
from tests.support.ingesting import NOON_US, admitted, event

DISORDER_US = 30 * SECOND_US
AHEAD_US = 10 * MINUTE_US


def at(*times_us: int, **batch: object) -> Admitted:
    return admitted([event("k", at_us) for at_us in times_us], **batch)  # type: ignore[arg-type]


def test_watermark_of_a_row_counts_the_row_itself_and_never_falls():
    batch = at(NOON_US, NOON_US + 5, NOON_US - 7, NOON_US + 6)
    expected = [NOON_US, NOON_US + 5, NOON_US + 5, NOON_US + 6]
    assert batch.watermark_us.tolist() == [t - DISORDER_US for t in expected]
    assert batch.running_max_us == NOON_US + 6


def test_watermark_trusts_no_event_time_beyond_the_log_timestamp():
    """One producer whose clock is fast does not make all others late."""
    batch = at(NOON_US + MINUTE_US, NOON_US, log_us=[NOON_US, NOON_US + 1])
    assert batch.watermark_us.tolist() == [NOON_US - DISORDER_US] * 2


def test_future_row_is_turned_away_and_pushes_no_watermark():
    too_far = NOON_US + AHEAD_US + 1
    batch = at(NOON_US - 1, too_far, NOON_US - 2, log_us=NOON_US)
    assert batch.offsets.tolist() == [0, 2]
    assert batch.frame.height == 2
    assert batch.running_max_us == NOON_US - 1
    (record,) = batch.bad
    assert (record.offset, record.log_us, record.code) == (1, NOON_US, RecordCode.FUTURE)
    assert orjson.loads(record.raw)["k"] == "k"
    assert "10m" in record.reason
    assert batch.read_count == 3


def test_row_exactly_as_far_ahead_as_the_stream_allows_is_admitted():
    assert at(NOON_US + AHEAD_US, log_us=NOON_US).bad == ()
    assert len(at(NOON_US + AHEAD_US + 1, log_us=NOON_US).bad) == 1


def test_future_rows_stand_among_other_bad_records_in_order_of_offset():
    far = event("k", NOON_US + 2 * AHEAD_US)
    batch = admitted([b"x", far, b"y", far, event("k", NOON_US)], log_us=NOON_US, first_offset=7)
    assert [record.offset for record in batch.bad] == [7, 8, 9, 10]
    assert batch.offsets.tolist() == [11]


def test_batch_without_a_good_row_leaves_the_running_maximum_where_it_is():
    assert admitted([b"x", None], running_max_us=NOON_US).running_max_us == NOON_US
    assert admitted([b"x"]).running_max_us == NEVER_US
    assert admitted([]).running_max_us == NEVER_US


spans = st.integers(-3_600_000_000, 3_600_000_000)
rows = st.lists(
    st.one_of(
        st.just(b"nonsense"),
        st.tuples(spans, spans).map(lambda pair: (NOON_US + pair[0], NOON_US + pair[1])),
    ),
    max_size=25,
)


@given(rows=rows, cuts=st.lists(st.integers(0, 25), max_size=5))
def test_law_watermarks_and_verdicts_do_not_depend_on_batch_cuts(rows, cuts):
    events = [row if isinstance(row, bytes) else event("k", row[0]) for row in rows]
    logged = [NOON_US if isinstance(row, bytes) else row[1] for row in rows]
    whole = admitted(events, log_us=logged)
    edges = sorted({0, len(events), *(min(cut, len(events)) for cut in cuts)})
    running_max_us, parts = NEVER_US, []
    for begin, end in pairwise(edges):
        part = admitted(
            events[begin:end],
            log_us=logged[begin:end],
            first_offset=begin,
            running_max_us=running_max_us,
        )
        running_max_us = part.running_max_us
        parts.append(part)
    watermarks = [at_us for part in parts for at_us in part.watermark_us.tolist()]
    assert watermarks == whole.watermark_us.tolist()
    assert [r for part in parts for r in part.bad] == list(whole.bad)
    assert running_max_us == whole.running_max_us
    assert sum(part.read_count for part in parts) == len(events)


def test_watermark_at_a_bad_record_is_that_of_the_row_before_it():
    batch = admitted([b"x", event("k", NOON_US), b"y"], first_offset=4)
    found = watermark_at(batch, np.array([4, 5, 6]), 99)
    assert found.tolist() == [99, NOON_US - DISORDER_US, NOON_US - DISORDER_US]
    nothing = admitted([b"x"], first_offset=4)
    assert watermark_at(nothing, np.array([4]), 99).tolist() == [99]


def test_archive_rows_hold_every_record_at_its_offset_with_its_watermark():
    batch = admitted([b"x", event("k", NOON_US), b"y", event("k", NOON_US + 9)], first_offset=4)
    rows = archive_rows(batch, before_us=NEVER_US, ingested_us=77)
    assert rows.offsets.tolist() == [4, 5, 6, 7]
    assert rows.good.tolist() == [1, 3]
    assert [record.offset for record in rows.bad] == [4, 6]
    watermark = NOON_US - DISORDER_US
    assert rows.watermark_us.tolist() == [NEVER_US, watermark, watermark, watermark + 9]
    assert (rows.ingested_us, rows.next_offset, rows.partition) == (77, 8, "0")


def test_row_dated_past_the_clock_is_turned_away_though_its_log_timestamp_agrees_with_it():
    far = NOON_US + 1_000 * AHEAD_US
    batch = at(NOON_US, far, NOON_US + 1, past_clock=[1])
    assert batch.offsets.tolist() == [0, 2]
    assert batch.running_max_us == NOON_US + 1
    (record,) = batch.bad
    assert (record.offset, record.log_us, record.code) == (1, far, RecordCode.FUTURE)
    assert "wall clock" in record.reason
    assert "10m" in record.reason
