"""The second half of an import: runs become parts, in order of event time over all of them.

Which records a part holds depends on the runs alone, so an import that was stopped goes on after
the parts that are there. Runs are mapped, not read: memory holds one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from ...connectors.imports import GROUP_ROWS, SCHEMA, Part
from ...state.durable import write_durably
from ...windows.algebra import Bools, Int64s
from .staging import NO_TIME_US, Run


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of a run to take, ascending, and which of them correct a row that was there before."""

    rows: Int64s
    corrects: Bools


Landing = Callable[[Int64s, Bools], Int64s]
"""The log timestamps of records, by their event times and whether they correct others."""


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A run that is mapped: times, ascending, and records; of those that are chosen."""

    event_us: Int64s
    lines: Any
    chosen: Chosen | None

    def take(self, begin: int, end: int) -> Any:
        """Records [begin, end)."""
        if self.chosen is None:
            return self.lines.slice(begin, end - begin)
        return self.lines.take(pa.array(self.chosen.rows[begin:end]))

    def corrects(self, begin: int, end: int) -> Bools:
        """Which of records [begin, end) correct others."""
        if self.chosen is None:
            return np.zeros(end - begin, np.bool_)
        return self.chosen.corrects[begin:end]


Slice = tuple[int, int, int]
"""Records [second, third) of the run whose number is first."""


def merge(
    folder: Path,
    runs: Sequence[Run],
    chosen: Mapping[int, Chosen] | None,
    landing: Landing,
    progress: Callable[[int], None],
    part_rows: int,
) -> list[Part]:
    """Write the records of all runs as parts in `folder`, but for parts that are there already.

    `chosen` are the rows to take by run (None: all); `landing` says when records landed; a part
    has at most `part_rows`.
    """
    opened = [_open(run, None if chosen is None else chosen.get(n)) for n, run in enumerate(runs)]
    if chosen is not None:
        opened = [one for number, one in enumerate(opened) if number in chosen]
    parts = []
    for number, slices in enumerate(plan([one.event_us for one in opened], part_rows)):
        path = folder / f"part-{number:05d}.parquet"
        count = sum(end - begin for _, begin, end in slices)
        if not path.exists():
            table = _merged(opened, slices, landing)
            write_durably(path, lambda draft, table=table: _write(draft, table))  # type: ignore[misc]
        parts.append(Part(path, count))
        progress(count)
    return parts


def plan(times: Sequence[Int64s], part_rows: int) -> Iterator[list[Slice]]:
    """Cut sorted runs into parts of at most `part_rows` records, in order of (time, run).

    A part ends between two instants where it can: only one with more records than a part has is
    cut. O(parts * runs * log(span)).

    >>> [*plan([np.array([1, 3, 3]), np.array([2, 3])], 2)]
    [[(0, 0, 1), (1, 0, 1)], [(0, 1, 3)], [(1, 1, 2)]]
    """
    if not sum(map(len, times)):
        return
    at = [0] * len(times)
    end_us = max(int(one[-1]) for one in times if len(one)) + 1
    begin_us = min(int(one[0]) for one in times if len(one))
    while begin_us < end_us:
        least, most = begin_us, end_us
        while least < most:  # the last edge before which there are no more than a part's records
            middle = (least + most + 1) // 2
            if sum(_places(times, middle)) - sum(at) <= part_rows:
                least = middle
            else:
                most = middle - 1
        if least > begin_us:
            edges = _places(times, least)
            slices = [(n, a, b) for n, (a, b) in enumerate(zip(at, edges, strict=True)) if b > a]
            at, begin_us = edges, least
            if slices:
                yield slices
            continue
        edges = _places(times, begin_us + 1)
        for number, (begin, end) in enumerate(zip(at, edges, strict=True)):
            for first in range(begin, end, part_rows):
                yield [(number, first, min(first + part_rows, end))]
        at, begin_us = edges, begin_us + 1


def _places(times: Sequence[Int64s], edge_us: int) -> list[int]:
    if edge_us >= 2**63:
        return [len(one) for one in times]
    return [int(np.searchsorted(one, edge_us)) for one in times]


def _open(run: Run, chosen: Chosen | None) -> _Sorted:
    with pa.memory_map(str(run.path)) as file:
        table = pa.ipc.open_file(file).read_all()
    event_us = table["event_us"].chunk(0).to_numpy()
    if chosen is not None:
        event_us = event_us[chosen.rows]
    return _Sorted(event_us, table["line"].chunk(0), chosen)


def _merged(runs: Sequence[_Sorted], slices: Sequence[Slice], landing: Landing) -> Any:
    event_us = np.concatenate([runs[n].event_us[begin:end] for n, begin, end in slices])
    lines = pa.concat_arrays([runs[n].take(begin, end) for n, begin, end in slices])
    corrects = np.concatenate([runs[n].corrects(begin, end) for n, begin, end in slices])
    order = np.argsort(event_us, kind="stable")
    return pa.table(
        [pa.array(landing(event_us[order], corrects[order])), lines.take(pa.array(order))],
        schema=SCHEMA,
    )


def _write(draft: Path, table: Any) -> None:
    parquet.write_table(
        table,
        draft,
        row_group_size=GROUP_ROWS,
        compression="zstd",
        use_dictionary=False,
        write_page_checksum=True,
    )


def landed(imported_us: int, delay_us: int) -> Landing:
    """When records landed: their event time and the delay, and not after the import itself.

    What corrects another record was not known before the import.

    >>> is_one = np.array([False, False, False, True])
    >>> landed(100, 10)(np.array([5, 95, NO_TIME_US, 6]), is_one).tolist()
    [15, 100, 100, 100]
    """

    def landing(event_us: Int64s, corrects: Bools) -> Int64s:
        late = corrects | (event_us > imported_us - delay_us) | (event_us == NO_TIME_US)
        return np.where(late, imported_us, event_us + delay_us)

    return landing
