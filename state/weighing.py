"""What keys weigh in the state, from a sample that goes round.

Each turn looks at some keys of one shard, where the last turn ended; the newest sizes are kept. So
a report costs the same whatever the number of keys, and follows a state that grows. Segments have
to be read to be weighed: a turn ends early once it has read `TURN_BYTES` of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from .shard import Shard, StoredKey

TURN_KEYS: Final = 64
TURN_BYTES: Final = 4 << 20
KEPT_SIZES: Final = 1024


class Weight(NamedTuple):
    """Of a build's sampled keys: how many, and their values' bytes before compression."""

    sampled: int
    mean_bytes: int
    greatest_bytes: int


@dataclass(slots=True)
class Scales:
    """Weighs the keys of some builds, a few at a time. One thread uses it."""

    _sizes: dict[int, deque[int]] = field(default_factory=dict)
    _places: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _turn: int = 0

    def turn(self, shards: Sequence[Shard], builds: Sequence[int]) -> None:
        """Look at the next keys of each build in one of the shards."""
        if not shards:
            return
        place = self._turn % len(shards)
        self._turn += 1
        for build in builds:
            after = self._places.get((build, place), b"")
            keys = shards[place].scan_keys(build, after, TURN_KEYS)
            sizes = _weighed(shards[place], build, keys)
            is_last = len(sizes) == len(keys) < TURN_KEYS
            self._places[build, place] = b"" if is_last else keys[len(sizes) - 1]
            if sizes:
                known = self._sizes.setdefault(build, deque(maxlen=KEPT_SIZES))
                known.extend(sizes)
        self._sizes = {build: sizes for build, sizes in self._sizes.items() if build in builds}

    def weight(self, build: int) -> Weight | None:
        """What is known of a build; None before any of its keys was seen."""
        sizes = self._sizes.get(build)
        if not sizes:
            return None
        return Weight(len(sizes), round(sum(sizes) / len(sizes)), max(sizes))


def _weighed(shard: Shard, build: int, keys: Sequence[bytes]) -> list[int]:
    """The bytes of the first of these keys, one at least: as many as a turn may read."""
    sizes: list[int] = []
    read = 0
    for key, stored in zip(keys, shard.read_with_commit(build, keys)[1], strict=True):
        if read >= TURN_BYTES:
            break
        of_segments = shard.segments.bytes_of(build, key)
        read += of_segments
        sizes.append(bytes_of(stored) + of_segments)
    return sizes


def bytes_of(stored: StoredKey) -> int:
    """The bytes of a key's values but its segments: head, body, and chunks not folded yet."""
    whole = [block for block in (stored.head, stored.body) if block is not None]
    return sum(map(len, [*whole, *stored.parts.values(), *stored.chunks]))
