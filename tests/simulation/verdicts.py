"""What the wall clock said of records whose producers set their timestamps, once and for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tegula.state.database import open_database
from tegula.state.dead_letter import DeadLetter
from tegula.state.verdicts import Verdicts
from tests.oracle import naive
from tests.simulation.views import AHEAD_US
from tests.support.ingesting import small_memory


class Synced:
    """Remembers the verdicts that were written: they are synced, and a power cut spares them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._add: Any = Verdicts.add
        self._kept: list[tuple[str, int, Any]] = []
        patch.setattr(Verdicts, "add", self._remember())

    def _remember(self) -> Any:
        def add(verdicts: Verdicts, ordinal: int, offsets: Any) -> None:
            self._add(verdicts, ordinal, offsets)
            self._kept.append((verdicts._path.name, ordinal, offsets))

        return add

    def forget(self) -> None:
        """The machine is lost with all that it had synced."""
        self._kept.clear()

    def restore(self, shard: Path) -> None:
        """Put back into a shard that went back in time what it had synced since."""
        mine = [(ordinal, offsets) for name, ordinal, offsets in self._kept if name == shard.name]
        if not mine:
            return
        database = open_database(shard, small_memory())
        for ordinal, offsets in mine:
            self._add(Verdicts(database, shard), ordinal, offsets)
        database.close()


def judged(
    records: Sequence[naive.Record], undecided: set[int], lake: Path, stream: str, now_us: int
) -> list[naive.Record]:
    """The records with what the clock said of those in `undecided`, which all have been read.

    Of one that lies past what the clock can have allowed by now there is nothing to ask; of others
    the dead letter tells, and must say the same ever after.
    """
    dead = {
        (one.partition, one.offset)
        for one in DeadLetter(lake, stream).list(limit=1_000_000, code="TG-209")
    }
    made = list(records)
    for place in undecided:
        record = made[place]
        is_past = (str(record.partition), record.offset) in dead
        assert is_past or record.log_us <= now_us + AHEAD_US, record
        made[place] = replace(record, is_past_clock=is_past)
    undecided.clear()
    return made
