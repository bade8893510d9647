from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tegula.connectors.payloads import EMPTY, Payloads

records = st.lists(st.one_of(st.none(), st.binary(max_size=6), st.just(b"\n"), st.just(b"")))


@given(records)
def test_law_payloads_give_back_what_was_joined(given_records):
    payloads = Payloads.from_list(given_records)
    assert list(payloads) == given_records
    assert [payloads.record(i) for i in range(len(payloads))] == given_records
    assert payloads.lengths_bytes.tolist() == [len(r or b"") for r in given_records]


@given(st.lists(records, max_size=5))
def test_law_concat_is_joining_the_lists(parts):
    joined = Payloads.concat([Payloads.from_list(part) for part in parts])
    assert list(joined) == [record for part in parts for record in part]


@given(records, st.data())
def test_law_slice_and_take_are_those_of_lists(given_records, data):
    payloads = Payloads.from_list(given_records)
    count = len(given_records)
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(0, count))
    assert list(payloads.slice(start, stop)) == given_records[start:stop]
    indices = data.draw(st.lists(st.integers(0, count - 1)) if count else st.just([]))
    taken = payloads.take(np.array(indices, np.int64))
    assert list(taken) == [given_records[i] for i in indices]


def test_payloads_without_nulls_say_so():
    assert Payloads.from_list([b"a", b""]).null is None
    assert Payloads.concat([Payloads.from_list([b"a"]), Payloads.from_list([b"b"])]).null is None


def test_payloads_of_no_records_are_empty():
    assert len(Payloads.from_list([])) == 0
    assert list(EMPTY.take(np.empty(0, np.int64))) == []
