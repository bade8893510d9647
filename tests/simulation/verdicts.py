"""What the wall clock said of records whose producers set their timestamps, once and for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tegula.state.database import open_database
from tegula.state.dead_letter import DeadLetter
from tegula.state.uniqueness import SeenIds
from tegula.state.verdicts import Verdicts
from tests.oracle import naive
from tests.simulation.views import AHEAD_US
from tests.support.ingesting import small_memory


class Synced:
    """Remembers what was written and synced at once: a power cut spares it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._kept: list[tuple[str, Any]] = []
        for owner in (Verdicts, SeenIds):
            patch.setattr(owner, "add", self._remember(owner, owner.add))

    def _remember(self, owner: Any, add: Any) -> Any:
        def remembered(rows: Any, *given: Any) -> None:
            add(rows, *given)
            again = lambda database, path: add(owner(database, path), *given)  # noqa: E731
            self._kept.append((rows._path.name, again))

        return remembered

    def forget(self) -> None:
        """The machine is lost with all that it had synced."""
        self._kept.clear()

    def restore(self, shard: Path) -> None:
        """Put back into a shard that went back in time what it had synced since."""
        mine = [again for name, again in self._kept if name == shard.name]
        if not mine:
            return
        database = open_database(shard, small_memory())
        for again in mine:
            again(database, shard)
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
