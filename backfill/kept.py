"""What is kept of a stream's events: in the archive, and in the log where the archive ends.

Each partition is read in order of offsets, from the first that is kept up to where the caller says;
archive and log join without gap or overlap. Needs no engine, and none is in the way of it. Nothing
is written here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..connectors.archive import ArchiveLog
from ..connectors.decode import DecodedBatch, JsonDecoder
from ..connectors.source import Log
from ..connectors.with_beside import NoLog
from ..engine.lake import lake_of
from ..engine.plan import StreamPlan
from ..engine.runtime.feeds import DecodedFeed
from ..engine.runtime.sources import open_log, with_beside
from ..engine.settings import Settings
from ..schemas.errors import SourceError, TegulaError
from ..state.archive_files import ArchiveFiles
from ..windows.tiles import NEVER_US

ROWS_MAX: Final = 131_072
_SILENT_POLLS: Final = 2_000
"""Polls of a log, some ms each, that bring nothing before it is taken to hold no more.

At the end of a Kafka partition there may be offsets without records, of transactions.
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept of a partition: from `first` up to `archived` in the archive.

    In the log from `log_first` up to `log_end`; None where it does not answer or has none such.
    """

    first: int
    archived: int
    log_first: int | None
    log_end: int | None

    @property
    def begin(self) -> int:
        """The first offset that can be read."""
        return self.first if self.archived > self.first else (self.log_first or 0)

    @property
    def end(self) -> int:
        """The offset up to which records can be read."""
        return max(self.archived, self.log_end or 0)


class KeptEvents:
    """One stream's events, as archive and log hold them. Not safe for use by several threads.

    `log_fault` is why the log does not answer, if it does not; what lies beside it, imports and
    what was driven again, is read all the same.
    """

    def __init__(self, stream: StreamPlan, settings: Settings) -> None:
        self.stream = stream
        self._settings = settings
        self._files = ArchiveFiles(lake_of(settings), stream.name, stream.schema)
        self._archive = ArchiveLog(stream.name, self._files, stream.event_time)
        self.log_fault: TegulaError | None = None
        in_log: dict[str, tuple[int, int]] = {}
        try:
            self._log = open_kept_log(stream, settings)
            in_log = {name: self._log.bounds(name) for name in self._log.partitions()}
        except TegulaError as fault:
            self.log_fault = fault
            self._log = with_beside(NoLog(), stream, settings)
            in_log = {name: self._log.bounds(name) for name in self._log.partitions()}
        archived = {name: self._archive.bounds(name) for name in self._archive.partitions()}
        self._bounds = {
            name: Bounds(*archived.get(name, (0, 0)), *in_log.get(name, (None, None)))
            for name in (*archived, *(one for one in in_log if one not in archived))
        }

    @property
    def partitions(self) -> tuple[str, ...]:
        """Partitions of which anything is kept, or of which the log knows: the archive's first."""
        return tuple(self._bounds)

    @property
    def log_identity(self) -> str | None:
        """The identity of the log; None where it does not answer."""
        return None if self.log_fault is not None else self._log.identity

    @property
    def archive_identity(self) -> str:
        """The archive's own; empty as long as it has no rows."""
        return self._files.identity

    def bounds(self, partition: str) -> Bounds:
        """What is kept of a partition; nothing of one that is not known."""
        return self._bounds.get(partition, Bounds(0, 0, None, None))

    def begins_us(self, partition: str) -> int:
        """The partition's running maximum at its first archived row, that row included.

        `NEVER_US` where the archive has it from offset 0, or not at all.
        """
        spans = self._files.spans(partition, 0)
        if not spans or self.bounds(partition).first == 0:
            return NEVER_US
        first = next(spans[0].rows(["_watermark_us"], 0, 1))
        return int(first["_watermark_us"].cast(int)[0]) + self.stream.disorder_us

    def read(self, ends: Mapping[str, int]) -> Iterator[DecodedBatch]:
        """Records of the partitions in `ends`, from the first that is kept up to these offsets.

        Those of a partition come in order; a batch may go on past its end. What neither archive nor
        log holds is left out. Raises what reading raises.
        """
        archived = {
            name: self.bounds(name).first
            for name in ends
            if self.bounds(name).archived > self.bounds(name).first
        }
        reached = {name: self.bounds(name).begin for name in ends}
        reader = self._archive.open(archived)
        try:
            while any(reached[name] < ends[name] for name in archived):
                batch = reader.poll(ROWS_MAX)
                if batch is None:
                    break
                reached[batch.partition] = max(reached[batch.partition], batch.next_offset)
                yield batch
        finally:
            reader.close()
        behind = {
            name: max(at, self.bounds(name).archived)
            for name, at in reached.items()
            if at < ends[name]
        }
        if behind:
            yield from self._tail(self._log, behind, ends)

    def _tail(
        self, log: Log, positions: dict[str, int], ends: Mapping[str, int]
    ) -> Iterator[DecodedBatch]:
        """What the log holds from `positions` on; those of `positions` are moved on."""
        stream = self.stream
        decoder = JsonDecoder(stream.schema, stream.event_time, self._settings.record_bytes_max)
        feed = DecodedFeed(log.open(positions), decoder)
        silent, pause = 0, threading.Event()
        try:
            while any(at < ends[name] for name, at in positions.items()):
                batch = feed.poll()
                if batch is None:
                    silent += 1
                    pause.wait(0.005)
                    if silent > _SILENT_POLLS:
                        return  # what is missing shows in the counts
                    continue
                silent = 0
                positions[batch.partition] = batch.next_offset
                yield batch
        finally:
            feed.close()


def open_kept_log(stream: StreamPlan, settings: Settings) -> Log:
    """The log of a stream as it was kept: an embedded one that is gone is not made anew.

    Raises what opening it raises, and `SourceError` where it is gone.
    """
    file = settings.log_path(stream.name)
    if stream.source is None and not file.exists():
        raise SourceError("there is no embedded log", where=str(file))
    return open_log(stream, settings)
