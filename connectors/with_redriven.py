"""A stream's log together with the partition of what was driven again (`redrive.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..schemas.errors import LogShrunk
from ..schemas.redriven import is_redriven
from .redrive import RedriveFile
from .source import Log, LogReader, RawBatch

_LOOK_EVERY: Final = 16
"""Polls that the log has before what was driven again has one, while both have something."""


class LogWithRedriven:
    """`log`, and after its own partitions the one of what was driven again, once there is one."""

    def __init__(self, log: Log, redriven: RedriveFile, stream: str) -> None:
        self._log = log
        self._redriven = redriven
        self._stream = stream

    @property
    def identity(self) -> str:
        """The log's own."""
        return self._log.identity

    def partitions(self) -> tuple[str, ...]:
        """The log's partitions, then the one of what was driven again."""
        more = self._redriven.partition
        return (*self._log.partitions(), *(() if more is None else (more,)))

    def bounds(self, partition: str) -> tuple[int, int]:
        """The first offset that is kept, and the offset that will be written next."""
        return (0, self._redriven.end()) if is_redriven(partition) else self._log.bounds(partition)

    def open(self, positions: Mapping[str, int]) -> _Reader:
        """A reader of the partitions in `positions`. Raises what the log's own raises.

        `LogShrunk` also if fewer records were driven again than have been applied.
        """
        own = {name: at for name, at in positions.items() if not is_redriven(name)}
        reader = _Reader(self._log.open(own), self._redriven)
        for partition in positions.keys() - own.keys():
            end = self._redriven.end() if partition == self._redriven.partition else 0
            if positions[partition] > end:
                raise LogShrunk(
                    stream=self._stream,
                    partition=partition,
                    end_offset=end,
                    applied_offset=positions[partition],
                )
            reader.seek(partition, positions[partition])
        return reader


class _Reader:
    """Polls the log, and now and then, or when it has nothing, what was driven again."""

    def __init__(self, reader: LogReader, redriven: RedriveFile) -> None:
        self._reader = reader
        self._redriven = redriven
        self._offset: int | None = None
        self._polls = 0

    def poll(self, rows_max: int) -> RawBatch | None:
        self._polls += 1
        if self._polls % _LOOK_EVERY == 0 and (batch := self._read(rows_max)) is not None:
            return batch
        batch = self._reader.poll(rows_max)
        return batch if batch is not None else self._read(rows_max)

    def _read(self, rows_max: int) -> RawBatch | None:
        if self._offset is None:
            return None
        batch = self._redriven.read(self._offset, rows_max)
        if batch is not None:
            self._offset = batch.next_offset
        return batch

    def seek(self, partition: str, offset: int) -> None:
        if is_redriven(partition):
            self._offset = offset
        else:
            self._reader.seek(partition, offset)

    def close(self) -> None:
        self._reader.close()
