"""How many parcels a worker may send ahead of those that take them up: so little lies between.

Bytewax lets a source run ahead by an epoch, and then asks it in an endless loop whether the slowest
worker has come to the next. With short epochs this took as much CPU time as half of all ingest
(measured), with long ones a slow worker was sent gigabytes. So epochs are endless, and readers
count for themselves: a reader has `AHEAD_MAX` parcels on the way to each other worker at most, and
the others say how many they have taken up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..steps.worker import Worker

AHEAD_MAX: Final = 4
"""Parcels on the way to one worker: enough that neither waits for the other's turn."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A worker has taken up `count` parcels of one reader since the run began."""

    worker: int
    count: int


class Credit:
    """One worker's part, as a reader and as one that takes parcels up. For one thread."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._sent = 0
        self._taken_by = {other: 0 for other in range(worker.count) if other != worker.index}
        self._taken_from = dict.fromkeys(self._taken_by, 0)
        self._told = dict.fromkeys(self._taken_by, 0)

    @property
    def may_send(self) -> bool:
        """Whether one more batch may be read, of which every worker gets a parcel."""
        return all(self._sent - taken < AHEAD_MAX for taken in self._taken_by.values())

    def sent(self) -> None:
        """Every worker was sent a parcel."""
        self._sent += 1

    def received(self, reader: int) -> None:
        """A parcel of `reader` was taken up."""
        if reader != self._worker.index:
            self._taken_from[reader] += 1

    def told(self, taken: Taken) -> None:
        """Another worker has said how many it has taken up."""
        self._taken_by[taken.worker] = max(self._taken_by[taken.worker], taken.count)

    def to_tell(self) -> Sequence[tuple[int, Taken]]:
        """To whom to say what, where anything was taken up since it was last said."""
        news = [
            (reader, Taken(self._worker.index, count))
            for reader, count in self._taken_from.items()
            if count > self._told[reader]
        ]
        self._told.update(self._taken_from)
        return news
