"""Which answers are kept, and handing them on: the served log as the event loop sees it.

Whether an answer is kept follows from its trace id alone, so that all requests of one trace are
kept or none, in every process. What would pass the bound of what may wait is not kept, and counted:
an answer never waits for the log.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from ...engine.lake import lake_of
from ...engine.settings import Settings
from ...schemas.errors import TegulaError
from ..metrics import Counters
from ..plan import FeaturePlan, Resolved
from ..protocol import FeatureRequest
from ..read import Reply
from .columns import warm_up
from .notes import NEVER_US, NOTE_BYTES, Noted, Notes
from .writer import ServedWriter

_RANDOM_AT: Final = 18
"""Where the random part of a trace id begins, in hex digits (W3C Trace Context, level 2)."""
_RANDOM_DIGITS: Final = 14
_EARLY_PARTS: Final = 8
"""Notes are handed on early when they fill this part of what may wait."""


@dataclass(slots=True)
class _Service:
    """A plan, what its trace ids lie below to be kept, and what was noted of it."""

    plan: FeaturePlan
    below: str
    notes: Notes


class Recorder:
    """Keeps answers for the served log. Lives on one event loop; keeps nothing before `start`."""

    def __init__(self, settings: Settings, counters: Counters, now_us: Callable[[], int]) -> None:
        self._settings = settings
        self._counters = counters
        self._now_us = now_us
        self._writer: ServedWriter | None = None
        self._services: dict[int, _Service] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._open_bytes = 0
        self._given_bytes = 0

    @property
    def fault(self) -> TegulaError | None:
        """Why the log could not be written when it was tried last; None if it could."""
        return None if self._writer is None else self._writer.fault

    def start(self) -> None:
        """Begin to keep answers; called on the event loop, before it has anything to answer."""
        warm_up()
        self._writer = ServedWriter(
            lake_of(self._settings),
            uuid.uuid4().hex,
            keep_days=self._settings.served_keep_days,
            counters=self._counters,
            now_us=self._now_us,
        )
        self._writer.start()
        self._arm()

    async def close(self) -> None:
        """Write what was kept, and keep no more. Takes some seconds at most."""
        writer = self._writer
        if writer is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._hand_on()
        self._writer = None
        await asyncio.to_thread(writer.stop)

    def offer(
        self,
        resolved: Resolved,
        plan: FeaturePlan,
        request: FeatureRequest,
        reply: Reply,
        answer: bytes,
        at_us: int,
        trace_id: str,
        took_ns: int,
    ) -> None:
        """Keep an answer, if its trace id says so. `at_us` is the instant of its values."""
        service = self._services.get(id(plan)) or self._begin(resolved, plan)
        if trace_id[_RANDOM_AT:] >= service.below or not request.key_count:
            return
        self._counters.served("chosen")
        asked = orjson.dumps({"keys": request.keys, "values": request.values})
        size_bytes = len(asked) + len(answer) + NOTE_BYTES
        writer = self._writer
        waiting_bytes = self._given_bytes + self._open_bytes + size_bytes
        if writer is None or waiting_bytes - writer.done_bytes > self._settings.served_buffer_bytes:
            self._counters.served("full")
            return
        self._open_bytes += size_bytes
        is_now = request.as_of_us is None
        noted = Noted(
            at_us if is_now else self._now_us(),
            NEVER_US if is_now else at_us,
            resolved.version,
            took_ns // 1_000,
            request.key_count,
        )
        service.notes.add(asked, answer, noted, reply.marks)
        if self._open_bytes * _EARLY_PARTS > self._settings.served_buffer_bytes:
            self._hand_on()

    def _begin(self, resolved: Resolved, plan: FeaturePlan) -> _Service:
        """Take up a plan: what the catalogue changes is a plan anew."""
        share = 0.0
        if plan.service is not None and self._writer is not None:
            own = plan.service.served_share
            share = self._settings.served_share if own is None else own
        service = _Service(plan, _below(share), Notes(plan, resolved.shards))
        if self._writer is not None:
            self._services[id(plan)] = service
        return service

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._settings.served_interval_s, self._tick)

    def _tick(self) -> None:
        self._hand_on()
        self._arm()

    def _hand_on(self) -> None:
        """Give what was noted to the writer; plans that answered nothing are let go."""
        given = [one.notes for one in self._services.values() if len(one.notes)]
        self._services.clear()
        self._given_bytes += self._open_bytes
        self._open_bytes = 0
        if given and self._writer is not None:
            self._writer.put(given)


def _below(share: float) -> str:
    """What the random part of a trace id is less than, as text, in this share of all.

    >>> _below(0.5), _below(1.0), _below(0.0)
    ('80000000000000', 'g', '')
    """
    if share >= 1:
        return "g"
    cut = round(share * 16**_RANDOM_DIGITS)
    return f"{cut:0{_RANDOM_DIGITS}x}" if cut else ""
