"""Payloads made of columns: decoding them gives the columns again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tegula.connectors.encode import encode
from tests.support.records import SCHEMA, decoder, raw_batch

texts = st.one_of(st.sampled_from(["", '"', "\\", "\n\r\x00", "\u2028é𝄞"]), st.text(max_size=6))
instants = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(
    lambda at: at.replace(tzinfo=UTC)
)


def lists(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(st.none() | elements, max_size=4)


rows = st.fixed_dictionaries(
    {
        "card": st.none() | texts,
        "amount": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "big spender": st.none() | st.booleans(),
        "tags": lists(texts),
        "codes": lists(st.integers(-(2**63), 2**63 - 1)),
        "marks": lists(st.floats(allow_nan=False, allow_infinity=False)),
        "flags": lists(st.booleans()),
        "at": instants,
        "seen": st.none() | instants.map(lambda at: at.replace(microsecond=123_000)),
    }
)


@given(st.lists(rows, max_size=8))
def test_law_decoding_what_was_encoded_gives_the_columns_again(given_rows):
    schema = {name: dtype.polars for name, dtype in SCHEMA.items()}
    frame = pl.DataFrame(given_rows, schema=schema)
    payloads = encode(frame, SCHEMA)
    batch = decoder().decode(raw_batch(payloads))
    assert batch.bad == ()
    assert_frame_equal(batch.frame, frame, check_exact=True)
