"""What every online store holds: rows by (build, key), and one mark a shard.

A row is a *head* (recent tiles) and a *body* (folded ones), both absolute: writing one again
changes nothing. Builds with edges finer than a second have *segments* beside, the instants of an
hour each (`state.segments`); head, body and segments of a key change together. A shard's *mark*
says which state the rows mirror (incarnation, commit, applied positions) and for which builds they
are complete: an absent row means `NOT_FOUND` only under a mark that names its build, because a
store under rebuilding must never answer zeros.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol, Self

import orjson

from ...schemas.errors import FormatUnknown


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where a shard's online rows follow its state, and for which builds they are whole.

    `positions` maps a partition's ordinal to the first offset that is not yet readable. `session`
    names the run of the mirror that left it, `writes` counts what that has written: so the mirror
    knows its own work again (`state.mirrored`).
    """

    incarnation: int
    commit: int
    builds: tuple[int, ...]
    positions: Mapping[int, int] = field(default_factory=dict)
    session: int = 0
    writes: int = 0

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "version": 1,
                "incarnation": self.incarnation,
                "commit": self.commit,
                "builds": list(self.builds),
                "positions": {str(ordinal): at for ordinal, at in self.positions.items()},
                "session": self.session,
                "writes": self.writes,
            }
        )

    @classmethod
    def decode(cls, value: bytes) -> Self:
        raw = orjson.loads(value)
        if raw["version"] != 1:
            raise FormatUnknown(where="mark", got=f"version {raw['version']}", expected="version 1")
        positions = {int(ordinal): at for ordinal, at in raw["positions"].items()}
        left = raw.get("session", 0), raw.get("writes", 0)
        return cls(raw["incarnation"], raw["commit"], tuple(raw["builds"]), positions, *left)


Row = tuple[bytes | None, bytes | None]
"""Head and body of a key."""

Segments = Mapping[int, Sequence[bytes]]
"""By hour, the segments of a key; an hour without any may be left out."""


@dataclass(frozen=True, slots=True)
class RowWrites:
    """What one step of the mirror changes for one build of a shard.

    `deletes` are keys that lose head and body. `segments` are (key, number, block), the block None
    for one that goes. With `whole` all segments are given that the keys of `heads` are to have;
    others that the store holds of these keys, and any of `deletes`, go. `retention_us` is the
    build's: a store may let a row go that was not written, and whose newest event is older, for so
    long; None: never.
    """

    build: int
    heads: Sequence[tuple[bytes, bytes]] = ()
    bodies: Sequence[tuple[bytes, bytes]] = ()
    deletes: Sequence[bytes] = ()
    segments: Sequence[tuple[bytes, int, bytes | None]] = ()
    whole: bool = False
    retention_us: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Rows that a request is about to read, of one shard and build, with segments of `hours`."""

    shard: int
    build: int
    keys: Sequence[bytes]
    hours: Sequence[int] = ()


class OnlineReader(Protocol):
    """Reads rows; any number of processes do so while one engine writes."""

    def mark(self, shard: int) -> Mark | None:
        """The shard's mark, or None where nothing was ever mirrored."""
        ...

    def read(self, shard: int, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        """The mark, and (head, body) of each key, all as of one moment."""
        ...

    def read_with_segments(
        self, shard: int, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        """As `read`, and each key's segments of `hours`, as of the same moment."""
        ...

    def close(self) -> None: ...


class FarReader(ABC):
    """An `OnlineReader` of a store on another machine, where each call is a round trip."""

    @abstractmethod
    def ahead(self, asks: Sequence[Ask]) -> FarReader:
        """A reader for one request that holds what is asked for, fetched in one round trip."""

    @abstractmethod
    def marks(self, shards: Sequence[int]) -> list[Mark | None]:
        """The marks of shards, in one round trip."""

    @abstractmethod
    def mark(self, shard: int) -> Mark | None:
        """As of `OnlineReader`."""

    @abstractmethod
    def read(self, shard: int, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        """As of `OnlineReader`."""

    @abstractmethod
    def read_with_segments(
        self, shard: int, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        """As of `OnlineReader`."""

    @abstractmethod
    def close(self) -> None:
        """As of `OnlineReader`."""


def marks_of(reader: OnlineReader, shard_count: int) -> list[Mark | None]:
    """The marks of all shards."""
    if isinstance(reader, FarReader):
        return reader.marks(range(shard_count))
    return [reader.mark(shard) for shard in range(shard_count)]


class OnlineWriter(Protocol):
    """Writes the rows of one shard; one engine owns it.

    A store that others can reach refuses a write, by a `SinkError`, where its mark is no longer the
    one that this writer last saw or left, and where a later incarnation has written.
    """

    @property
    def rows_expire(self) -> bool:
        """Whether rows go by themselves after their retention: an absent one may have a state."""
        ...

    def mark(self) -> Mark | None:
        """The mark as it stands; None where nothing was mirrored."""
        ...

    def heads(self, build: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """The heads as they stand now, one a key."""
        ...

    def write(self, writes: Sequence[RowWrites], mark: Mark) -> None:
        """Change rows and mark in one transaction."""
        ...

    def drop_older(self, build: int, commit: int) -> None:
        """Delete all rows of keys whose head is stamped with an earlier commit than this."""
        ...

    def keep_builds(self, wanted: Set[int]) -> None:
        """Delete the rows of all builds but `wanted`; no mark may name them any more."""
        ...

    def publish(self) -> None:
        """Let readers have these rows, if they still have those of another incarnation."""
        ...

    def check_readers(self) -> int:
        """Free what readers that were killed still hold; returns how many there were."""
        ...

    def read(self, build: int, keys: Sequence[bytes]) -> tuple[Mark | None, list[Row]]:
        """As `OnlineReader.read`, for reading inside the writing process."""
        ...

    def read_with_segments(
        self, build: int, keys: Sequence[bytes], hours: Sequence[int]
    ) -> tuple[Mark | None, list[Row], list[Segments]]:
        """As `OnlineReader.read_with_segments`, for reading inside the writing process."""
        ...

    def close(self) -> None:
        """Make everything durable and let go."""
        ...

    def abandon(self) -> None:
        """Let go as a crash would."""
        ...
