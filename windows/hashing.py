"""One stable 64-bit hash of values, the same on every machine and in every release.

- Numbers: the finaliser of SplitMix64 (Steele, Lea, Flood, 2014) over 64 bits: the two's complement
  of an integer (instants in µs, bools as 0 and 1), the IEEE bits of a float, with -0.0 as 0.0. It
  is a bijection, so different numbers of one column never collide. The integer 1 and the float 1.0
  hash differently: a column has one type.
- Strings: XXH3, 64 bits, seed 0, over their UTF-8 bytes.

Sketches keep these hashes, so changing the function would void their state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from .algebra import Int64s, UInt64s, Values


def hash_values(values: Values) -> UInt64s:
    """The hash of each value of a column (float64, int64 or large binary), shape (n,).

    >>> [hex(h) for h in hash_values(np.array([0, 1], np.int64))]
    ['0xe220a8397b1dcdaf', '0x910a2dec89025cc1']
    >>> [hex(h) for h in hash_values(pa.array([b"", b"roof tile"], pa.large_binary()))]
    ['0x2d06800538d394c2', '0xadcc71e6897e21fb']
    """
    if isinstance(values, pa.Array):
        return _hash_strings(values)
    if values.dtype == np.float64:
        values = values + 0.0  # -0.0 + 0.0 is 0.0
    return mix(values.view(np.uint64))


def mix(bits: UInt64s) -> UInt64s:
    """SplitMix64's finaliser: every output bit depends on every input bit; a bijection."""
    mixed = bits + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def by_hash(hashes: UInt64s, ids: Int64s, count: int) -> Int64s:
    """Indices that sort by (id, hash), shape (n,); ids are below `count`.

    >>> by_hash(np.array([9, 5, 7], np.uint64), np.array([1, 1, 0]), 2).tolist()
    [2, 1, 0]
    """
    # One sort of 64-bit numbers does it: the id above the hash's own top bits. Only if these do not
    # tell two hashes of one id apart, sort by both.
    bits = np.uint64(max(count - 1, 0).bit_length())
    leading = hashes >> bits
    if bits:
        leading |= ids.astype(np.uint64) << (np.uint64(64) - bits)
    order: Int64s = np.argsort(leading)
    sorted_leading, sorted_hashes = leading[order], hashes[order]
    again = sorted_leading[1:] == sorted_leading[:-1]
    if (sorted_hashes[1:] != sorted_hashes[:-1])[again].any():
        return np.lexsort((hashes, ids))
    return order


def _hash_strings(values: pa.LargeBinaryArray) -> UInt64s:
    # A Python call a *different* string; how often each occurs costs nothing more.
    encoded: Any = values.dictionary_encode()
    digest = xxhash.xxh3_64_intdigest
    hashes = [digest(value) for value in encoded.dictionary.to_pylist()]
    codes: Int64s = encoded.indices.to_numpy(zero_copy_only=False)
    return np.array(hashes, dtype=np.uint64)[codes]
