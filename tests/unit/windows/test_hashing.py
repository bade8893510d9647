from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from tegula.windows.hashing import hash_values, mix


def test_golden_hashes_never_change():
    """Sketches in stored state hold these."""
    ints = hash_values(np.array([0, 1, -1, 2**63 - 1], np.int64))
    floats = hash_values(np.array([0.0, 1.0, -1.5, 1e308]))
    strings = hash_values(pa.array([b"", b"a", "Tegula äö".encode()], pa.large_binary()))
    assert [f"{h:016x}" for h in (*ints, *floats, *strings)] == [
        "e220a8397b1dcdaf",
        "910a2dec89025cc1",
        "e4d971771b652c20",
        "2a67d7552e039ea7",
        "e220a8397b1dcdaf",
        "88d7c35bbbf3eded",
        "5c4ce031a716b337",
        "64c7eb55f5fba6e8",
        "2d06800538d394c2",
        "e6c632b61e964e1f",
        "3fe34c540006b65e",
    ]


def test_hash_takes_zero_and_minus_zero_for_one_value():
    assert len(set(hash_values(np.array([0.0, -0.0])).tolist())) == 1


def test_hash_tells_an_integer_from_the_float_of_its_size():
    assert hash_values(np.array([1]))[0] != hash_values(np.array([1.0]))[0]


@given(st.lists(st.binary(max_size=300)))
def test_law_strings_hash_as_xxh3_of_their_bytes(values):
    column = pa.array(values, pa.large_binary())
    assert hash_values(column).tolist() == [xxhash.xxh3_64_intdigest(v) for v in values]
    assert hash_values(column[1:]).tolist() == hash_values(column).tolist()[1:]


@given(st.sets(st.integers(0, 2**64 - 1)))
def test_law_mix_never_collides(bits):
    assert len(set(mix(np.array(list(bits), np.uint64)).tolist())) == len(bits)
