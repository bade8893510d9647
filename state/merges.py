"""Which files of a table are to become one: small neighbours, up to a healthy size.

Pure planning over what Delta's log says. Files are neighbours if they lie in one folder (the same
values of the columns that the table is partitioned by) and follow each other there, in order of
their offsets or, where rows have none, of their age. Rows are never sorted anew, and so no offset
comes to lie in two files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

HEALTHY_MIN_BYTES: Final = 8 << 20
"""Files are not left smaller than this, where neighbours can make them larger."""

_VALUE: Final = "partition."
_DATE: Final = "_date"


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
    a file. Files made have at least that quarter, all but the newest of a folder that still grows.
    O(files).
    """
    healthy = max(HEALTHY_MIN_BYTES, file_bytes // 4)
    folders: dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]] = {}
    for file in files:
        folders.setdefault(_values(file), []).append(file)
    newest: dict[tuple[tuple[str, str], ...], str] = {}
    for values in folders:
        rest, day = _apart(values)
        newest[rest] = max(day, newest.get(rest, ""))
    merges = []
    for values, found in sorted(folders.items()):
        rest, day = _apart(values)
        if order is not None:
            found.sort(key=lambda file: file[f"min.{order}"])
        runs = _runs(found, healthy, file_bytes, grows=day == newest[rest])
        merges += [Merge(dict(values), tuple(run)) for run in runs if len(run) > 1]
    return tuple(merges)


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


def _values(file: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The values that name a file's folder, as Delta writes them."""
    named = [name for name in file if name.startswith(_VALUE)]
    return tuple((name.removeprefix(_VALUE), str(file[name])) for name in named)


def _apart(values: tuple[tuple[str, str], ...]) -> tuple[tuple[tuple[str, str], ...], str]:
    """A folder's values but for its date, and the date; of several folders the last one grows."""
    rest = tuple(value for value in values if value[0] != _DATE)
    return rest, dict(values).get(_DATE, "")
