"""How entity keys become bytes, and to which shard they belong.

Encoded keys sort as their values do, column by column, and no key is the beginning of another, so
that rows of one key are neighbours in an ordered store. Byte by byte (see `docs/formats/keys.md`):

* string: UTF-8, each 0x00 written as 0x00 0x01, then the terminator 0x00 0x00;
* int, time (µs): 8 bytes, big-endian, sign bit flipped;
* bool: one byte, 0 or 1.

Floats are refused as keys when definitions are checked.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ..schemas.errors import StateCorrupt

_TERMINATOR = b"\x00\x00"


def encode_keys(columns: Sequence[pa.Array], kinds: Sequence[str]) -> pa.LargeBinaryArray:
    """Encode n keys given as columns without nulls; `kinds` names each column's kind.

    Kinds are those of `DataType.kind`; times are int64 µs.
    """
    parts = [_encode_column(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    if len(parts) == 1:
        return parts[0]
    empty = pa.scalar(b"", type=pa.large_binary())
    return pc.binary_join_element_wise(*parts, empty)


def _encode_column(column: pa.Array, kind: str) -> pa.LargeBinaryArray:
    if kind == "string":
        text = column.cast(pa.large_string())
        if _has_nul(text):
            text = pc.replace_substring(text, "\x00", "\x00\x01")
        terminator, nothing = (pa.scalar(t, type=pa.large_string()) for t in ("\x00\x00", ""))
        ended = pc.binary_join_element_wise(text, terminator, nothing)
        return ended.cast(pa.large_binary())
    if kind == "bool":
        raw = np.asarray(column.cast(pa.uint8()).to_numpy(zero_copy_only=False), dtype=np.uint8)
        return _fixed(raw.tobytes(), 1, len(raw))
    values = column.to_numpy(zero_copy_only=False).astype(np.int64)
    flipped = (values.view(np.uint64) ^ np.uint64(1 << 63)).astype(">u8")
    return _fixed(flipped.tobytes(), 8, len(values))


def _has_nul(text: pa.LargeStringArray) -> bool:
    data = text.buffers()[2]
    return data is not None and b"\x00" in memoryview(data).tobytes()


def _fixed(data: bytes, width: int, count: int) -> pa.LargeBinaryArray:
    offsets = np.arange(count + 1, dtype=np.int64) * width
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), count, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)]
    )


def encode_key(values: Sequence[Any], kinds: Sequence[str]) -> bytes:
    """Encode one key from plain Python values (times as int µs).

    >>> encode_key(("c1", 7), ("string", "int")).hex(" ")
    '63 31 00 00 80 00 00 00 00 00 00 07'
    """
    return b"".join(_encode_one(value, kind) for value, kind in zip(values, kinds, strict=True))


def _encode_one(value: Any, kind: str) -> bytes:
    if kind == "string":
        text: bytes = value.encode()
        return text.replace(b"\x00", b"\x00\x01") + _TERMINATOR
    if kind == "bool":
        return b"\x01" if value else b"\x00"
    return struct.pack(">Q", (value + (1 << 63)) & (1 << 64) - 1)


def decode_key(encoded: bytes, kinds: Sequence[str]) -> tuple[Any, ...]:
    """The values of an encoded key.

    Raises `StateCorrupt` if the bytes are no key of these kinds.

    >>> decode_key(encode_key(("a\\x00b", -1, True), k := ("string", "int", "bool")), k)
    ('a\\x00b', -1, True)
    """
    values: list[Any] = []
    at = 0
    try:
        for kind in kinds:
            if kind == "string":
                end = at
                while encoded[end : end + 2] != _TERMINATOR:
                    end = encoded.index(b"\x00", end)
                    if encoded[end + 1] == 1:
                        end += 2
                values.append(encoded[at:end].replace(b"\x00\x01", b"\x00").decode())
                at = end + 2
            elif kind == "bool":
                values.append(encoded[at] == 1)
                at += 1
            else:
                values.append(struct.unpack_from(">Q", encoded, at)[0] - (1 << 63))
                at += 8
    except (ValueError, IndexError, struct.error) as fault:
        raise StateCorrupt(where="entity key", detail=f"{encoded.hex()} is no {kinds}") from fault
    if at != len(encoded):
        raise StateCorrupt(where="entity key", detail=f"{encoded.hex()} is longer than {kinds}")
    return tuple(values)


def shard_of(encoded: bytes, shard_count: int) -> int:
    """The shard of a key: XXH3 (64 bits, seed 0) of its encoded bytes, modulo the shards.

    >>> shard_of(encode_key(("c1",), ("string",)), 16)
    14
    """
    return xxhash.xxh3_64_intdigest(encoded) % shard_count


def hashes_of(encoded: Sequence[bytes]) -> np.ndarray:
    """The XXH3 hash of each key, uint64; 40 ns a key, so call it on distinct keys."""
    return np.fromiter(map(xxhash.xxh3_64_intdigest, encoded), np.uint64, len(encoded))


def shards_of(hashes: np.ndarray, shard_count: int) -> np.ndarray:
    """The shard of each key, int64, from the keys' hashes."""
    return (hashes % np.uint64(shard_count)).astype(np.int64)
