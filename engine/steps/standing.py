"""The state as one worker has it: its own shards, and where all others stood at the start.

What others told stays true of what this worker reads: a partition has one reader, so nobody but
this worker moves its positions from then on, and a row passes it once in a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...state.rows import Applied
from ...state.shard import Shard
from ...windows.algebra import Int64s
from .lanes import Place
from .worker import ALONE, Worker

Positions = Mapping[tuple[int, int], Applied]
"""What a shard has applied, by build and partition ordinal."""


class Standing:
    """A worker's shards, in order of their numbers, and the positions of every shard.

    `others` are the positions that other workers told of theirs.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        worker: Worker = ALONE,
        others: Mapping[int, Positions] | None = None,
    ) -> None:
        self.shards = shards
        self.worker = worker
        self._own = {shard.number: shard for shard in shards}
        told = {**(others or {}), **{shard.number: shard.applied for shard in shards}}
        self._shards: list[Positions] = [told[number] for number in range(len(told))]

    def own(self, number: int) -> Shard:
        """A shard of this worker's own, by its number. `KeyError` if it is not."""
        return self._own[number]

    @property
    def shard_count(self) -> int:
        """How many shards the state has, whoever owns them."""
        return len(self._shards)

    def applied(self, build: int, ordinal: int) -> Int64s:
        """Each shard's next offset of a build in a partition; int64 (shards,)."""
        stored = [positions.get((build, ordinal)) for positions in self._shards]
        return np.array([0 if at is None else at.next_offset for at in stored], dtype=np.int64)

    def place(self, build: int, ordinal: int) -> Place | None:
        """Where a build stands in a partition: the least of its shards, with the maximum there.

        None if some shard has nothing of it.
        """
        stored = [positions.get((build, ordinal)) for positions in self._shards]
        known = [at for at in stored if at is not None]
        if len(known) < len(stored):
            return None
        least = min(known, key=lambda at: at.next_offset)
        return Place(least.next_offset, least.running_max_us)

    def reached(self, ordinal: int) -> int:
        """How far any build has applied a partition in any shard; 0 if none has."""
        return max(
            (
                at.next_offset
                for positions in self._shards
                for (_, of), at in list(positions.items())
                if of == ordinal
            ),
            default=0,
        )

    def drop_build(self, build: int) -> None:
        """Delete the state of a build; other workers, told the same, delete theirs."""
        for shard in self.shards:
            shard.drop_build(build)
        for number, positions in enumerate(self._shards):
            if number not in self._own:
                self._shards[number] = {at: p for at, p in positions.items() if at[0] != build}

    def holds(self, build: int) -> bool:
        """Whether every shard holds something of a build."""
        return all(any(of == build for of, _ in list(at)) for at in self._shards)
