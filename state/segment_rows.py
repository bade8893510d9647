"""Finding a key's segments among the rows of a shard (`segments.py` says what they are)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rocksdict import Rdict, RdictIter, ReadOptions

from .database import is_at_row, named_faults
from .rows import SEGMENT, build_prefix, hour_and_place, segment_number, segment_suffix


class SegmentRows:
    """The segments in an open database."""

    def __init__(self, database: Rdict, path: Path) -> None:
        self._database = database
        self._path = path

    def last_of(
        self, build: int, hours: Iterable[tuple[bytes, int]]
    ) -> list[tuple[int, bytes] | None]:
        """For each (key, hour) its last segment: the place in the hour, and the block.

        For the thread that commits: it reads beside no commit.
        """
        rows, prefix = self._rows(), build_prefix(build)
        found: list[tuple[int, bytes] | None] = []
        with named_faults(self._path):
            for key, hour in hours:
                # Forward from the first: backward, the next before an hour without any may lie
                # beyond all those that were dropped.
                first, end = segment_number(hour, 0), segment_number(hour + 1, 0)
                number = None
                for number in self._numbers(rows, prefix + key, first, end):  # noqa: B007
                    pass
                if number is None:
                    found.append(None)
                    continue
                block: bytes = self._database.get(prefix + key + segment_suffix(number)) or b""
                found.append((hour_and_place(number)[1], block))
        return found

    def numbers(self, build: int, key: bytes, begin: int, end: int) -> list[int]:
        """The numbers of a key's segments in `[begin, end)`, in order."""
        with named_faults(self._path):
            return list(self._numbers(self._rows(), build_prefix(build) + key, begin, end))

    def all_of(self, build: int, keys: Sequence[bytes]) -> Iterator[tuple[bytes, int, bytes]]:
        """Every segment of some keys: key, number, block."""
        rows, prefix = self._rows(), build_prefix(build)
        with named_faults(self._path):
            for key in keys:
                for number in self._numbers(rows, prefix + key, 0, 1 << 64):
                    yield key, number, rows.value()

    def bytes_of(self, build: int, key: bytes) -> int:
        """How many bytes a key's segments are; they are read for it, and not kept in memory."""
        options = ReadOptions()
        options.fill_cache(False)  # type: ignore[call-arg]  # the stub knows no argument
        rows = self._database.iter(options)
        with named_faults(self._path):
            numbers = self._numbers(rows, build_prefix(build) + key, 0, 1 << 64)
            return sum(len(rows.value()) for _ in numbers)

    def _rows(self) -> RdictIter:
        return self._database.iter(ReadOptions())

    @staticmethod
    def _numbers(rows: RdictIter, base: bytes, begin: int, end: int) -> Iterator[int]:
        """The numbers in `[begin, end)` of the key at `base`, with `rows` standing at each."""
        first = base + SEGMENT
        rows.seek(base + segment_suffix(begin))
        while is_at_row(rows):
            row: bytes = rows.key()
            number = int.from_bytes(row[len(first) :], "big")
            if not row.startswith(first) or number >= end:
                return
            yield number
            rows.next()
