"""A model of an online store on another machine: it may be wiped, restored, or not answer.

It keeps what the contract asks of such a store, over dicts: a write is refused where the mark is
not the one that the writer last saw or left, and where a newer incarnation has written since. It
says nothing of any product's commands: a real store is put under the contract by itself.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from tegula.schemas.errors import SinkError
from tegula.state.online.rows import Mark, Row, RowWrites, Segments
from tegula.state.packing import online_head_commit, tile_count
from tegula.state.rows import segment_number
from tegula.state.segments import ROW_INSTANTS

Place = tuple[int, bytes]
"""Build and key."""


@dataclass
class Held:
    """What the store holds of one shard."""

    mark: Mark | None = None
    incarnation: int = 0
    heads: dict[Place, bytes] = field(default_factory=dict)
    bodies: dict[Place, bytes] = field(default_factory=dict)
    segments: dict[tuple[int, bytes, int], bytes] = field(default_factory=dict)

    def copy(self) -> Held:
        """The same, for a test to restore."""
        parts = dict(self.heads), dict(self.bodies), dict(self.segments)
        return Held(self.mark, self.incarnation, *parts)


@dataclass
class RemoteStore:
    """The store's machine. It reads as an `OnlineReader` does."""

    shards: dict[int, Held] = field(default_factory=dict)
    is_down: bool = False

    def held(self, shard: int) -> Held:
        """What lies there of a shard; raises if the store does not answer."""
        if self.is_down:
            raise SinkError("the online store does not answer", where="a model")
        return self.shards.setdefault(shard, Held())

    def wipe(self) -> None:
        """Lose everything."""
        self.shards.clear()

    def open_writer(self, _root: Path, shard: int, incarnation: int) -> RemoteWriter:
        """A writer of one shard."""
        return RemoteWriter(self, shard, incarnation)

    def mark(self, shard: int) -> Mark | None:
        return self.held(shard).mark

    def read(self, shard: int, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        held = self.held(shard)
        places = [(build, key) for key in keys]
        return held.mark, [(held.heads.get(at), held.bodies.get(at)) for at in places]

    def read_with_segments(
        self, shard: int, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        mark, rows = self.read(shard, build, keys)
        return mark, rows, [self._segments(shard, build, key, hours) for key in keys]

    def _segments(self, shard: int, build: int, key: bytes, hours: Sequence[int]) -> Segments:
        held, found = self.held(shard).segments, {}
        for hour in hours:
            number, blocks = segment_number(hour, 0), list[bytes]()
            while (block := held.get((build, key, number))) is not None:
                blocks.append(block)
                if tile_count(block) < ROW_INSTANTS:
                    break
                number += 1
            if blocks:
                found[hour] = blocks
        return found

    def close(self) -> None:
        return


class RemoteWriter:
    """The writing end of one shard. Nothing is asked of the store before the first call."""

    def __init__(self, store: RemoteStore, shard: int, incarnation: int) -> None:
        self._store = store
        self._shard = shard
        self._incarnation = incarnation
        self._seen: Mark | None = None

    @property
    def rows_expire(self) -> bool:
        return True

    def mark(self) -> Mark | None:
        self._seen = self._store.held(self._shard).mark
        return self._seen

    def heads(self, build: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._store.held(self._shard).heads.get((build, key)) for key in keys]

    def write(self, writes: Sequence[RowWrites], mark: Mark) -> None:
        held = self._fenced()
        for change in writes:
            self._change(held, change)
        held.mark = self._seen = mark
        held.incarnation = self._incarnation

    def _fenced(self) -> Held:
        held = self._store.held(self._shard)
        if held.incarnation > self._incarnation:
            raise SinkError("a newer incarnation writes here", where=f"shard {self._shard}")
        if held.mark != self._seen:
            raise SinkError("the mark is not the one left there", where=f"shard {self._shard}")
        return held

    def _change(self, held: Held, change: RowWrites) -> None:
        if change.whole:
            whole = {(change.build, key) for key in (*change.deletes, *dict(change.heads))}
            held.segments = {at: b for at, b in held.segments.items() if at[:2] not in whole}
        for key in change.deletes:
            held.heads.pop((change.build, key), None)
            held.bodies.pop((change.build, key), None)
        held.heads |= {(change.build, key): row for key, row in change.heads}
        held.bodies |= {(change.build, key): row for key, row in change.bodies}
        for key, number, block in change.segments:
            if block is None:
                held.segments.pop((change.build, key, number), None)
            else:
                held.segments[change.build, key, number] = block

    def read(self, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        return self._store.read(self._shard, build, keys)

    def read_with_segments(
        self, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        return self._store.read_with_segments(self._shard, build, keys, hours)

    def drop_older(self, build: int, commit: int) -> None:
        held = self._fenced()
        stamped = {at: online_head_commit(head) for at, head in held.heads.items()}
        older = {at for at, c in stamped.items() if at[0] == build and c is not None and c < commit}
        held.heads = {at: row for at, row in held.heads.items() if at not in older}
        held.bodies = {at: row for at, row in held.bodies.items() if at not in older}
        held.segments = {at: row for at, row in held.segments.items() if at[:2] not in older}

    def keep_builds(self, wanted: Set[int]) -> None:
        held = self._fenced()
        held.heads = {at: row for at, row in held.heads.items() if at[0] in wanted}
        held.bodies = {at: row for at, row in held.bodies.items() if at[0] in wanted}
        held.segments = {at: row for at, row in held.segments.items() if at[0] in wanted}

    def publish(self) -> None:
        return

    def check_readers(self) -> int:
        return 0

    def close(self) -> None:
        return

    def abandon(self) -> None:
        return
