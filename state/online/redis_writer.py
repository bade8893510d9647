"""An online store in Redis, for readers on other machines: the writing end.

What a write promises: rows go first, their shard's mark with the last of them, by a script that
changes nothing where the mark is not the one that this writer last saw or left, or where a later
incarnation has written. Redis runs scripts one at a time, so a write that needs only one script is
one moment to every reader; a longer one shows newer rows under the mark before, never older ones
under a newer mark.

Rows of builds with a bounded retention expire (`SLACK_MS` says when). Rows of generations that no
mark names are deleted beside the mirror's steps, a page at a time (`redis_sweep`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ...schemas.errors import OnlineStoreChanged
from .redis_address import Address
from .redis_layout import (
    BODY,
    DELETE,
    FIELDS_MAX,
    HEAD,
    WRITE,
    StoredMark,
    mark_key,
    newest_ms,
    row_prefix,
    segment_field,
)
from .redis_link import Command, Link
from .redis_reader import RedisReader
from .redis_sweep import Sweep
from .rows import Mark, Row, RowWrites, Segments

TIMEOUT_S: Final = 10.0

SLACK_MS: Final = 86_400_000
"""A row is kept for its build's retention and this, after its newest event or its last write.

Whichever is later; so the machines' clocks may differ by a day before a row goes that counts.
"""

_SCRIPT_KEYS: Final = 128
_SCRIPT_BYTES: Final = 1 << 18
"""What one script changes at most (but for a longer row): for so long no reader is answered."""

_PIPELINE_KEYS: Final = 4_096

_WRITE_SHA: Final = hashlib.sha1(WRITE.encode(), usedforsecurity=False).hexdigest()
_DELETE_SHA: Final = hashlib.sha1(DELETE.encode(), usedforsecurity=False).hexdigest()


class RedisStore:
    """The writing end of all shards of one home, over one connection a node.

    `options` are those of Redis' client; homes that share a server have each a `prefix`. Nothing is
    asked of the server before it is needed. Raises `SettingsError` for an address that is none.
    """

    def __init__(self, url: str, options: Mapping[str, str], prefix: str) -> None:
        address = Address.parse(url)
        self.link = Link(address, options, TIMEOUT_S, (WRITE, DELETE))
        self.prefix = prefix
        self.reader = RedisReader(self.link, prefix)
        self.writers: dict[int, RedisWriter] = {}
        self.sweep = Sweep(self.link, prefix, self.writers)

    def open_writer(self, _root: Path, shard: int, incarnation: int) -> RedisWriter:
        """The writer of a shard, for a mirror."""
        self.writers[shard] = RedisWriter(self, shard, incarnation)
        return self.writers[shard]

    def check(self) -> None:
        """Connect to every node; raises what is wrong there."""
        for node in self.link.nodes():
            self.link.ask_node(node, [("PING",)])


@dataclass(slots=True)
class _RowChange:
    """What a write does to one hash; `sets` are fields and values in turn.

    `whole`: nothing else stays in it.
    """

    deletes: list[bytes] = field(default_factory=list)
    sets: list[bytes] = field(default_factory=list)
    whole: bool = False
    keep_ms: int = -1
    newest_ms: int = 0

    def arguments(self) -> list[bytes | int]:
        if self.whole:
            return [-1, len(self.sets), self.keep_ms, self.newest_ms, *self.sets]
        counts = len(self.deletes), len(self.sets), self.keep_ms, self.newest_ms
        return [*counts, *self.deletes, *self.sets]


class RedisWriter:
    """The writing end of one shard. One thread at a time calls it."""

    def __init__(self, store: RedisStore, shard: int, incarnation: int) -> None:
        self._store = store
        self._shard = shard
        self._incarnation = incarnation
        self._key = mark_key(store.prefix, shard)
        self._seen = b""
        self._stored: StoredMark | None = None
        self.generations: dict[int, str] = {}

    @property
    def rows_expire(self) -> bool:
        return True

    def mark(self) -> Mark | None:
        ((value,),) = self._ask([("HGET", self._key, b"mark")], again=True)
        stored = None if value is None else StoredMark.decode(value)
        generations = {} if stored is None else dict(stored.generations)
        if generations != self.generations:
            self._store.sweep.begin()  # what was written under others is in nobody's reach
        self._seen, self._stored, self.generations = value or b"", stored, generations
        return None if stored is None else stored.mark

    def heads(self, build: int, keys: Sequence[bytes]) -> list[bytes | None]:
        generation = self.generations.get(build)
        if generation is None:
            return [None] * len(keys)
        prefix, found = row_prefix(self._store.prefix, self._shard, generation), []
        for begin in range(0, len(keys), _PIPELINE_KEYS):
            page = keys[begin : begin + _PIPELINE_KEYS]
            (heads,) = self._ask([("HGET", prefix + key, HEAD) for key in page], again=True)
            found += heads
        return found

    def write(self, writes: Sequence[RowWrites], mark: Mark) -> None:
        self._refuse_if_newer()
        for change in writes:
            if change.build not in self.generations:
                self.generations[change.build] = secrets.token_hex(6)
        scripts = list(self._scripts(writes)) or [([], [])]
        after = StoredMark(mark, dict(self.generations))
        value = after.encode()
        # Before the mark all rows must be there: what is asked at once may be done in part.
        if scripts[:-1]:
            self._run([self._write_command(rows, b"") for rows in scripts[:-1]])
        self._run([self._write_command(scripts[-1], value)])
        self._seen, self._stored = value, after

    def keep_builds(self, wanted: Set[int]) -> None:
        self._refuse_if_newer()
        kept = {build: name for build, name in self.generations.items() if build in wanted}
        if self._stored is None or kept == self.generations:
            return
        after = StoredMark(self._stored.mark, kept)
        self._run([self._write_command(([], []), after.encode())])
        self._seen, self._stored, self.generations = after.encode(), after, kept
        self._store.sweep.begin()

    def delete(self, keys: Sequence[bytes], before: int = -1) -> None:
        """Delete rows, by their whole keys; with `before` those of heads of an earlier commit."""
        count = 1 + len(keys)
        self._run([("EVALSHA", _DELETE_SHA, count, self._key, *keys, self._seen, before)])

    def drop_older(self, build: int, commit: int) -> None:
        self._refuse_if_newer()
        generation = self.generations.get(build)
        if generation is not None:
            prefix = row_prefix(self._store.prefix, self._shard, generation)
            for keys in self._store.link.scan(self._shard, prefix + b"*"):
                self.delete(keys, commit)

    def publish(self) -> None:
        """Nothing: readers see the mark itself."""

    def check_readers(self) -> int:
        """Free some of what no reader can reach any more; no reader holds anything."""
        self._store.sweep.step()
        return 0

    def read(self, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        return self._store.reader.read(self._shard, build, keys)

    def read_with_segments(
        self, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        return self._store.reader.read_with_segments(self._shard, build, keys, hours)

    def close(self) -> None:
        """Let go; that rows are durable is the server's own business."""
        self._store.link.close()

    def abandon(self) -> None:
        self._store.link.close()

    def _ask(self, commands: Sequence[Command], *, again: bool = False) -> list[list[Any]]:
        return self._store.link.ask([(self._shard, commands)], again=again)

    def _run(self, commands: Sequence[Command]) -> None:
        """Run scripts; raises `OnlineStoreChanged` where one did nothing."""
        (answers,) = self._ask(commands)
        for answer in answers:
            if answer != b"done":
                newer = answer == b"newer"
                raise self._changed("a later incarnation's" if newer else "another mark")

    def _refuse_if_newer(self) -> None:
        if self._stored is not None and self._stored.mark.incarnation > self._incarnation:
            raise self._changed(f"incarnation {self._stored.mark.incarnation}")

    def _changed(self, got: str) -> OnlineStoreChanged:
        return OnlineStoreChanged(
            where=f"{self._store.link.address.shown}, shard {self._shard}",
            got=got,
            expected=f"what incarnation {self._incarnation} left there",
        )

    def _write_command(self, rows: _Script, mark: bytes) -> Command:
        keys, arguments = rows
        count = 1 + len(keys)
        fence = self._seen, self._incarnation, mark
        return ("EVALSHA", _WRITE_SHA, count, self._key, *keys, *fence, *arguments)

    def _scripts(self, writes: Sequence[RowWrites]) -> Iterator[_Script]:
        """The keys and arguments of all rows, as many a script as others can wait for."""
        keys: list[bytes] = []
        arguments: list[bytes | int] = []
        size = 0
        for change in writes:
            prefix = row_prefix(self._store.prefix, self._shard, self.generations[change.build])
            for key, row in _changes(change):
                keys.append(prefix + key)
                arguments += row.arguments()
                size += sum(map(len, row.sets))
                if len(keys) >= _SCRIPT_KEYS or size >= _SCRIPT_BYTES:
                    yield keys, arguments
                    keys, arguments, size = [], [], 0
        if keys:
            yield keys, arguments


_Script = tuple[list[bytes], list[bytes | int]]
"""Keys of rows, and the script's arguments for them."""


def _changes(change: RowWrites) -> Iterator[tuple[bytes, _RowChange]]:
    """What becomes of each key: all at once, but for thousands of segments, which go before."""
    rows: dict[bytes, _RowChange] = {}
    for key in change.deletes:
        rows[key] = _RowChange(deletes=[HEAD, BODY], whole=change.whole)
    for key, _ in change.heads if change.whole else ():
        rows[key] = _RowChange(whole=True)
    for key, number, block in change.segments:
        row = rows.setdefault(key, _RowChange())
        if block is None:
            row.deletes.append(segment_field(number))
        else:
            row.sets += segment_field(number), block
        if len(row.deletes) >= FIELDS_MAX or len(row.sets) >= 2 * FIELDS_MAX:
            yield key, rows.pop(key)
    keep_ms = None if change.retention_us is None else change.retention_us // 1_000 + SLACK_MS
    for key, head in change.heads:
        row = rows.setdefault(key, _RowChange())
        row.sets += HEAD, head
        if keep_ms is not None:
            row.keep_ms, row.newest_ms = keep_ms, newest_ms(head)
    for key, body in change.bodies:
        rows.setdefault(key, _RowChange()).sets += BODY, body
    yield from rows.items()
