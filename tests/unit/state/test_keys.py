"""Entity keys as bytes: order, no prefixes, stable shards."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.schemas.errors import StateCorrupt
from tegula.state.keys import decode_key, encode_key, encode_keys, hashes_of, shard_of, shards_of

KINDS = ("string", "int", "bool")
keys = st.tuples(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
)


@given(keys)
def test_law_decode_key_gives_back_what_was_encoded(key):
    assert decode_key(encode_key(key, KINDS), KINDS) == key


@given(keys, keys)
def test_law_encoded_keys_sort_as_their_values_and_none_begins_another(one, other):
    a, b = encode_key(one, KINDS), encode_key(other, KINDS)
    as_bytes = (one[0].encode(), *one[1:]), (other[0].encode(), *other[1:])
    assert (a < b) == (as_bytes[0] < as_bytes[1])
    assert one == other or not b.startswith(a)


@given(st.lists(keys, min_size=1, max_size=20))
def test_law_encode_keys_is_encode_key_of_each(many):
    columns = [pa.array(column) for column in zip(*many, strict=True)]
    expected = [encode_key(key, KINDS) for key in many]
    assert encode_keys(columns, KINDS).to_pylist() == expected


def test_encode_keys_takes_times_as_integers():
    column = pa.array([-1, 0, 1_700_000_000_000_000], pa.int64())
    encoded = encode_keys([column], ("time",)).to_pylist()
    assert [decode_key(key, ("time",))[0] for key in encoded] == column.to_pylist()
    assert encoded == sorted(encoded)


def test_golden_shard_of_stays_what_it_was():
    """A key's shard is part of the stored state: these figures never change."""
    assert [shard_of(encode_key((f"k{i}",), ("string",)), 16) for i in range(12)] == GOLDEN_SHARDS
    assert shard_of(encode_key((-5, True), ("int", "bool")), 64) == GOLDEN_MIXED


GOLDEN_SHARDS = [12, 14, 12, 15, 5, 7, 11, 6, 7, 3, 12, 14]
GOLDEN_MIXED = 61


def test_shards_of_agrees_with_shard_of_each_key():
    many = [encode_key((f"k{i}",), ("string",)) for i in range(100)]
    assert shards_of(hashes_of(many), 16).tolist() == [shard_of(key, 16) for key in many]


@pytest.mark.parametrize("damaged", [b"", b"abc", b"abc\x00", b"abc\x00\x00rest"])
def test_decode_key_refuses_bytes_that_are_no_key(damaged):
    with pytest.raises(StateCorrupt, match="entity key"):
        decode_key(damaged, ("string",))
