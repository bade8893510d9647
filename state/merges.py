"""Which files of a table are to become one: small neighbours, up to a healthy size.

Pure planning over what Delta's log says. Files are neighbours if they lie in one folder (the same
values of the columns that the table is partitioned by) and follow each other, in order of their
offsets or, where rows have none, of their age. Rows are never sorted anew, and no file of another
day lies between neighbours (a clock that is set back lets a day go on after the next has begun): so
the files of a partition stay in order, and no offset comes to lie in two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

HEALTHY_MIN_BYTES: Final = 8 << 20
"""Files are not left smaller than this, where neighbours can make them larger."""

_VALUE: Final = "partition."
_DATE: Final = "_date"

Values = tuple[tuple[str, str], ...]
"""The values that name a folder: name and value of each column, as Delta writes them."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Files, neighbours in order, that are to be one; `values` are those of their folder."""

    values: Mapping[str, str]
    files: tuple[Mapping[str, Any], ...]

    @property
    def size_bytes(self) -> int:
        """What they take now."""
        return _size(self.files)

    @property
    def row_count(self) -> int:
        """The rows that the one file will have."""
        return sum(int(file["num_records"]) for file in self.files)


def plan(
    files: Iterable[Mapping[str, Any]], order: str | None, file_bytes: int
) -> tuple[Merge, ...]:
    """What to merge, so that files take about `file_bytes`.

    `files` are as `delta_files.list_files` gives them, `order` is the column of offsets. A file of
    a quarter of `file_bytes` or more is left alone, unless what lies beside it is too small to be
    a file. Files made have at least that quarter, but for the newest of all, which still grow, and
    what lies alone between files of another day. O(n log n) in the number of files.
    """
    healthy = max(HEALTHY_MIN_BYTES, file_bytes // 4)
    sequences: dict[Values, list[Mapping[str, Any]]] = {}
    for file in files:
        sequences.setdefault(_without_date(file), []).append(file)
    merges = []
    for _, found in sorted(sequences.items()):
        if order is not None:
            found.sort(key=lambda file: file[f"min.{order}"])
        else:  # by day, then by age
            found.sort(key=_values)
        stretches = [(values, list(stretch)) for values, stretch in groupby(found, _values)]
        for number, (values, stretch) in enumerate(stretches, start=1):
            runs = _runs(stretch, healthy, file_bytes, grows=number == len(stretches))
            merges += [Merge(dict(values), tuple(run)) for run in runs if len(run) > 1]
    return tuple(sorted(merges, key=lambda merge: tuple(merge.values.items())))


def _runs(
    files: Sequence[Mapping[str, Any]], healthy: int, file_bytes: int, *, grows: bool
) -> list[list[Mapping[str, Any]]]:
    """Neighbours that belong together; the last run of a folder that still grows may be small."""
    small: list[list[Mapping[str, Any]]] = []
    for file in files:
        is_small = file["size_bytes"] < healthy
        fits = small and _size(small[-1]) + file["size_bytes"] <= file_bytes
        if is_small and fits and small[-1][-1]["size_bytes"] < healthy:
            small[-1].append(file)
        else:
            small.append([file])
    runs: list[list[Mapping[str, Any]]] = []
    for run in small:
        if runs and _size(runs[-1]) < healthy:
            runs[-1] += run
        else:
            runs.append(run)
    if len(runs) > 1 and not grows and _size(runs[-1]) < healthy:
        last = runs.pop()
        runs[-1] += last
    return runs


def _size(files: Iterable[Mapping[str, Any]]) -> int:
    return sum(int(file["size_bytes"]) for file in files)


def _values(file: Mapping[str, Any]) -> Values:
    """The values that name a file's folder, as Delta writes them."""
    named = [name for name in file if name.startswith(_VALUE)]
    return tuple((name.removeprefix(_VALUE), str(file[name])) for name in named)


def _without_date(file: Mapping[str, Any]) -> Values:
    """What files have in common that follow each other, day by day; the last of them grow."""
    return tuple(value for value in _values(file) if value[0] != _DATE)
