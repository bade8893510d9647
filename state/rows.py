"""Where things lie in a shard's database: its keys, and the small rows beside the tiles.

    0 u32 big-endian build (0: the shard's own rows), then the encoded entity key, then a kind

Kinds of a key's rows: `b` body, `c` chunk, `h` head, `s` segment, `r` raw rows (reserved); each is
followed by a u64, big-endian: the commit number of a chunk, hour and place of a segment, 0 for head
and body, the number of a part of a body that is split (`bodies.py`). So the last 9 bytes of a row's
key are always its suffix. The shard's own rows: `i` identity, `m` what the online store has taken,
`o` through which commit the outbox was dropped, `p` applied position of (build, partition), `v`
verdicts by the clock, `x` outbox of a commit. Big-endian, so that bytes sort as numbers.
`docs/formats/state.md` has every byte.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Final, Self

from ..schemas.errors import FormatUnknown

BODY: Final = b"b"
CHUNK: Final = b"c"
SEGMENT: Final = b"s"
BODY_SUFFIX: Final = BODY + bytes(8)
HEAD_SUFFIX: Final = b"h" + bytes(8)
SUFFIX_BYTES: Final = 9

_OWN = b"\x00\x00\x00\x00"
IDENTITY_KEY: Final = _OWN + b"i"
MIRRORED_KEY: Final = _OWN + b"m"
POSITION_PREFIX: Final = _OWN + b"p"
OUTBOX_DROPPED_KEY: Final = _OWN + b"o"
VERDICT_PREFIX: Final = _OWN + b"v"
ID_PREFIX: Final = _OWN + b"d"
BUCKET_PREFIX: Final = _OWN + b"b"
COPY_PREFIX: Final = _OWN + b"e"
JUDGED_PREFIX: Final = _OWN + b"j"
OUTBOX_PREFIX: Final = _OWN + b"x"


def build_prefix(build: int) -> bytes:
    """What every row of a build begins with."""
    return build.to_bytes(4, "big")


def chunk_suffix(commit: int) -> bytes:
    """Kind and number of the chunk that a commit wrote."""
    return CHUNK + struct.pack(">Q", commit)


def part_suffix(part: int) -> bytes:
    """Kind and number of a part of a body that is split."""
    return BODY + struct.pack(">Q", part)


def segment_number(hour: int, place: int) -> int:
    """The number of a segment: which hour since the epoch, and which of its rows.

    Grows with both; holds every hour that a time in µs may have, and 2**24 rows an hour.

    >>> hour_and_place(segment_number(-1, 2))
    (-1, 2)
    """
    return (hour + _HOUR_BIAS << _PLACE_BITS) | place


def hour_and_place(number: int) -> tuple[int, int]:
    """Hour and place of a segment's number."""
    return (number >> _PLACE_BITS) - _HOUR_BIAS, number & (1 << _PLACE_BITS) - 1


def segment_suffix(number: int) -> bytes:
    """Kind and number of a segment."""
    return SEGMENT + struct.pack(">Q", number)


_HOUR_BIAS = 1 << 39
_PLACE_BITS = 24


@dataclass(frozen=True, slots=True)
class Identity:
    """Which state this is: incarnation, last commit, and the boot that it was last open under."""

    incarnation: int
    commit: int
    boot_id: str
    clean: bool

    def encode(self) -> bytes:
        head = struct.pack("<BBxxxxxxQQ", 1, self.clean, self.incarnation, self.commit)
        return head + self.boot_id.encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        version, clean, incarnation, commit = struct.unpack_from("<BBxxxxxxQQ", value)
        if version != 1:
            raise FormatUnknown(where="identity", got=f"version {version}", expected="version 1")
        return cls(incarnation, commit, value[24:].decode(), bool(clean))


@dataclass(frozen=True, slots=True)
class Applied:
    """How far a build has taken in a partition, and what became of the records so far.

    `next_offset` is the first offset not yet applied; `running_max_us` the partition's running
    maximum there, from which a source resumes its watermark. The counters are this shard's share
    of the records before `next_offset`: `folded` by the key's shard, all others by the shard of
    the partition. `late` is a mark on some of the folded ones.
    """

    next_offset: int
    running_max_us: int
    read: int = 0
    folded: int = 0
    filtered: int = 0
    duplicate: int = 0
    expired: int = 0
    dead_lettered: int = 0
    late: int = 0

    def encode(self) -> bytes:
        return struct.pack("<9q", *_APPLIED_FIELDS(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        return cls(*struct.unpack("<9q", value))

    def advanced(self, step: Applied) -> Applied:
        """This position after `step`, whose counters are those of the records in between.

        A step that ends before it leaves the position where it is: a source reads on from the shard
        that is furthest behind (or from the archive), so the others are given again what they have.
        """
        counts = [getattr(self, name) + getattr(step, name) for name in COUNTERS]
        further = self if self.next_offset > step.next_offset else step
        return Applied(further.next_offset, further.running_max_us, *counts)


COUNTERS: Final = tuple(f.name for f in fields(Applied))[2:]

_APPLIED_FIELDS = attrgetter(*(f.name for f in fields(Applied)))


def position_key(build: int, ordinal: int) -> bytes:
    """Key of the applied position of a build in the partition with this ordinal."""
    return POSITION_PREFIX + struct.pack(">II", build, ordinal)


def parse_position_key(key: bytes) -> tuple[int, int]:
    """`(build, ordinal)` of a position's key."""
    build, ordinal = struct.unpack_from(">II", key, len(POSITION_PREFIX))
    return build, ordinal


def outbox_key(commit: int) -> bytes:
    """Key of a commit's outbox row."""
    return OUTBOX_PREFIX + struct.pack(">Q", commit)


def encode_dropped(commit: int) -> bytes:
    """The row that says through which commit the outbox was dropped: u64."""
    return struct.pack("<Q", commit)


def decode_dropped(value: bytes) -> int:
    """The commit in that row."""
    return int.from_bytes(value, "little")


@dataclass(frozen=True, slots=True)
class Touched:
    """The keys of one build that a commit touched; `rewrite` if a fold did.

    A rewritten key's online row is written anew; another's gets the commit's chunk merged in.
    `segments` are, for each key, the numbers of the segments that the fold wrote or deleted; empty
    if there are none of any key.
    """

    build: int
    keys: Sequence[bytes]
    rewrite: bool
    segments: Sequence[Sequence[int]] = ()


_REWRITE, _WITH_SEGMENTS = 1, 2
"""Bits of an outbox entry's second number."""


def encode_outbox(touched: Sequence[Touched]) -> bytes:
    """One outbox row: for each entry build u32, flags u32, count u32, lengths u32[], keys.

    With segments then counts u32[], and the numbers, u64 each.
    """
    parts = []
    for entry in touched:
        flags = _REWRITE * entry.rewrite | _WITH_SEGMENTS * bool(entry.segments)
        parts.append(struct.pack("<III", entry.build, flags, len(entry.keys)))
        parts.append(struct.pack(f"<{len(entry.keys)}I", *map(len, entry.keys)))
        parts.extend(entry.keys)
        if entry.segments:
            parts.append(struct.pack(f"<{len(entry.keys)}I", *map(len, entry.segments)))
            parts.extend(struct.pack(f"<{len(numbers)}Q", *numbers) for numbers in entry.segments)
    return b"".join(parts)


def count_outbox_keys(value: bytes) -> int:
    """How many keys an outbox row names, without reading them.

    >>> count_outbox_keys(encode_outbox([Touched(1, [b"a", b"bc"], rewrite=False)]))
    2
    """
    total = at = 0
    while at < len(value):
        _, flags, count = struct.unpack_from("<III", value, at)
        at += 12
        at += 4 * count + sum(struct.unpack_from(f"<{count}I", value, at))
        if flags & _WITH_SEGMENTS:
            at += 4 * count + 8 * sum(struct.unpack_from(f"<{count}I", value, at))
        total += count
    return total


def decode_outbox(value: bytes) -> list[Touched]:
    """The entries of an outbox row."""
    entries, at = [], 0
    while at < len(value):
        build, flags, count = struct.unpack_from("<III", value, at)
        lengths = struct.unpack_from(f"<{count}I", value, at + 12)
        at += 12 + 4 * count
        keys = []
        for length in lengths:
            keys.append(value[at : at + length])
            at += length
        segments: list[tuple[int, ...]] = []
        if flags & _WITH_SEGMENTS:
            counts = struct.unpack_from(f"<{count}I", value, at)
            at += 4 * count
            for length in counts:
                segments.append(struct.unpack_from(f"<{length}Q", value, at))
                at += 8 * length
        entries.append(Touched(build, keys, bool(flags & _REWRITE), tuple(segments)))
    return entries
