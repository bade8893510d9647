"""The outbox of a shard: which keys' online rows have still to follow which commit.

A commit's row is written with the commit and deleted once the online store has taken it over. A
store that refuses to would let the rows pile up; so past `KEYS_MAX` keys all of them are deleted,
in the write that would have added one more, and a row in their place says through which commit
(*dropped through*). A mirror whose mark lies before that commit can no longer be told what changed,
and writes all keys anew; later commits have their rows as ever. The row stays: a mark that has come
past it makes it mean nothing.

    0 u32 | `x` | commit u64   →   entries, see `rows.encode_outbox`
    0 u32 | `o`                →   commit u64
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from rocksdict import Rdict, RdictIter, ReadOptions, WriteBatch

from .database import is_at_row, named_faults
from .rows import (
    OUTBOX_DROPPED_KEY,
    OUTBOX_PREFIX,
    Touched,
    count_outbox_keys,
    decode_dropped,
    decode_outbox,
    encode_dropped,
    encode_outbox,
    outbox_key,
)

KEYS_MAX: Final = 1_000_000
"""Keys that the rows of a shard may name, each counted as often as it is named."""


class Outstanding(NamedTuple):
    """What the outbox says, as of one moment.

    `entries` are (commit, what it touched) in order: all that are to be mirrored of commits after
    `dropped_through`, and nothing of those before.
    """

    dropped_through: int
    entries: list[tuple[int, list[Touched]]]


class Outbox:
    """The outbox in an open database. One thread adds; another may read and clear."""

    def __init__(self, database: Rdict, path: Path) -> None:
        self._database = database
        self._path = path
        self._lock = threading.Lock()
        with named_faults(path):
            rows = self._database.iter(ReadOptions())
            self._dropped_through = _dropped_through(rows)
            self._keys = {number: count_outbox_keys(value) for number, value in _rows(rows)}
        self._key_count = sum(self._keys.values())

    @property
    def dropped_through(self) -> int:
        """The commit through which rows were last deleted unread; 0 if none ever were."""
        return self._dropped_through

    @contextmanager
    def adding(self, batch: WriteBatch, number: int, touched: Sequence[Touched]) -> Iterator[None]:
        """Have a commit's row written with `batch`, which the body of the `with` writes.

        Past the bound the batch deletes all rows instead. If the body raises, nothing has changed.
        """
        count = sum(len(entry.keys) for entry in touched)
        with self._lock:
            drop = self._key_count + count > KEYS_MAX
            if drop:
                for known in self._keys:
                    batch.delete(outbox_key(known))
                batch.put(OUTBOX_DROPPED_KEY, encode_dropped(number))
            elif touched:
                batch.put(outbox_key(number), encode_outbox(touched))
            yield
            if drop:
                self._keys, self._key_count = {}, 0
                self._dropped_through = number
            elif touched:
                self._keys[number] = count
                self._key_count += count

    def read(self) -> Outstanding:
        """All that is to be mirrored."""
        with named_faults(self._path):
            rows = self._database.iter(ReadOptions())
            dropped_through = _dropped_through(rows)
            entries = [(number, decode_outbox(value)) for number, value in _rows(rows)]
        return Outstanding(dropped_through, entries)

    @contextmanager
    def clearing(self, batch: WriteBatch, numbers: Sequence[int]) -> Iterator[None]:
        """Have the rows of these commits deleted with `batch`, which the body of the `with` writes.

        Those that are not there are none of its business. If the body raises, nothing has changed.
        """
        with self._lock:
            there = self._keys.keys() & set(numbers)
            for number in there:
                batch.delete(outbox_key(number))
            yield
            self._key_count -= sum(self._keys.pop(number) for number in there)


def _dropped_through(rows: RdictIter) -> int:
    rows.seek(OUTBOX_DROPPED_KEY)
    if not is_at_row(rows) or rows.key() != OUTBOX_DROPPED_KEY:
        return 0
    return decode_dropped(rows.value())


def _rows(rows: RdictIter) -> Iterator[tuple[int, bytes]]:
    rows.seek(OUTBOX_PREFIX)
    while is_at_row(rows):
        key: bytes = rows.key()
        if not key.startswith(OUTBOX_PREFIX):
            return
        yield int.from_bytes(key[len(OUTBOX_PREFIX) :], "big"), rows.value()
        rows.next()
