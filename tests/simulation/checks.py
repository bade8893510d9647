"""What must hold of archive and dead letter after a simulated run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tegula.engine.runtime.streams import StreamReader
from tegula.schemas.redriven import is_redriven
from tegula.state.dead_letter import DeadLetter
from tests.oracle import naive
from tests.simulation.views import AHEAD_US


def check_archive(
    reader: StreamReader,
    lake: Path,
    stream: str,
    records: Sequence[naive.Record],
    redriven: Sequence[naive.Record],
) -> None:
    """Every record once, in order, in the archive; every bad one once in the dead letter."""
    archive = reader._archive
    wanted: dict[str, list[int]] = {}
    bad: set[tuple[str, int]] = set()
    (name,) = {one for one in reader.lanes.live.places if is_redriven(one)} or {""}
    named = [(str(one.partition), one) for one in records] + [(name, one) for one in redriven]
    for partition, record in named:
        wanted.setdefault(partition, []).append(record.offset)
        if naive.is_dead(record, AHEAD_US):
            bad.add((partition, record.offset))
    rows = archive.open({name: archive.bounds(name)[0] for name in archive.partitions()})
    found: dict[str, list[int]] = {}
    while (batch := rows.poll(1 << 16)) is not None:
        both = [*batch.offsets.tolist(), *(one.offset for one in batch.bad)]
        found.setdefault(batch.partition, []).extend(sorted(both))
    assert found == wanted
    letters = DeadLetter(lake, stream).list(limit=1_000_000)
    positions = [(letter.partition, letter.offset) for letter in letters]
    assert len(positions) == len(set(positions))
    assert set(positions) == bad
