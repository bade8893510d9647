from __future__ import annotations

import json

import polars as pl
import pytest

from tests.support.records import AT, AT_US, BAD, GOOD, SCHEMA, one

LISTS = ("tags", "codes", "marks", "flags")


@pytest.mark.parametrize(("record", "code"), [(r, c) for r, c in BAD.items() if c])
def test_a_bad_record_is_set_apart_with_its_code_and_its_bytes(record, code):
    batch = one(record)
    assert [(b.code, b.raw, b.offset, b.log_us) for b in batch.bad] == [
        (code, record or b"", 0, 1_000)
    ]
    assert batch.frame.height == 0
    assert batch.bad[0].reason


@pytest.mark.parametrize("record", GOOD)
def test_a_good_record_becomes_a_row_with_what_json_says(record):
    batch = one(record)
    assert batch.bad == ()
    row = batch.frame.row(0, named=True)
    fields = json.loads(record)
    if fields.get("marks") is not None:
        fields["marks"] = [None if one is None else float(one) for one in fields["marks"]]
    assert {name: row[name] for name in LISTS} == {name: fields.get(name) for name in LISTS}
    assert {name: row[name] for name in ("card", "count", "big spender")} == {
        name: fields.get(name) for name in ("card", "count", "big spender")
    }
    amount = fields.get("amount")
    assert row["amount"] == (amount if amount is None else float(amount))
    assert dict(batch.frame.schema) == {name: dtype.polars for name, dtype in SCHEMA.items()}


def test_instants_are_read_in_the_unit_of_their_column():
    frame = one(b'{"at":"%s","seen":-1500}' % AT.encode()).frame
    assert frame.select(pl.all().to_physical()).row(0)[-2:] == (AT_US, -1_500_000)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ('"amount":"abc"', 'field "amount": expected Float64, got "abc"'),
        ('"count":1.5', 'field "count": expected Int64, got 1.5'),
        (f'"count": {2**64}', f'field "count": expected Int64 (64 bits), got {2**64}'),
        ('"tags":"a"', 'field "tags": expected List(String), got "a"'),
        ('"tags":["a",null,["b"]]', 'field "tags", element 2: expected String, got ["b"]'),
        (f'"codes":[{2**63}]', f'field "codes", element 0: expected Int64 (64 bits), got {2**63}'),
        ('"card":{"a":[1,2]}', 'field "card": expected String, got {"a":[1,2]}'),
        (
            '"seen":1.5',
            "field \"seen\": expected Timestamp.of('ms') (whole ms since 1970), got 1.5",
        ),
        ('"card":"a","card":"b"', 'field "card" stands in the record twice'),
        ('"amount":NaN', "not valid JSON: unexpected character, expected a JSON value at chara"),
    ],
)
def test_a_reason_names_the_field_what_was_expected_and_what_came(fields, reason):
    record = f'{{"at":"{AT}",{fields}}}'.encode()
    assert one(record).bad[0].reason.startswith(reason)


def test_a_naive_event_time_says_that_the_zone_is_missing():
    assert one(b'{"at":"2024-05-01 12:00"}').bad[0].reason == (
        'field "at": expected Timestamp (RFC 3339 text with Z or an offset), got "2024-05-01 12:00"'
    )


def test_a_long_value_is_cut_in_its_reason_and_kept_whole_in_the_record():
    record = b'{"at":"%s","amount":"%s"}' % (AT.encode(), b"x" * 1_500)
    bad = one(record).bad[0]
    assert len(bad.reason) < 120
    assert bad.raw == record
