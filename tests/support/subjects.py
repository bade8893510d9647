"""Online stores under test, of one shard each, and a shard's state with a mirror over one."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Protocol

from tegula.state.mirror import Mirror
from tegula.state.online.lmdb import LmdbWriter, WritersAsReader
from tegula.state.online.redis_reader import open_reader
from tegula.state.online.redis_writer import RedisStore, RedisWriter
from tegula.state.online.rows import OnlineReader, OnlineWriter
from tegula.windows.geometry import Sliding
from tests.services.redis import Server
from tests.support.remote_store import Held, RemoteStore, RemoteWriter
from tests.support.shapes import DAY, HOUR, MINUTE, shape_of
from tests.support.stores import Feeder, open_shard, tiles_of_row

SHAPE = shape_of(["count", "sum", "last"], [Sliding(HOUR, MINUTE)])
NOON = 12 * HOUR
GONE = NOON + 2 * DAY
"""A horizon from which retention no longer reaches noon."""


class Subject(Protocol):
    """An online store under test, of one shard: shard 0."""

    def writer(self, incarnation: int) -> OnlineWriter:
        """Its writer from now on."""
        ...

    def reader(self) -> OnlineReader: ...

    def close(self) -> None: ...


class LmdbSubject:
    def __init__(self, folder: Path) -> None:
        self._root = folder
        self._writer: LmdbWriter | None = None

    def writer(self, incarnation: int) -> LmdbWriter:
        self.close()  # a process may open an environment only once
        self._writer = LmdbWriter(self._root, 0, incarnation, 1 << 24)
        return self._writer

    def reader(self) -> OnlineReader:
        assert self._writer is not None
        return WritersAsReader([self._writer])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.abandon()


class ModelSubject:
    def __init__(self) -> None:
        self.store = RemoteStore()

    def writer(self, incarnation: int) -> RemoteWriter:
        return self.store.open_writer(Path(), 0, incarnation)

    def reader(self) -> OnlineReader:
        return self.store

    def close(self) -> None:
        return

    def wipe(self) -> None:
        self.store.wipe()

    def save(self) -> object:
        return self.store.held(0).copy()

    def restore(self, saved: object) -> None:
        assert isinstance(saved, Held)
        self.store.shards[0] = saved

    def stop(self) -> None:
        self.store.is_down = True

    def start(self) -> None:
        self.store.is_down = False


class RedisSubject:
    """Redis at `url`; each writer is of an engine of its own, with its own connections."""

    def __init__(self, url: str, server: Server | None = None) -> None:
        self._place = url, {}, f"t-{uuid.uuid4().hex}"
        self._server = server
        self._reader = open_reader(*self._place)
        self._stores: list[RedisStore] = []

    def writer(self, incarnation: int) -> RedisWriter:
        self._stores.append(RedisStore(*self._place))
        return self._stores[-1].open_writer(Path(), 0, incarnation)

    def reader(self) -> OnlineReader:
        return self._reader

    def close(self) -> None:
        self._reader.close()
        for store in self._stores:
            store.link.close()

    @property
    def server(self) -> Server:
        """The server that is this subject's own."""
        assert self._server is not None
        return self._server

    def wipe(self) -> None:
        self.server.client().flushall()

    def save(self) -> object:
        client = self.server.client()
        return {key: (client.dump(key), max(0, client.pttl(key))) for key in client.scan_iter()}

    def restore(self, saved: object) -> None:
        assert isinstance(saved, dict)
        client = self.server.client()
        client.flushall()
        for key, (dump, ttl_ms) in saved.items():
            client.restore(key, ttl_ms, dump)

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server.start()
        self._reader = open_reader(*self._place)  # the old one would rest for a second


class Place:
    """A shard's state, and the mirror of it in the store under test."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject
        self.folder = folder
        self.shapes = {1: SHAPE}
        self.feeder = Feeder(open_shard(folder / "state"), SHAPE)
        self.begin(1)

    def begin(self, incarnation: int) -> None:
        """Open the writer and a mirror over it, as an engine that starts."""
        self.writer = self.subject.writer(incarnation)
        self.mirror = Mirror(self.feeder.shard, self.writer, self.shapes)

    def restore(self, incarnation: int) -> None:
        """Have an empty state in place of this one, as from a checkpoint before all of it."""
        self.feeder.shard.abandon()
        folder = self.folder / f"restored-{incarnation}"
        self.feeder = Feeder(open_shard(folder, incarnation), SHAPE)
        self.begin(incarnation)

    def follow(self) -> None:
        """Bring the rows up to the state, as a step of the engine does that finds itself behind."""
        self.mirror.rebuild_missing()
        self.mirror.catch_up()
        self.writer.publish()

    def rows(self, *keys: bytes) -> list[list[tuple[int, int, int]] | None]:
        """What a server reads: tiles by key; None where the mark does not vouch for the build."""
        mark, rows = self.subject.reader().read(0, 1, keys)
        if mark is None or 1 not in mark.builds:
            return [None] * len(keys)
        return [tiles_of_row(SHAPE, one) for one in rows]

    def check(self, *keys: bytes) -> None:
        """The rows say what the state says."""
        assert self.rows(*keys) == [self.feeder.tiles(key) for key in keys]
