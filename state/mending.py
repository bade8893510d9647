"""Replacing all that a shard holds of some keys by what was made elsewhere of the same events.

One write batch deletes every row of the keys (also ones that should not be there) and writes heads,
bodies and segments, as a fold would: with a commit's number of its own, and an outbox row by which
the online store follows. Positions and counters stay: the events are the same.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from .packing import PREFIX
from .rows import (
    BODY_SUFFIX,
    HEAD_SUFFIX,
    SEGMENT,
    SUFFIX_BYTES,
    build_prefix,
    part_suffix,
    segment_suffix,
)
from .shard import Shard

_WHEN: Final = struct.Struct("<QQQ")
"""The stamp's incarnation, commit and `folded_through`; behind them stands the horizon."""


def replace_keys(shard: Shard, build: int, keys: Sequence[bytes], made: Shard) -> int:
    """Let `shard` hold of `keys` what `made` does, in one commit; returns its number.

    In `made` each of the keys is folded and has no chunks since; one that it does not hold is gone
    then. Raises `StateCorrupt` where the rows that are to go cannot be read: then nothing changes.
    """
    number, prefix = shard.commit_number + 1, build_prefix(build)
    when = _WHEN.pack(shard.incarnation, number, number)
    puts: dict[bytes, bytes] = {}
    before: list[bytes] = []
    numbers: list[list[int]] = []
    for key, rows in zip(keys, made.read_keys(build, keys), strict=True):
        base = prefix + key
        assert not rows.chunks, "what was made is folded"
        if rows.head is not None and rows.body is not None:
            puts[base + HEAD_SUFFIX] = _stamped(rows.head, when)
            puts[base + BODY_SUFFIX] = _stamped(rows.body, when)
        puts.update((base + part_suffix(part), block) for part, block in rows.parts.items())
        segments = {n: block for _, n, block in made.segments.all_of(build, [key])}
        puts.update((base + segment_suffix(n), block) for n, block in segments.items())
        old = [row for row, _ in shard.rows_of(build, key)]
        before += old
        numbers.append(sorted({*segments, *_segments_among(old)}))
    deletes = [row for row in before if row not in puts]
    changed = numbers if any(numbers) else ()
    return shard.write_folded(build, puts.items(), deletes, keys, changed)


def _stamped(block: bytes, when: bytes) -> bytes:
    """A head or body as if this commit had folded it."""
    return block[: PREFIX.itemsize] + when + block[PREFIX.itemsize + len(when) :]


def _segments_among(rows: Sequence[bytes]) -> list[int]:
    suffixes = [row[-SUFFIX_BYTES:] for row in rows]
    return [int.from_bytes(one[1:], "big") for one in suffixes if one[:1] == SEGMENT]
