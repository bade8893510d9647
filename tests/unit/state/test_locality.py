"""The order of writing: by shard, then as the store sorts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tegula.state.keys import encode_key
from tegula.state.locality import order_of_writing


def binary(keys: list[bytes]) -> pa.LargeBinaryArray:
    return pa.array(keys, pa.large_binary())


def test_order_of_writing_sorts_keys_that_differ_after_a_long_common_beginning():
    keys = [encode_key((f"customer-number-{n:09}",), ("string",)) for n in range(1_000)]
    shuffled = [keys[n] for n in np.random.default_rng(5).permutation(1_000)]
    order = order_of_writing(binary(shuffled))
    assert [shuffled[place] for place in order] == keys


def test_order_of_writing_brings_shards_together():
    keys = [encode_key((n,), ("int",)) for n in range(1_000)]
    shards = np.random.default_rng(5).integers(0, 300, 1_000)
    order = order_of_writing(binary(keys), shards)
    expected = sorted(range(1_000), key=lambda n: (shards[n], keys[n]))
    assert order.tolist() == expected


def test_order_of_writing_reads_a_slice_at_its_place():
    keys = binary([b"z9", b"a3", b"a1", b"a2", b"z0"])
    assert order_of_writing(keys[1:4]).tolist() == [1, 2, 0]


@given(st.lists(st.binary(max_size=20), unique=True), st.integers(1, 5), st.integers(0, 2**32))
def test_law_order_of_writing_is_a_permutation_by_shard_for_any_bytes(keys, shards, seed):
    assigned = np.random.default_rng(seed).integers(0, shards, len(keys))
    order = order_of_writing(binary(keys), assigned)
    assert sorted(order.tolist()) == list(range(len(keys)))
    assert (np.diff(assigned[order]) >= 0).all()
