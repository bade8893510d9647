"""Rows of a shard: keys that sort as numbers, and small rows that are read back whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import FormatUnknown
from tegula.schemas.time import HOUR_US
from tegula.state.keys import encode_key
from tegula.state.rows import (
    BODY_SUFFIX,
    COUNTERS,
    HEAD_SUFFIX,
    IDENTITY_KEY,
    OUTBOX_PREFIX,
    POSITION_PREFIX,
    SUFFIX_BYTES,
    Applied,
    Identity,
    Touched,
    build_prefix,
    chunk_suffix,
    count_outbox_keys,
    decode_outbox,
    encode_outbox,
    hour_and_place,
    outbox_key,
    parse_position_key,
    position_key,
    segment_number,
    segment_suffix,
)

numbers = st.integers(0, 2**64 - 1)
int64s = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(numbers))
def test_law_rows_of_a_key_sort_by_kind_and_commit(commits):
    suffixes = [chunk_suffix(number) for number in commits]
    assert sorted(suffixes) == [chunk_suffix(number) for number in sorted(commits)]
    for suffix in suffixes:
        assert BODY_SUFFIX < suffix < HEAD_SUFFIX
        assert len(suffix) == SUFFIX_BYTES


@given(st.lists(numbers))
def test_law_outbox_rows_sort_by_commit(commits):
    assert sorted(map(outbox_key, commits)) == [outbox_key(n) for n in sorted(commits)]


@given(st.integers(1, 2**32 - 1))
def test_law_rows_of_a_build_lie_apart_from_the_shards_own(build):
    own = build_prefix(0)
    assert all(key.startswith(own) for key in (IDENTITY_KEY, POSITION_PREFIX, OUTBOX_PREFIX))
    assert build_prefix(build) > own + b"\xff" * 9
    assert build_prefix(build) < build_prefix(build + 1) if build < 2**32 - 1 else True


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_law_position_key_gives_back_build_and_ordinal(build, ordinal):
    assert parse_position_key(position_key(build, ordinal)) == (build, ordinal)


@given(st.builds(Applied, *[int64s] * (2 + len(COUNTERS))))
def test_law_applied_is_read_back(applied):
    assert Applied.decode(applied.encode()) == applied


@given(st.builds(Identity, numbers, numbers, st.text(max_size=40), st.booleans()))
def test_law_identity_is_read_back(identity):
    assert Identity.decode(identity.encode()) == identity


def test_identity_of_a_later_version_is_refused():
    later = b"\x02" + Identity(1, 2, "boot", True).encode()[1:]
    with pytest.raises(FormatUnknown, match="version 2"):
        Identity.decode(later)


touched = st.builds(
    Touched, st.integers(1, 2**32 - 1), st.lists(st.binary(max_size=9)), st.booleans()
)
segmented = st.lists(
    st.tuples(st.binary(max_size=9), st.lists(st.integers(0, 2**64 - 1), max_size=3).map(tuple)),
    min_size=1,
).map(lambda both: Touched(7, [k for k, _ in both], True, tuple(s for _, s in both)))


@given(st.lists(touched | segmented, max_size=5))
def test_law_outbox_row_is_read_back(entries):
    assert decode_outbox(encode_outbox(entries)) == entries
    assert count_outbox_keys(encode_outbox(entries)) == sum(len(entry.keys) for entry in entries)


hours = st.integers(-(2**63) // HOUR_US, 2**63 // HOUR_US)
places = st.integers(0, 2**24 - 1)


@given(hours, places, hours, places)
def test_law_segments_sort_by_hour_and_place(hour, place, other_hour, other_place):
    one, other = segment_number(hour, place), segment_number(other_hour, other_place)
    assert hour_and_place(one) == (hour, place)
    assert (segment_suffix(one) < segment_suffix(other)) == (
        (hour, place) < (other_hour, other_place)
    )
    assert len(segment_suffix(one)) == SUFFIX_BYTES


def test_outbox_row_holds_keys_of_64_kib():
    key = encode_key(("k" * (1 << 16),), ("string",))
    entry = Touched(3, [key, b"", key], rewrite=True)
    assert decode_outbox(encode_outbox([entry])) == [entry]


def test_applied_adds_counts_up_and_moves_on():
    before = Applied(10, 500, read=10, folded=7, filtered=3)
    after = before.advanced(Applied(15, 600, read=5, folded=4, expired=1))
    assert after == Applied(15, 600, read=15, folded=11, filtered=3, expired=1)


def test_applied_never_moves_back_when_records_are_given_again():
    before = Applied(40, 900, read=40, folded=40)
    assert before.advanced(Applied(10, 200)) == before
    assert before.advanced(Applied(40, 900, late=1)) == Applied(40, 900, 40, 40, late=1)
