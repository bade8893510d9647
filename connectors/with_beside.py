"""A stream's log together with the partitions that lie beside it.

These are what was driven again (`redrive.py`) and what was imported (`imports.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from ..schemas.errors import LogShrunk
from .source import Log, LogReader, RawBatch

_LOOK_EVERY: Final = 16
"""Polls that the log has before what lies beside it has one, while both have something."""


class Beside(Protocol):
    """Records beside a log: one partition, once there are any. Offsets ascend from 0, no gaps."""

    @property
    def prefix(self) -> str:
        """What the name of its partition begins with, and no other's."""
        ...

    @property
    def partition(self) -> str | None:
        """The partition's name; None as long as there are no records."""
        ...

    def end(self) -> int:
        """The offset that the next record will get."""
        ...

    def read(self, offset: int, rows_max: int) -> RawBatch | None:
        """At most `rows_max` records from `offset` on; None if there are none."""
        ...


class LogWithBeside:
    """`log`, and after its own partitions those of `beside`, each once it has records."""

    def __init__(self, log: Log, beside: Sequence[Beside], stream: str) -> None:
        self._log = log
        self._beside = tuple(beside)
        self._stream = stream

    @property
    def identity(self) -> str:
        """The log's own."""
        return self._log.identity

    def partitions(self) -> tuple[str, ...]:
        """The log's partitions, then those beside it."""
        more = [one.partition for one in self._beside]
        return (*self._log.partitions(), *(name for name in more if name is not None))

    def bounds(self, partition: str) -> tuple[int, int]:
        """The first offset that is kept, and the offset that will be written next."""
        beside = _of(self._beside, partition)
        return self._log.bounds(partition) if beside is None else (0, beside.end())

    def open(self, positions: Mapping[str, int]) -> _Reader:
        """A reader of the partitions in `positions`. Raises what the log's own raises.

        `LogShrunk` also if a partition beside it ends before its position.
        """
        beside = {name: one for name in positions if (one := _of(self._beside, name)) is not None}
        own = {name: at for name, at in positions.items() if name not in beside}
        reader = _Reader(self._log.open(own), self._beside)
        for partition, one in beside.items():
            end = one.end() if partition == one.partition else 0
            if positions[partition] > end:
                raise LogShrunk(
                    stream=self._stream,
                    partition=partition,
                    end_offset=end,
                    applied_offset=positions[partition],
                )
            reader.seek(partition, positions[partition])
        return reader


class NoLog:
    """In the place of a log that is not there, or does not answer: it has no partitions."""

    identity = ""

    def partitions(self) -> tuple[str, ...]:
        """None."""
        return ()

    def bounds(self, partition: str) -> tuple[int, int]:
        """Nothing is kept."""
        return (0, 0)

    def open(self, positions: Mapping[str, int]) -> LogReader:
        """A reader that never has anything."""
        return _NoReader()


class _NoReader:
    def poll(self, rows_max: int) -> None:
        return None

    def seek(self, partition: str, offset: int) -> None:
        """Nothing to read there."""

    def close(self) -> None:
        """Nothing is held."""


class _Reader:
    """Polls the log, and now and then, or when it has nothing, what lies beside it."""

    def __init__(self, reader: LogReader, beside: Sequence[Beside]) -> None:
        self._reader = reader
        self._beside = beside
        self._offsets: dict[Beside, int] = {}
        self._polls = 0

    def poll(self, rows_max: int) -> RawBatch | None:
        self._polls += 1
        if self._polls % _LOOK_EVERY == 0 and (batch := self._read(rows_max)) is not None:
            return batch
        batch = self._reader.poll(rows_max)
        return batch if batch is not None else self._read(rows_max)

    def _read(self, rows_max: int) -> RawBatch | None:
        for one, offset in self._offsets.items():
            batch = one.read(offset, rows_max)
            if batch is not None:
                self._offsets[one] = batch.next_offset
                return batch
        return None

    def seek(self, partition: str, offset: int) -> None:
        beside = _of(self._beside, partition)
        if beside is None:
            self._reader.seek(partition, offset)
        else:
            self._offsets[beside] = offset

    def close(self) -> None:
        self._reader.close()


def _of(beside: Sequence[Beside], partition: str) -> Beside | None:
    return next((one for one in beside if partition.startswith(one.prefix)), None)
