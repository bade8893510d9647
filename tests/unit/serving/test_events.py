"""Pushed bodies cut into records."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.engine.plan import StreamPlan
from tegula.schemas import types as t
from tegula.schemas.errors import BadRequest, TooLarge
from tegula.serving.events import ARROW_TYPE, records_of

STREAM = StreamPlan(
    name="payments",
    schema={
        "card_id": t.String,
        "amount": t.Float64,
        "at": t.Timestamp,
        "ms": t.Timestamp.of("ms"),
    },
    event_time="at",
    disorder_us=0,
    ahead_us=0,
    idle_timeout_us=0,
    partition_by=None,
    source=None,
)
JSON, NDJSON = "application/json", "application/x-ndjson; charset=utf-8"

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
blanks = st.text(" \t\r\n", max_size=2)


@given(events=st.lists(values, max_size=4), blank=blanks)
def test_law_json_is_cut_into_the_bytes_that_were_sent(events, blank):
    parts = [orjson.dumps(event) for event in events]
    joined = f"{blank},{blank}".encode().join(parts)
    body = b'%b{%b"events"%b:%b[%b%b%b]%b}%b' % (
        *[blank.encode()] * 5,
        joined,
        *[blank.encode()] * 3,
    )
    assert records_of(body, JSON, STREAM) == parts


def test_json_keeps_what_parsing_would_lose():
    body = b'{"events": [{"a":1,"a":2}, {"n":123456789012345678901234567890}, {"x":1.50}, NaN]}'
    assert records_of(body, JSON, STREAM) == [
        b'{"a":1,"a":2}',
        b'{"n":123456789012345678901234567890}',
        b'{"x":1.50}',
        b"NaN",
    ]


def test_json_with_an_escaped_name_is_read_all_the_same():
    assert records_of(rb'{"\u0065vents": [{"a": 1}]}', JSON, STREAM) == [b'{"a":1}']


def test_body_without_a_known_type_is_read_as_json():
    kinds = ("", "application/x-www-form-urlencoded", "text/plain")
    assert [records_of(b'{"events":[1]}', kind, STREAM) for kind in kinds] == [[b"1"]] * 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"a":1}\n{"a":2}\n',
        b'{"events": [{"a":1}',
        b'{"events": [{"a":1}, ]}',
        b'{"events": []} x',
        b'{"events": [1], "more": 2}',
        b'{"event": []}',
        b'{"events": {}}',
        b"[]",
        b'{"events": ["\xff"]}',
        b'{"events": ' + b"[" * 100_000,
    ],
)
def test_body_that_is_no_list_of_events_is_refused_whole(body):
    with pytest.raises(BadRequest) as caught:
        records_of(body, JSON, STREAM)
    assert caught.value.where.startswith("body")
    assert caught.value.expected


def test_lines_are_records_and_a_record_has_the_number_of_its_line():
    body = b'{"a":1}\r\n\nno json\n{"b":2}\n'
    assert records_of(body, NDJSON, STREAM) == [b'{"a":1}', b"", b"no json", b'{"b":2}']
    assert records_of(b"", NDJSON, STREAM) == []
    assert records_of(b'{"a":1}', NDJSON, STREAM) == [b'{"a":1}']


def arrow(frame: pl.DataFrame) -> bytes:
    table = frame.to_arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_arrow_rows_become_records_as_the_log_writes_them():
    at = datetime(2024, 5, 1, 12, 0, 0, 250, tzinfo=UTC)
    frame = pl.DataFrame(
        {"at": [at, None], "ms": [None, at], "amount": [1.5, None], "other": [1, 2]}
    )
    assert [orjson.loads(record) for record in records_of(arrow(frame), ARROW_TYPE, STREAM)] == [
        {"at": "2024-05-01T12:00:00.000250Z", "ms": None, "amount": 1.5},
        {"at": None, "ms": 1714564800000, "amount": None},
    ]


def test_arrow_without_rows_or_without_known_columns_has_as_many_records_as_rows():
    assert records_of(arrow(pl.DataFrame({"amount": []})), ARROW_TYPE, STREAM) == []
    assert records_of(arrow(pl.DataFrame({"other": [1, 2]})), ARROW_TYPE, STREAM) == [b"{}"] * 2


def test_arrow_instants_without_a_zone_are_refused():
    frame = pl.DataFrame({"at": [datetime(2024, 5, 1)]})
    with pytest.raises(BadRequest, match="no time zone") as caught:
        records_of(arrow(frame), ARROW_TYPE, STREAM)
    assert "'at'" in caught.value.where


@pytest.mark.parametrize("body", [b"", b"{}", b"ARROW1\0\0"])
def test_body_that_is_no_arrow_stream_is_refused(body):
    with pytest.raises(BadRequest, match="not an Arrow stream"):
        records_of(body, ARROW_TYPE, STREAM)


def arrow_of(*counts: int) -> bytes:
    sink, schema = pa.BufferOutputStream(), pa.schema([("amount", pa.float64())])
    with pa.ipc.new_stream(sink, schema) as writer:
        for count in counts:
            writer.write_batch(pa.record_batch([pa.array([1.0] * count)], schema=schema))
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (NDJSON, b"{}\n" * 4),
        (JSON, b'{"events": [{}, {}, {}, {}]}'),
        (JSON, b'{"events": [1,2,3,4], "events": [1,2,3,4]}'),
        (ARROW_TYPE, arrow_of(2, 2)),
    ],
)
def test_too_many_records_are_refused_however_they_come(kind, body):
    with pytest.raises(TooLarge, match="too many events"):
        records_of(body, kind, STREAM, 3)
    assert len(records_of(body, kind, STREAM, 4)) == 4
