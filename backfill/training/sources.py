"""The events that training sets are made from: all that is kept of a stream, judged as live did.

The archive first, then what the log holds beyond it, so an event that was just pushed is there too.
Which events are copies, and which a clock turned away, the archive says of its rows; of rows that
are still in the log alone it is found out as the engine would find it out.

How far each partition was read is part of a set's manifest: read up to there again, the same events
come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...connectors.decode import DecodedBatch
from ...engine.plan import StreamPlan
from ...engine.settings import Settings
from ...engine.steps.admit import Admitted, admit
from ...engine.steps.lanes import from_offset, up_to_offset
from ...schemas.errors import HistoryIncomplete, LogRecreated, RegistryMissing
from ...state.registry import Registry
from ...windows.tiles import NEVER_US
from ..kept import Bounds, KeptEvents
from .copies import TailCopies


@dataclass(slots=True)
class Taken:
    """What was read of one partition: offsets `[first, end)`, and how many records were in it."""

    first: int
    end: int
    events: int = 0
    bad: int = 0


@dataclass(slots=True)
class _Place:
    offset: int
    running_max_us: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Admitted events of one partition."""

    ordinal: int
    admitted: Admitted


@dataclass
class StreamEvents:
    """One stream's events up to where it ends now, or up to `ends` (by partition).

    `taken` and `begins_us` are whole once all was read. An instant before `begins_us` lies before
    what is kept; `is_cut` says that there was more, which is gone. `now_us` is the wall clock.
    """

    stream: StreamPlan
    settings: Settings
    now_us: int
    ends: Mapping[str, int] | None = None
    taken: dict[str, Taken] = field(default_factory=dict)
    begins_us: int = 2**62
    is_cut: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._kept = KeptEvents(self.stream, self.settings)
        names = self._kept.partitions if self.ends is None else tuple(self.ends)
        self._ordinals = self._numbered(names)
        for name in names:
            kept = self._kept.bounds(name)
            end = kept.end if self.ends is None else self.ends[name]
            self._check(name, kept, end)
            self.taken[name] = Taken(kept.begin, end)
        fault = self._kept.log_fault
        if fault is not None and (self._had_log or self.stream.source is not None):
            self.notes.append(
                f"the log of stream {self.stream.name!r} does not answer ({fault.code}): what the "
                "archive does not have yet is missing"
            )

    def _numbered(self, names: tuple[str, ...]) -> Mapping[str, int]:
        """The partitions' ordinals; those that have none yet come after all that have."""
        known: dict[str, int] = {}
        expected = None
        try:
            registry = Registry(self.settings.registry_url_or_default)
            try:
                known = dict(registry.partitions(self.stream.name))
                expected = registry.log_identity(self.stream.name)
            finally:
                registry.close()
        except RegistryMissing:
            pass  # nothing was applied: definitions that nobody else knows
        self._had_log = expected is not None
        now = self._kept.log_identity
        if now is not None and expected not in (None, now):
            raise LogRecreated(
                stream=self.stream.name, got_identity=now, expected_identity=str(expected)
            )
        later = max(known.values(), default=-1) + 1
        new = [name for name in names if name not in known]
        return known | {name: later + place for place, name in enumerate(new)}

    def _check(self, name: str, kept: Bounds, end: int) -> None:
        """Raises `HistoryIncomplete` where offsets between archive and log, or at the end, lack."""
        where = f"stream {self.stream.name!r}, partition {name!r}"
        if end > kept.end:
            raise HistoryIncomplete(where=where, got=f"records up to {kept.end}, not to {end}")
        begins = kept.log_first or 0
        if end > kept.archived > kept.first and begins > kept.archived:
            got = f"an archive up to {kept.archived} and a log from {begins} on"
            raise HistoryIncomplete(where=where, got=got)

    @property
    def versions(self) -> dict[str, Any]:
        """What was read, for the manifest."""
        return {
            "archive": self._kept.archive_identity,
            "log": self._kept.log_identity or "",
            "partitions": {
                name: {
                    "first": one.first,
                    "end": one.end,
                    "events": one.events,
                    "bad": one.bad,
                    "ordinal": self._ordinals[name],
                }
                for name, one in sorted(self.taken.items())
            },
        }

    @property
    def record_count(self) -> int:
        """About how many records there are to read: offsets, gaps among them."""
        return sum(one.end - one.first for one in self.taken.values())

    def read(self, progress: Callable[[int], None] = lambda count: None) -> Iterator[Batch]:
        """All events, each partition in order; `progress` is told of records that were read.

        Raises what reading archive and log raises.
        """
        places = {}
        for name, one in self.taken.items():
            begins_us = self._kept.begins_us(name)
            places[name] = _Place(one.first, begins_us)
            if one.first > 0 and one.end > one.first:
                self.is_cut = True
        copies = TailCopies.of(self.stream)
        wanted = {name: one.end for name, one in self.taken.items() if one.end > one.first}
        oldest_us, cut_us = 2**62, NEVER_US
        for batch in self._kept.read(wanted):
            place, end = places[batch.partition], self.taken[batch.partition].end
            if batch.next_offset <= place.offset or place.offset >= end:
                continue
            mine = up_to_offset(from_offset(batch, place.offset), end)
            first = place.offset == self.taken[batch.partition].first
            admitted = self._admit(mine, place)
            if first and place.offset > 0 and len(admitted.offsets):
                cut_us = max(cut_us, int(admitted.event_us[0]))
            place.offset, place.running_max_us = mine.next_offset, admitted.running_max_us
            one = self.taken[batch.partition]
            one.events += len(admitted.offsets)
            one.bad += len(admitted.bad)
            if len(admitted.event_us):
                oldest_us = min(oldest_us, int(admitted.event_us.min()))
            if copies is not None:
                archived = self._kept.bounds(batch.partition).archived
                ordinal = self._ordinals[batch.partition]
                admitted = copies.judged(ordinal, admitted, archived)
            progress(batch.read_count)
            yield Batch(self._ordinals[batch.partition], admitted)
        self.begins_us = max(oldest_us, cut_us) if self.is_cut else oldest_us

    def _admit(self, batch: DecodedBatch, place: _Place) -> Admitted:
        past_clock = None
        if batch.stamped_by_producer:
            past_clock = batch.log_us > self.now_us + self.stream.ahead_us
        admitted = admit(
            batch,
            running_max_us=place.running_max_us,
            disorder_us=self.stream.disorder_us,
            ahead_us=self.stream.ahead_us,
            past_clock=past_clock,
        )
        if admitted.copies is not None:
            is_copy = np.isin(admitted.offsets, admitted.copies)
            admitted = replace(admitted, is_copy=is_copy if is_copy.any() else None)
        return admitted
