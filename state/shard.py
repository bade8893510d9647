"""One shard: the state of a slice of the key space, and the commit that makes events part of it.

A commit is one atomic write: the chunks of the keys touched, the applied position of every build
in every partition, and an outbox row that names the keys whose online rows must follow. Either all
of it is there after a crash or none; nothing else is needed for exactly-once into state.

Chunks are written blind: committing never reads state. What a key holds is its body and head and
the chunks above `folded_through` (`fold.py` turns the one into the other). Segments, the instants
behind its coarse tiles, are rows beside (`segments.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from rocksdict import Checkpoint, Rdict, RdictIter, ReadOptions, WriteBatch

from ..schemas.errors import StateError
from ..windows.shape import Shape
from ..windows.tiles import KeyedTiles
from .bodies import check_parts, is_directory, parts_in
from .database import Memory, is_at_row, named_faults, open_database, rows_of
from .mirrored import Mirrored
from .outbox import Outbox
from .packing import CHUNK, FOLDED_THROUGH_AT, pack
from .rows import (
    BODY_SUFFIX,
    HEAD_SUFFIX,
    IDENTITY_KEY,
    MIRRORED_KEY,
    POSITION_PREFIX,
    SUFFIX_BYTES,
    Applied,
    Identity,
    Touched,
    build_prefix,
    chunk_suffix,
    parse_position_key,
    part_suffix,
    position_key,
    segment_suffix,
)
from .rows import (
    CHUNK as CHUNK_ROW,
)
from .segment_rows import SegmentRows
from .uniqueness import SeenIds
from .verdicts import Verdicts

_FOLDED_THROUGH: Final = struct.Struct("<Q")

_Get = Callable[[bytes], bytes | None]
"""Getting a row by its key: several times faster than seeking it, but not as of a snapshot."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The rows of one key as they lie in the state; `chunks` are those not yet folded, in order.

    `parts` holds, by number, those of a body that is split; `body` is then their directory, which
    has no tiles. `segments` holds, by number, those that were asked for and are there.
    """

    head: bytes | None
    body: bytes | None
    chunks: tuple[bytes, ...]
    chunk_commits: tuple[int, ...]
    segments: Mapping[int, bytes] = field(default_factory=dict)
    parts: Mapping[int, bytes] = field(default_factory=dict)


class Shard:
    """An open shard. One process and, for writing, one thread at a time owns it."""

    def __init__(self, number: int, path: Path, memory: Memory, incarnation: int) -> None:
        """Open the shard in `path`; `incarnation` is used if the shard is new (see `renew`)."""
        self.number = number
        self._path = path
        self._database: Rdict = open_database(path, memory)
        with named_faults(path):
            stored = self._database.get(IDENTITY_KEY)
        self.created = stored is None
        self.outbox = Outbox(self._database, path)
        self.segments = SegmentRows(self._database, path)
        self.verdicts = Verdicts(self._database, path)
        self.seen_ids = SeenIds(self._database, path)
        self._identity = (
            Identity(incarnation, 0, "", True) if stored is None else Identity.decode(stored)
        )
        self.applied: dict[tuple[int, int], Applied] = dict(self._read_positions())

    @property
    def incarnation(self) -> int:
        return self._identity.incarnation

    @property
    def commit_number(self) -> int:
        """Number of the last commit; 0 before the first."""
        return self._identity.commit

    @property
    def identity(self) -> Identity:
        return self._identity

    def readable_positions(self) -> dict[int, int]:
        """For each partition's ordinal the first offset that its live builds have not applied.

        Live builds stand together; one that is catching up stands behind them and serves nothing.
        """
        positions: dict[int, int] = {}
        for (_, ordinal), at in list(self.applied.items()):
            positions[ordinal] = max(positions.get(ordinal, 0), at.next_offset)
        return positions

    def reached(self, ordinal: int) -> int:
        """How far any build has applied a partition; 0 if none has."""
        applied = list(self.applied.items())
        return max((at.next_offset for (_, of), at in applied if of == ordinal), default=0)

    def renew(self, *, incarnation: int, boot_id: str) -> None:
        """Note that this engine, under this boot, now owns the shard (synced before it returns)."""
        self._identity = replace(
            self._identity, incarnation=incarnation, boot_id=boot_id, clean=False
        )
        self._put_identity()

    def commit(
        self,
        chunks: Mapping[int, tuple[Shape, KeyedTiles]],
        steps: Mapping[tuple[int, int], Applied],
    ) -> int:
        """Make tiles and positions part of the state, in one write; returns the commit's number.

        `chunks` holds for each build what its keys gained; `steps` for each (build, partition
        ordinal) the new position with the counts of the records since the last one.
        """
        number = self._identity.commit + 1
        batch = WriteBatch(raw_mode=True)
        put, suffix = batch.put, chunk_suffix(number)
        touched = []
        for build, (shape, keyed) in chunks.items():
            if not len(keyed):
                continue
            keys, prefix = keyed.keys.to_pylist(), build_prefix(build)
            for key, block in zip(keys, pack(shape, keyed, CHUNK), strict=True):
                put(prefix + key + suffix, block)
            touched.append(Touched(build, keys, rewrite=False))
        advanced = {at: self._advance(at, step) for at, step in steps.items()}
        for (build, ordinal), position in advanced.items():
            put(position_key(build, ordinal), position.encode())
        self._finish(batch, number, touched)
        self.applied.update(advanced)
        return number

    def _advance(self, at: tuple[int, int], step: Applied) -> Applied:
        before = self.applied.get(at)
        return step if before is None else before.advanced(step)

    def write_folded(
        self,
        build: int,
        puts: Iterable[tuple[bytes, bytes]],
        deletes: Iterable[bytes],
        keys: Sequence[bytes],
        segments: Sequence[Sequence[int]] = (),
    ) -> int:
        """Write what a fold made of a build's keys, as one commit; returns its number.

        `segments` are the numbers of each key's segments among the rows, or empty.
        """
        number = self._identity.commit + 1
        batch = WriteBatch(raw_mode=True)
        for key, value in puts:
            batch.put(key, value)
        for key in deletes:
            batch.delete(key)
        self._finish(batch, number, [Touched(build, keys, rewrite=True, segments=segments)])
        return number

    def _finish(self, batch: WriteBatch, number: int, touched: Sequence[Touched]) -> None:
        identity = replace(self._identity, commit=number)
        batch.put(IDENTITY_KEY, identity.encode())
        with self.outbox.adding(batch, number, touched):
            self._write(batch)
        self._identity = identity

    def _write(self, batch: WriteBatch) -> None:
        with named_faults(self._path):
            self._database.write(batch)

    def read_keys(self, build: int, keys: Sequence[bytes]) -> list[StoredKey]:
        """The stored rows of keys. For the thread that commits: it reads beside no commit."""
        rows = self._database.iter(ReadOptions())
        return self._read(self._database.get, rows, build, keys)

    def read_with_commit(
        self, build: int, keys: Sequence[bytes], segments: Sequence[Iterable[int]] = ()
    ) -> tuple[int, list[StoredKey]]:
        """The stored rows of keys, as of one moment, and the number of the last commit in them.

        `segments` names, for each key, the segments that are wanted; none of any key if empty.
        """
        snapshot = self._database.snapshot()
        identity = Identity.decode(snapshot[IDENTITY_KEY])
        rows = snapshot.iter(ReadOptions())
        get = partial(_at, rows)
        stored = self._read(get, rows, build, keys)
        if segments:
            prefix = build_prefix(build)
            with named_faults(self._path):
                for place, (key, numbers) in enumerate(zip(keys, segments, strict=True)):
                    found = {n: get(prefix + key + segment_suffix(n)) for n in numbers}
                    there = {n: block for n, block in found.items() if block is not None}
                    stored[place] = replace(stored[place], segments=there)
        return identity.commit, stored

    def _read(
        self, get: _Get, rows: RdictIter, build: int, keys: Sequence[bytes]
    ) -> list[StoredKey]:
        prefix = build_prefix(build)
        with named_faults(self._path):
            return [_read_key(get, rows, prefix + key) for key in keys]

    def scan_keys(self, build: int, after: bytes, limit: int) -> list[bytes]:
        """Up to `limit` distinct keys of a build that sort after `after` (b"" = from the first)."""
        prefix = build_prefix(build)
        rows = self._database.iter(ReadOptions())
        rows.seek(prefix + after + b"\xff" if after else prefix)
        keys: list[bytes] = []
        while len(keys) < limit and is_at_row(rows):
            row = rows.key()
            if not row.startswith(prefix):
                break
            base = row[:-SUFFIX_BYTES]
            keys.append(base[len(prefix) :])
            rows.seek(base + b"\xff")
        return keys

    def rows(self, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Every row from `first` on, in order, with its checksum compared; nothing stays in memory.

        Raises `StateCorrupt`, which names the file, at a row that cannot be read.
        """
        options = ReadOptions()
        options.fill_cache(False)  # type: ignore[call-arg]  # the stub knows no argument
        rows = self._database.iter(options)
        rows.seek(first)
        while is_at_row(rows):
            yield rows.key(), rows.value()
            rows.next()

    def rows_of(self, build: int, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every row of one key, whatever it is, in order. Raises as `rows` does."""
        base = build_prefix(build) + key
        yield from (
            (row, value) for row, value in rows_of(self._database, base) if _is_of(row, base)
        )

    def file_edges(self) -> list[bytes]:
        """Where the files of the database begin, and what follows each, in order of keys.

        There one reads on after damage.
        """
        with named_faults(self._path):
            files = self._database.live_files()
        ends = {file["end_key"] + b"\x00" for file in files}
        return sorted(ends | {file["start_key"] for file in files})

    def mirrored(self) -> Mirrored | None:
        """What the online store is known to have taken; None before it has taken anything."""
        with named_faults(self._path):
            value = self._database.get(MIRRORED_KEY)
        return None if value is None else Mirrored.decode(value)

    def put_mirrored(self, mirrored: Mirrored) -> None:
        """Keep what the online store is known to have taken."""
        self.clear_outbox([], mirrored)

    def clear_outbox(self, numbers: Sequence[int], mirrored: Mirrored | None = None) -> None:
        """Forget outbox rows whose keys the online store has taken over; keep that it has."""
        batch = WriteBatch(raw_mode=True)
        if mirrored is not None:
            batch.put(MIRRORED_KEY, mirrored.encode())
        with self.outbox.clearing(batch, numbers):
            self._write(batch)

    def drop_build(self, build: int) -> None:
        """Delete every row of a build, in batches; its positions too."""
        prefix = build_prefix(build)
        batch = WriteBatch(raw_mode=True)
        for key, _ in rows_of(self._database, prefix):
            batch.delete(key)
            if batch.len() >= 10_000:
                self._write(batch)
                batch = WriteBatch(raw_mode=True)
        for at in [at for at in self.applied if at[0] == build]:
            batch.delete(position_key(*at))
            del self.applied[at]
        self._write(batch)

    def sync(self) -> None:
        """Make every commit so far survive the machine's loss of power."""
        with named_faults(self._path):
            self._database.flush_wal(True)

    def flush(self) -> None:
        """Write what is in memory to files, so that a `link_to` soon after is short."""
        with named_faults(self._path):
            self._database.flush()

    def link_to(self, folder: Path) -> None:
        """Make a new folder a copy of the database as of now, of links to files that never change.

        Takes milliseconds: what is in memory is written first, and nothing is copied.
        """
        with named_faults(folder):
            Checkpoint(self._database).create_checkpoint(str(folder))

    def close(self) -> None:
        """Stop cleanly: note it, sync, release the database."""
        self._identity = replace(self._identity, clean=True)
        try:
            self._put_identity()
        except StateError:
            with suppress(StateError):  # it would only say that there was a fault before
                self.abandon()
            raise
        self.abandon()

    def _put_identity(self) -> None:
        with named_faults(self._path):
            self._database.put(IDENTITY_KEY, self._identity.encode())
        self.sync()

    def abandon(self) -> None:
        """Release the database as a crash would leave it (for tests of recovery)."""
        with named_faults(self._path):
            self._database.close()

    def _read_positions(self) -> Iterable[tuple[tuple[int, int], Applied]]:
        for key, value in rows_of(self._database, POSITION_PREFIX):
            yield parse_position_key(key), Applied.decode(value)


def _is_of(row: bytes, base: bytes) -> bool:
    return len(row) == len(base) + SUFFIX_BYTES


def _read_key(get: _Get, rows: RdictIter, base: bytes) -> StoredKey:
    """The rows of one key: head, body and parts by name, then from the first chunk not folded.

    A scan from the body on would cross the tombstones of every chunk folded so far.
    """
    head, body = get(base + HEAD_SUFFIX), get(base + BODY_SUFFIX)
    folded_through = 0
    stamped = head or body
    if stamped is not None:
        folded_through = _FOLDED_THROUGH.unpack_from(stamped, FOLDED_THROUGH_AT)[0]
    chunks, commits = [], []
    first = base + CHUNK_ROW
    rows.seek(base + chunk_suffix(folded_through + 1))
    while rows.valid():
        key = rows.key()
        if not key.startswith(first) or len(key) != len(first) + 8:
            break
        chunks.append(rows.value())
        commits.append(int.from_bytes(key[len(first) :], "big"))
        rows.next()
    else:
        is_at_row(rows)  # raises where it was damage that ended the rows
    if body is None or not is_directory(body):
        return StoredKey(head, body, tuple(chunks), tuple(commits))
    parts = {part: get(base + part_suffix(part)) for part in parts_in(body)}
    found = check_parts(body, parts)
    return StoredKey(head, body, tuple(chunks), tuple(commits), parts=found)


def _at(rows: RdictIter, key: bytes) -> bytes | None:
    rows.seek(key)
    if is_at_row(rows) and rows.key() == key:
        value: bytes = rows.value()
        return value
    return None
