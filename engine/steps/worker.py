"""Which worker of how many this is, and so what it owns and reads.

    shard     → worker  shard mod workers
    partition → the worker that owns its *home*: shard ordinal mod shards; of a stream whose copies
                are to be known all partitions have one home, because its ids lie in one shard

Both rest on numbers that never change (shards, ordinals), so that every worker knows of every other
what it does, and the same rows are found whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Worker:
    """One of `count` workers over a state; `index` counts from 0.

    >>> second = Worker(1, 2)
    >>> second.shards_of(5), second.owns(3), second.owns(4)
    ([1, 3], True, False)
    """

    index: int = 0
    count: int = 1

    def owns(self, shard: int) -> bool:
        """Whether a shard is this worker's."""
        return shard % self.count == self.index

    def shards_of(self, shard_count: int) -> Sequence[int]:
        """The numbers of the shards that it owns, ascending."""
        return list(range(self.index, shard_count, self.count))


ALONE: Final = Worker()


def home_of(ordinal: int, stream: int, shard_count: int, *, whole: bool) -> int:
    """The shard where a partition's verdicts and counts are kept.

    `stream` is the ordinal of its stream, all of which has one home if `whole`.

    >>> home_of(5, 2, 4, whole=False), home_of(5, 2, 4, whole=True)
    (1, 2)
    """
    return (stream if whole else ordinal) % shard_count
