"""A shard with its online rows, for tests of the mirror between them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tegula.state.mirror import Mirror
from tegula.state.online.lmdb import LmdbWriter
from tegula.state.packing import SEGMENT, pack, unpack
from tegula.windows.geometry import Sliding
from tegula.windows.shape import Shape
from tegula.windows.tiles import KeyedTiles
from tests.support.shapes import DAY, HOUR, MINUTE, shape_of
from tests.support.stores import Feeder, open_shard, stamps_of_row, tiles_of_row

SHAPE = shape_of(["count", "sum", "last"], [Sliding(HOUR, MINUTE)])
EXACT = shape_of(["count", "sum", "last"], [Sliding(HOUR, 1)])
NOON = 12 * HOUR
GONE = NOON + 2 * DAY
"""A horizon from which retention no longer reaches noon."""


class Place:
    """A shard, its online rows, and the mirror between them."""

    def __init__(self, root: Path, map_bytes: int = 1 << 24, shape: Shape = SHAPE) -> None:
        self.root = root
        self.map_bytes = map_bytes
        self.shape = shape
        self.feeder = Feeder(open_shard(root / "state"), shape)
        self.shapes = {1: shape}
        self.open()

    def open(self, incarnation: int = 1) -> None:
        self.writer = LmdbWriter(self.root / "online", 0, incarnation, self.map_bytes)
        self.mirror = Mirror(self.feeder.shard, self.writer, self.shapes)
        self.mirror.rebuild_missing()
        self.mirror.catch_up()
        self.writer.publish()

    def take(self) -> None:
        self.mirror.take(self.feeder.taken())

    def tiles(self, key: bytes) -> list[tuple[int, int, int]]:
        _, (row,) = self.writer.read(1, [key])
        return tiles_of_row(self.shape, row)

    def stamps(self, key: bytes) -> dict[str, int]:
        _, (row,) = self.writer.read(1, [key])
        return dict(stamps_of_row(self.shape, row))

    def segments(self, key: bytes) -> dict[tuple[int, int], bytes]:
        """The key's segments as they would lie in the state, by hour and place."""
        hours = range(-1, 100)
        _, _, (segments,) = self.writer.read_with_segments(1, [key], hours)
        found = {}
        for hour, blocks in segments.items():
            for place, block in enumerate(blocks):
                tiles = unpack(self.shape, [block], stamped=False)
                names = pa.array([b""], pa.large_binary())
                keyed = KeyedTiles(names, tiles.bounds, tiles.newest_us, tiles.tiles)
                (found[hour, place],) = pack(self.shape, keyed, SEGMENT)
        return found

    def is_absent(self, key: bytes) -> bool:
        return self.writer.read(1, [key])[1] == [(None, None)]

    def close(self) -> None:
        self.writer.abandon()
        self.feeder.shard.abandon()


def check(place: Place, keys: list[bytes]) -> None:
    """The online rows of these keys say what the state says."""
    for key in keys:
        assert place.tiles(key) == place.feeder.tiles(key), key
        assert place.segments(key) == place.feeder.segments(key), key
        assert place.is_absent(key) == (place.feeder.tiles(key) == [])
