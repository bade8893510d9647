"""The embedded online store: one LMDB environment a shard, read by any number of processes.

A reader sees one consistent moment, takes no lock against the writer, and needs no catching up.
Nothing is synced but at a clean stop: what a lost machine leaves behind is rebuilt from the state.

Layout: `shard-NN/<incarnation>/` holds the environment of one incarnation of the state; the file
`shard-NN/current` names the directory to read and is replaced by rename. Readers look at it every
100 ms. An old directory is unlinked (open readers keep their mapping), never truncated or reused.

Keys are `build u32 big-endian | encoded key | h or b`, or `s` and a segment's number as u64. LMDB
bounds a key at 511 bytes; an entity key of more than 480 is cut to its first 474 and followed by
its 128-bit XXH3 digest: 490 bytes, longer than any key that stands for itself, with its segments.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import lmdb
import xxhash

from ...schemas.errors import DiskFull, OnlineStoreFull, StateCorrupt
from ..packing import online_head_commit, tile_count
from ..rows import SEGMENT, SUFFIX_BYTES, build_prefix, segment_number, segment_suffix
from ..segments import ROW_INSTANTS
from .rows import Mark, OnlineWriter, Row, RowWrites, Segments

MAP_BYTES: Final = 64 << 30
"""Size of every mapping: the same in every process, sparse, far above need."""

READERS_MAX: Final = 1024
_LOCK_BYTES: Final = (READERS_MAX + 64) * 64  # 64 bytes a reader, and LMDB's own header
LOOK_US: Final = 100_000
_WHOLE_KEY_BYTES_MAX: Final = 480
_KEY_HEAD_BYTES: Final = _WHOLE_KEY_BYTES_MAX + SUFFIX_BYTES + 1 - 16
_MARK: Final = b"\x00\x00\x00\x00mark"
_HEAD, _BODY = b"h", b"b"
_DROPPED_AT_ONCE: Final = 4096
_NO_SPACE: Final = "No space left"
_SHORT_WRITE: Final = "Input/output error"  # what LMDB makes of it


def stored_key(prefix: bytes, key: bytes) -> bytes:
    """Where a key's rows lie, less the kind: the key itself, or its beginning and digest.

    >>> len(stored_key(b"....", b"x" * 70_000))
    494
    """
    if len(key) <= _WHOLE_KEY_BYTES_MAX:
        return prefix + key
    return prefix + key[:_KEY_HEAD_BYTES] + xxhash.xxh3_128_digest(key)


def _places(build: int, keys: Sequence[bytes], kind: bytes) -> list[bytes]:
    """Where the rows of one kind of many keys lie; nearly always no key is long."""
    prefix = build_prefix(build)
    if max(map(len, keys), default=0) <= _WHOLE_KEY_BYTES_MAX:
        return [prefix + key + kind for key in keys]
    return [stored_key(prefix, key) + kind for key in keys]


def _shard_directory(root: Path, shard: int) -> Path:
    return root / f"shard-{shard:02d}"


def _current(directory: Path) -> str | None:
    try:
        return (directory / "current").read_text().strip() or None
    except FileNotFoundError:
        return None


def _reserve_lock(path: Path) -> None:
    """Have all of the lock file on the disk: mapped, a hole in it that is written to kills."""
    with (path / "lock.mdb").open("a+b") as file:
        os.posix_fallocate(file.fileno(), 0, _LOCK_BYTES)


class LmdbWriter:
    """The writing end of one shard's online rows.

    Opening it under a new `incarnation` begins an empty environment, to be filled from state and
    published by `publish`; until then readers keep the old one.
    """

    def __init__(
        self, root: Path, shard: int, incarnation: int, map_bytes: int = MAP_BYTES
    ) -> None:
        self._directory = _shard_directory(root, shard)
        self._name = str(incarnation)
        path = self._directory / self._name
        if _current(self._directory) != self._name and path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        try:
            _reserve_lock(path)
            self._environment = lmdb.open(
                str(path),
                map_size=map_bytes,
                max_readers=READERS_MAX,
                sync=False,
                metasync=False,
                meminit=False,
            )
        except lmdb.Error as fault:
            if _NO_SPACE in str(fault):
                raise DiskFull(where=str(path), got=str(fault)) from fault
            raise StateCorrupt(where=str(path), detail=str(fault)) from fault

    @property
    def rows_expire(self) -> bool:
        return False

    def publish(self) -> None:
        """Let readers take this environment, and unlink those of other incarnations."""
        if _current(self._directory) == self._name:
            return
        temporary = self._directory / "current.new"
        temporary.write_text(self._name)
        temporary.replace(self._directory / "current")
        for path in self._directory.iterdir():
            if path.is_dir() and path.name != self._name:
                shutil.rmtree(path, ignore_errors=True)

    def mark(self) -> Mark | None:
        with self._environment.begin() as transaction:
            value = transaction.get(_MARK)
        return None if value is None else Mark.decode(value)

    def heads(self, build: int, keys: Sequence[bytes]) -> list[bytes | None]:
        places = _places(build, keys, _HEAD)
        with self._environment.begin() as transaction:
            return [*map(transaction.get, places)]

    def write(self, writes: Sequence[RowWrites], mark: Mark) -> None:
        with self._writing() as cursor:
            for change in writes:
                _change(cursor, change)
            cursor.put(_MARK, mark.encode())

    @contextmanager
    def _writing(self) -> Iterator[lmdb.Cursor]:
        """One transaction. Raises `OnlineStoreFull` where there is no space for it."""
        try:
            with self._environment.begin(write=True) as transaction:
                yield transaction.cursor()
        except lmdb.Error as fault:
            full = isinstance(fault, lmdb.MapFullError | lmdb.DiskError)
            if not full and _SHORT_WRITE not in str(fault):
                raise
            raise OnlineStoreFull(where=str(self._directory), detail=str(fault)) from fault

    def read(self, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        """The mark and (head, body) of each key, for reading inside the writing process."""
        return self.read_with_segments(build, keys, ())[:2]

    def read_with_segments(
        self, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        """The same with each key's segments of `hours`."""
        with self._environment.begin() as transaction:
            value = transaction.get(_MARK)
            rows = _rows(transaction, build, keys)
            segments = _segments(transaction, build, keys, hours)
        return None if value is None else Mark.decode(value), rows, segments

    def check_readers(self) -> int:
        """Free the pages that killed readers still pin; returns how many there were."""
        return int(self._environment.reader_check())

    def drop_older(self, build: int, commit: int) -> None:
        """Delete all rows of keys whose head is stamped with an earlier commit than this."""
        after = build_prefix(build)
        while older := self._older(build, commit, after):
            with self._writing() as cursor:
                for place in older:
                    _delete(cursor, place + _HEAD)
                    _delete(cursor, place + _BODY)
                    _delete_segments(cursor, place)
            after = older[-1]

    def _older(self, build: int, commit: int, after: bytes) -> list[bytes]:
        """Where the next keys lie whose head is older than `commit`, not too many at a time."""
        prefix, older = build_prefix(build), list[bytes]()
        with self._environment.begin(buffers=True) as transaction:
            cursor = transaction.cursor()
            if not cursor.set_range(after):
                return older
            for place, block in cursor:
                if len(older) == _DROPPED_AT_ONCE or place[: len(prefix)] != prefix:
                    break
                stamped = online_head_commit(block)
                if stamped is not None and stamped < commit:
                    older.append(bytes(place[: -len(_HEAD)]))
        return older

    def keep_builds(self, wanted: Set[int]) -> None:
        """Delete the rows of all builds but `wanted`; no mark may name them any more."""
        with self._writing() as cursor:
            found = cursor.set_range(build_prefix(1))
            while found:
                build = int.from_bytes(cursor.key()[:4], "big")
                if build in wanted:
                    found = cursor.set_range(build_prefix(build + 1))
                else:
                    found = cursor.delete()

    def close(self) -> None:
        try:
            self._environment.sync(True)
        finally:
            self._environment.close()

    def abandon(self) -> None:
        """Let go without syncing, as a crash would."""
        self._environment.close()


def _change(cursor: lmdb.Cursor, change: RowWrites) -> None:
    prefix = build_prefix(change.build)
    if change.whole:
        for key in (*change.deletes, *(key for key, _ in change.heads)):
            _delete_segments(cursor, stored_key(prefix, key))
    # Before the rows are put, because a key that a fold removed may have come back since.
    for key in change.deletes:
        _delete(cursor, stored_key(prefix, key) + _HEAD)
        _delete(cursor, stored_key(prefix, key) + _BODY)
    for kind, rows in ((_HEAD, change.heads), (_BODY, change.bodies)):
        places = _places(change.build, [key for key, _ in rows], kind)
        cursor.putmulti(zip(places, [value for _, value in rows], strict=True))
    for key, number, block in change.segments:
        place = stored_key(prefix, key) + segment_suffix(number)
        if block is None:
            _delete(cursor, place)
        else:
            cursor.put(place, block)


def _delete(cursor: lmdb.Cursor, place: bytes) -> None:
    if cursor.set_key(place):
        cursor.delete()


def _delete_segments(cursor: lmdb.Cursor, place: bytes) -> None:
    """Delete all segments of the key whose rows lie at `place`."""
    first = place + SEGMENT
    found = cursor.set_range(first)
    while found and bytes(cursor.key()).startswith(first):
        found = cursor.delete()


class WritersAsReader:
    """Reads through the writers' own environments.

    A process may open an environment only once, so the engine's own reads go this way.
    """

    def __init__(self, writers: Sequence[OnlineWriter]) -> None:
        self._writers = writers

    def mark(self, shard: int) -> Mark | None:
        return self._writers[shard].mark()

    def read(self, shard: int, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        return self._writers[shard].read(build, keys)

    def read_with_segments(
        self, shard: int, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        return self._writers[shard].read_with_segments(build, keys, hours)

    def close(self) -> None:
        """Nothing: the writers are closed by their owner."""


def _rows(transaction: lmdb.Transaction, build: int, keys: Sequence[bytes]) -> list[Row]:
    prefix = build_prefix(build)
    get = cast("Callable[[bytes], bytes | None]", transaction.get)
    places = [stored_key(prefix, key) for key in keys]
    return [(get(at + _HEAD), get(at + _BODY)) for at in places]


def _segments(
    transaction: lmdb.Transaction, build: int, keys: Sequence[bytes], hours: Sequence[int]
) -> list[Segments]:
    """Each key's segments: of an hour the first, and as long as one is full the next."""
    prefix = build_prefix(build)
    get = cast("Callable[[bytes], bytes | None]", transaction.get)
    found: list[Segments] = []
    for key in keys:
        at = stored_key(prefix, key)
        blocks: dict[int, Sequence[bytes]] = {}
        for hour in hours:
            number = segment_number(hour, 0)
            block = get(at + segment_suffix(number))
            if block is None:
                continue
            rows = blocks[hour] = [block]
            while tile_count(block) == ROW_INSTANTS:
                number += 1
                block = get(at + segment_suffix(number))
                if block is None:
                    break
                rows.append(block)
        found.append(blocks)
    return found


class _OpenShard:
    """A reader's environment of one shard, and the mark as last parsed."""

    def __init__(self, directory: Path, name: str, file: int) -> None:
        self.name, self.file = name, file
        self.environment = lmdb.open(
            str(directory / name),
            map_size=MAP_BYTES,
            max_readers=READERS_MAX,
            readonly=True,
            max_spare_txns=4,
        )
        self._mark_bytes: bytes | None = None
        self._mark: Mark | None = None

    def mark(self, value: bytes | None) -> Mark | None:
        if value != self._mark_bytes:
            self._mark = None if value is None else Mark.decode(value)
            self._mark_bytes = value
        return self._mark


class LmdbReader:
    """The reading end of all shards. Not shared between threads.

    `now_us` decides when to look whether the engine has published another environment.
    """

    def __init__(self, root: Path, now_us: Callable[[], int]) -> None:
        self._root = root
        self._now_us = now_us
        self._open: dict[int, _OpenShard] = {}
        self._look_again_us: dict[int, int] = {}

    def mark(self, shard: int) -> Mark | None:
        return self.read(shard, 0, ())[0]

    def read(self, shard: int, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        opened = self._shard(shard)
        if opened is None:
            return None, [(None, None)] * len(keys)
        with opened.environment.begin() as transaction:
            mark = opened.mark(transaction.get(_MARK))
            rows = _rows(transaction, build, keys)
        return mark, rows

    def read_with_segments(
        self, shard: int, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        opened = self._shard(shard)
        if opened is None:
            return None, [(None, None)] * len(keys), [{}] * len(keys)
        with opened.environment.begin() as transaction:
            mark = opened.mark(transaction.get(_MARK))
            rows = _rows(transaction, build, keys)
            segments = _segments(transaction, build, keys, hours)
        return mark, rows, segments

    def _shard(self, shard: int) -> _OpenShard | None:
        opened, now_us = self._open.get(shard), self._now_us()
        if 0 < self._look_again_us.get(shard, 0) - now_us <= LOOK_US:
            return opened  # further ahead it is only after the clock was set back
        self._look_again_us[shard] = now_us + LOOK_US
        directory, fresh = _shard_directory(self._root, shard), None
        try:
            if (name := _current(directory)) is not None:
                # By its file too: one that was lost is made anew under the same name.
                file = (directory / name / "data.mdb").stat().st_ino
                if opened is not None and (opened.name, opened.file) == (name, file):
                    return opened
                fresh = _OpenShard(directory, name, file)
        except (OSError, lmdb.Error):
            # The engine has published another one since: look again with the next read.
            del self._look_again_us[shard]
            return opened
        if opened is not None:
            opened.environment.close()
            del self._open[shard]
        if fresh is not None:
            self._open[shard] = fresh
        return fresh

    def close(self) -> None:
        for opened in self._open.values():
            opened.environment.close()
        self._open.clear()
        self._look_again_us.clear()
