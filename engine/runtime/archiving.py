"""The archive and the dead letter of every stream, as the engine feeds them.

Both are consumers of their own, with positions of their own: what a crash loses of their buffers is
read again from the log. They never hold back the state; only a bound of buffered bytes holds back
the source.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ...connectors.archive import ArchiveLog
from ...state.archive import Archive, ArchiveRows
from ...state.archive_files import ArchiveFiles
from ...state.archive_writer import ArchiveWriter, FlushPolicy
from ...state.dead_letter import DeadLetter
from ..lake import lake_of
from ..plan import StreamPlan
from ..settings import Settings
from ..steps.lanes import Place
from .ending import Ending


class Archiving:
    """The archives of all streams of an engine; written by threads unless `threaded` is False."""

    def __init__(self, settings: Settings, *, threaded: bool) -> None:
        self._settings = settings
        self._threaded = threaded
        self._archives: dict[str, Archive] = {}
        self._writers: dict[str, ArchiveWriter] = {}

    def open(self, stream: StreamPlan) -> ArchiveLog:
        """Open a stream's archive for writing; returns it for reading."""
        root, name = lake_of(self._settings), stream.name
        archive = Archive(
            root,
            name,
            stream.schema,
            writer="engine",
            disorder_us=stream.disorder_us,
            dead_letter=DeadLetter(root, name, writer="engine"),
        )
        self._archives[name] = archive
        if self._threaded:
            policy = FlushPolicy(
                self._settings.archive_rows,
                self._settings.archive_interval_s,
                self._settings.archive_buffer_bytes,
            )
            self._writers[name] = ArchiveWriter(archive, policy)
        return ArchiveLog(name, ArchiveFiles(root, name, stream.schema), stream.event_time)

    def places(self, stream: str) -> Mapping[str, Place]:
        """Where each partition's archive ends; the stream is read again from there."""
        return {
            partition: Place(place.next_offset, place.running_max_us)
            for partition, place in self._archives[stream].places().items()
        }

    def has_room(self, stream: str) -> bool:
        """Whether `offer` would take rows without waiting for those before to be written."""
        writer = self._writers.get(stream)
        return writer is None or writer.has_room

    def offer(self, stream: str, rows: ArchiveRows) -> None:
        """Hand over the records of a batch, in order of offsets a partition.

        Waits where there is no room; who must not wait asks `has_room` first.
        """
        writer = self._writers.get(stream)
        if writer is not None:
            writer.offer(rows)
        else:
            self._archives[stream].append(rows)

    def flush(self) -> None:
        """Write what is buffered, where no thread does it."""
        if not self._threaded:
            for archive in self._archives.values():
                archive.flush()

    def report(self) -> dict[str, Any]:
        """How each stream's archive is doing."""
        reports = {}
        for name, writer in list(self._writers.items()):
            report = writer.report()
            reports[name] = {
                "buffered_rows": report.buffered_rows,
                "buffered_bytes": report.buffered_bytes,
                "written_rows": report.written_rows,
                "fault": None if report.error is None else report.error.as_dict(),
            }
        return reports

    def close(self, *, clean: bool = True, ending: Ending | None = None) -> None:
        """Flush and stop; `clean=False` forgets what is buffered, as a crash would.

        What was not written, or not in time for the ending, is read again from the log; of what
        could not be, the report has told.
        """
        ending = ending or Ending(threading.Event())
        for thread in [writer.end(flush=clean) for writer in self._writers.values()]:
            ending.join(thread)
        if clean:
            self.flush()
