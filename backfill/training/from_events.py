"""Values by the clocks `event` and `known`: computed from the events that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from ...engine.progress import Report
from ...engine.settings import Settings
from .asked import Keys
from .buckets import EventBuckets, SpineBuckets
from .compute import Begin, answers, events_of, frame_of, numbered, rows_of
from .options import KNOWN
from .order import Order
from .slices import Slices, in_turns, sliced
from .sources import StreamEvents
from .spool import Workspace

_EVENT_BYTES: Final = 96
"""About what an event costs in a bucket, its inputs apart."""


class FromEvents:
    """The evidence of a set whose values are computed: each stream, read once."""

    def __init__(self, order: Order, settings: Settings) -> None:
        self._order = order
        self._sources = {
            stream.name: StreamEvents(
                stream,
                settings,
                order.now_us,
                None if order.ends is None else order.ends[stream.name],
            )
            for stream in order.asked.streams
        }
        self._events: dict[str, EventBuckets] = {}
        self._slices: dict[str, list[Slices]] = {}

    @property
    def size_bytes(self) -> int:
        """About what all events take in buckets."""
        builds = {part.build.view: part.build for part in self._order.asked.parts}
        return sum(
            self._sources[build.stream].record_count * (_EVENT_BYTES + 16 * len(build.inputs))
            for build in builds.values()
        )

    def read(
        self, spines: Mapping[Keys, SpineBuckets], workspace: Workspace, progress: Report
    ) -> None:
        """Hand every event that counts to the bucket of its key, and there to its slice of time."""
        for part in self._order.asked.parts:
            if part.build.view not in self._events:
                spine = spines[part.keys]
                self._events[part.build.view] = EventBuckets(
                    workspace, spine.count, part.build, spine.keys, self._order.options.landing_us
                )
        total = sum(source.record_count for source in self._sources.values())
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress("Reading events", done, total)

        for name, source in self._sources.items():
            mine = [one for one in self._events.values() if one.build.stream == name]
            for batch in source.read(advance):
                for one in mine:
                    one.add(batch.ordinal, batch.admitted)
        for view, events in self._events.items():
            self._slices[view] = [sliced(spool, workspace) for spool in events.spools]

    def frames(self, spines: Mapping[Keys, SpineBuckets], bucket: int) -> list[pl.DataFrame]:
        """The columns of every part for the rows in one bucket."""
        options = self._order.options
        by_known = options.clock == KNOWN
        asked: dict[Keys, Any] = {}
        rows: dict[str, Any] = {}
        frames = []
        for part in self._order.asked.parts:
            if part.keys not in asked:
                asked[part.keys] = numbered(spines[part.keys].rows(bucket))
            pairs, keys = asked[part.keys]
            view = part.build.view
            slices = self._slices[view][bucket]
            if slices.is_cut:
                told = in_turns(part, slices, keys, pairs, by_known=by_known)
            else:
                if view not in rows:
                    events = events_of(list(slices.spools[0].read()), keys)
                    known_us = np.empty(0, np.int64) if events is None else events.known_us
                    rows[view] = (rows_of(part.build, events, by_known=by_known), known_us)
                mine, known_us = rows[view]
                told = answers(part, mine, known_us, pairs)
            source = self._sources[part.build.stream]
            begin = Begin(source.begins_us, source.is_cut)
            frames.append(frame_of(part, told, pairs, begin, options.include))
        return frames

    def drop(self, bucket: int) -> None:
        """Forget the events of a bucket."""
        for of in self._slices.values():
            of[bucket].drop()

    @property
    def notes(self) -> list[str]:
        """What whoever uses the set should know of its streams."""
        return [note for source in self._sources.values() for note in source.notes]

    @property
    def facts(self) -> dict[str, Any]:
        """What was read, for the manifest."""
        return {
            "streams": {name: one.versions for name, one in sorted(self._sources.items())},
            "views": {
                name: {
                    "folded": one.folded,
                    "late": one.late,
                    "expired": one.expired,
                    "filtered": one.filtered,
                    "duplicate": one.duplicate,
                }
                for name, one in self._events.items()
            },
        }
