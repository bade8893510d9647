"""Reading every row of a shard at rest: whether its bytes are whole, and mean what they should.

RocksDB compares the checksum of each block that is read; a damaged one is named with its file, and
reading goes on with the next file. Every row is decoded by its kind, and what the rows of one key
say of each other is compared: head and body were written by one fold, a split body has its parts,
no row is of a commit that the shard has not made, and the key is this shard's.

Nothing is written, and memory holds some hundred blocks, whatever the shard's size.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ..schemas.errors import StateCorrupt, StateError, TegulaError
from ..schemas.time import HOUR_US
from ..windows.ladder import INSTANT
from ..windows.shape import Shape
from . import rows as at
from .bodies import check_parts, is_directory, parts_in
from .keys import decode_key, shard_of
from .own_rows import check_own, own_kind
from .packing import STAMPED_BYTES, Blocks, unpack
from .shard import Shard

FAULTS_MAX: Final = 100
"""Faults that are named, of one shard; more are counted."""

_PAGE_BLOCKS: Final = 256
_PAGE_BYTES: Final = 8 << 20
_OWN: Final = bytes(4)

KINDS: Final = {b"b": "bodies", b"c": "chunks", b"h": "heads", b"s": "segments"}
"""What the rows of keys are called, by the byte of their kind."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the rows of one build must be like: the shape of its tiles, the kinds of its key."""

    shape: Shape
    key_kinds: Sequence[str]


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row, or a file, that is not what it should be; `key` is the encoded one, if it is known."""

    shard: int
    kind: str
    detail: str
    build: int | None = None
    key: bytes | None = None


@dataclass
class Scan:
    """What was read of a shard: rows by kind, bytes of keys and values, and what is wrong."""

    rows: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    keys: Counter[int] = field(default_factory=Counter)
    faults: list[RowFault] = field(default_factory=list)
    fault_count: int = 0

    def blame(self, fault: RowFault) -> None:
        """Note a fault; past `FAULTS_MAX` it is only counted."""
        self.fault_count += 1
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(fault)


def scan(
    shard: Shard,
    builds: Mapping[int, Kept],
    shard_count: int,
    look: Callable[[int, bytes], None] = lambda build, key: None,
) -> Scan:
    """Read every row of a shard; `look` is told each (build, key) that has rows.

    `builds` are those that may have rows. O(rows).
    """
    found = Scan()
    reading = _Reading(shard, builds, shard_count, look, found)
    for row, value in _all_rows(shard, found):
        found.size_bytes += len(row) + len(value)
        if row.startswith(_OWN):
            reading.own(row, value)
        else:
            reading.of_key(row, value)
    reading.end()
    return found


def _all_rows(shard: Shard, found: Scan) -> Iterator[tuple[bytes, bytes]]:
    """Every row that can be read; damage is noted, and reading goes on with the next file."""
    first, damage = b"", set[str]()
    while True:
        last = first
        try:
            for row, value in shard.rows(first):
                last = row
                yield row, value
        except StateCorrupt as fault:
            if fault.got not in damage:
                damage.add(fault.got)
                found.blame(RowFault(shard.number, "file", fault.got))
            edges = shard.file_edges()
            later = bisect_right(edges, last)
            if later == len(edges):
                return
            first = edges[later]
        else:
            return


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of a key, to be decoded with others of its build and kind."""

    key: bytes
    kind: bytes
    number: int
    value: bytes


class _Reading:
    """Judges rows in order: those of a key as they come, blocks a page at a time."""

    def __init__(
        self,
        shard: Shard,
        builds: Mapping[int, Kept],
        shard_count: int,
        look: Callable[[int, bytes], None],
        found: Scan,
    ) -> None:
        self._shard = shard
        self._builds = builds
        self._shard_count = shard_count
        self._look = look
        self._found = found
        self._page: list[_Block] = []
        self._page_bytes = 0
        self._key: tuple[int, bytes] | None = None
        self._stamped: dict[bytes, bytes] = {}
        self._parts: dict[int, bytes | None] = {}

    def own(self, row: bytes, value: bytes) -> None:
        """A row of the shard itself."""
        kind = own_kind(row)
        self._found.rows[kind] += 1
        try:
            check_own(row, value, self._shard.commit_number)
        except StateError as fault:
            self._blame(kind, _said(fault))

    def of_key(self, row: bytes, value: bytes) -> None:
        """A row of a key."""
        build, base, suffix = int.from_bytes(row[:4], "big"), row[4:-9], row[-9:]
        kept, kind, number = self._builds.get(build), suffix[:1], int.from_bytes(suffix[1:], "big")
        if kept is None:
            self._found.rows["of builds that are gone"] += 1
            return
        if (build, base) != self._key:
            self._end_key()
            if self._key is None or self._key[0] != build:
                self._decode()
            self._key = build, base
            self._found.keys[build] += 1
            self._check_key(kept, build, base)
            self._look(build, base)
        self._found.rows[KINDS.get(kind, "unknown")] += 1
        if kind not in KINDS:
            self._blame("unknown", f"a row of kind {kind!r}", build, base)
            return
        if kind in b"bh" and number == 0:
            self._stamped[kind] = value[:STAMPED_BYTES] if kind == b"h" else value
        elif kind == b"b":
            self._parts[number] = value[:STAMPED_BYTES]
        elif kind == b"c" and number > self._shard.commit_number:
            self._blame("chunks", f"of commit {number}, which was not made yet", build, base)
        self._page.append(_Block(base, kind, number, value))
        self._page_bytes += len(value)
        if len(self._page) >= _PAGE_BLOCKS or self._page_bytes >= _PAGE_BYTES:
            self._decode()

    def end(self) -> None:
        """No more rows come."""
        self._end_key()
        self._decode()

    def _check_key(self, kept: Kept, build: int, key: bytes) -> None:
        try:
            decode_key(key, kept.key_kinds)
        except TegulaError as fault:
            self._blame("keys", fault.got, build, key)
            return
        shard = shard_of(key, self._shard_count)
        if shard != self._shard.number:
            self._blame("keys", f"the key belongs to shard {shard}", build, key)

    def _end_key(self) -> None:
        """Compare what the rows of the last key say of each other."""
        stamped, parts, self._stamped, self._parts = self._stamped, self._parts, {}, {}
        if self._key is None or not (stamped or parts):
            return
        head, body = stamped.get(b"h"), stamped.get(b"b")
        try:
            if head is None or body is None:
                missing = "head" if head is None else "body"
                raise StateCorrupt(where="", detail=f"there is no {missing} beside the other")
            if head[24:STAMPED_BYTES] != body[24:STAMPED_BYTES]:
                raise StateCorrupt(where="", detail="head and body are not of one fold")
            listed = parts_in(body) if is_directory(body) else []
            if is_directory(body):
                check_parts(body, parts)
            if parts.keys() - set(listed):
                raise StateCorrupt(where="", detail="there are parts that the body does not list")
        except TegulaError as fault:
            self._blame("bodies", fault.got, *self._key)

    def _decode(self) -> None:
        """Decode the blocks that have gathered; all are of one build."""
        page, self._page, self._page_bytes = self._page, [], 0
        if not page or self._key is None:
            return
        build = self._key[0]
        for kind in sorted({block.kind for block in page}):
            of_kind = [block for block in page if block.kind == kind]
            groups = (
                [b for b in of_kind if b.number == 0] if kind in b"bh" else [],
                [b for b in of_kind if kind not in b"bh" or b.number],
            )
            for blocks, stamped in zip(groups, (True, False), strict=True):
                if blocks and not self._decodes(build, blocks, stamped):
                    for block in blocks:
                        self._decodes(build, [block], stamped, last=True)

    def _decodes(
        self, build: int, blocks: Sequence[_Block], stamped: bool, *, last: bool = False
    ) -> bool:
        """Whether blocks of one kind are what they should be; what is not is noted if `last`."""
        try:
            read = unpack(self._builds[build].shape, [block.value for block in blocks], stamped)
            self._check_blocks(blocks, read, stamped)
        except Exception as fault:  # noqa: BLE001 - whatever decoding raises, the row is bad
            if last:
                self._blame(KINDS[blocks[0].kind], _said(fault), build, blocks[0].key)
            return False
        return True

    def _check_blocks(self, blocks: Sequence[_Block], read: Blocks, stamped: bool) -> None:
        tiles = read.tiles
        start_us, owner = tiles.start_us, np.repeat(np.arange(len(blocks)), np.diff(read.bounds))
        if (tiles.rows < 1).any():
            raise _bad("a tile counts no event")
        back = (start_us[1:] < start_us[:-1]) & (owner[1:] == owner[:-1])
        if back.any():
            raise _bad("tiles are not in order of time")
        if stamped:
            commit = max(read.stamps.commit.max(), read.stamps.folded_through.max())
            if int(commit) > self._shard.commit_number:
                raise _bad(f"of commit {int(commit)}, which was not made yet")
        if blocks[0].kind == at.SEGMENT:
            hours = np.array([at.hour_and_place(block.number)[0] for block in blocks])
            if (tiles.rung != INSTANT).any() or (start_us // HOUR_US != hours[owner]).any():
                raise _bad("an instant is not of the segment's hour")

    def _blame(
        self, kind: str, detail: str, build: int | None = None, key: bytes | None = None
    ) -> None:
        self._found.blame(RowFault(self._shard.number, kind, detail, build, key))


def _bad(detail: str) -> StateCorrupt:
    return StateCorrupt(where="stored block", detail=detail)


def _said(fault: Exception) -> str:
    if isinstance(fault, TegulaError):
        return fault.got or fault.message
    return f"it does not decode: {fault}"
