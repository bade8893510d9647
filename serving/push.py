"""Pushing events: every record judged by itself, the good ones appended, a receipt for where.

A record is judged by the stream's own decoder, the one that will read it again from the log; so
what is accepted here is never dead-lettered there, and what is refused is refused with the same
code. A bad record costs nothing but itself.

Requests that wait at the same moment are appended together, in one durable commit (group commit):
it is the commit that costs, not the events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ..connectors.decode import JsonDecoder
from ..connectors.source import Payloads, RawBatch
from ..engine.plan import StreamPlan
from ..schemas.errors import Busy, UnknownStream
from ..schemas.outcomes import RecordCode
from ..schemas.time import format_duration
from .events import records_of
from .logs import Appended, Batch, EventLog
from .plan import Resolved
from .receipts import PushReceipt

_INLINE_BYTES = 64 << 10  # a body up to this size is judged before a thread would have started


@dataclass(frozen=True, slots=True)
class PushLimits:
    """Bounds of a push: bytes a record, records, and bytes of all pushes that wait for the log."""

    record_bytes: int = 1 << 20
    events: int = 500_000
    waiting_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that was refused: its place in the request, a stable code, and the reason."""

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a push; `receipt` is None if no record was accepted."""

    accepted: int
    receipt: PushReceipt | None
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class _Judged:
    """The good records with their places in the request, and the verdicts on the others."""

    batch: Batch
    indices: Sequence[int]
    rejected: Sequence[Rejected]


class Pusher:
    """Takes pushes for all streams. Lives on one event loop.

    `open_log` opens the log of a stream when it is first pushed to.
    """

    def __init__(
        self,
        open_log: Callable[[StreamPlan], EventLog],
        now_us: Callable[[], int],
        limits: PushLimits,
    ) -> None:
        self._open_log = open_log
        self._now_us = now_us
        self._limits = limits
        self._streams: dict[str, _StreamPusher] = {}
        self._opening = asyncio.Lock()

    async def push(self, resolved: Resolved, stream: str, body: bytes, content_type: str) -> Pushed:
        """Judge the records of `body` and append the good ones, durably.

        Raises `UnknownStream`, `BadRequest` where the body is not of its type, `TooLarge`, `Busy`,
        and what the log raises where it cannot be written: then no record was accepted.
        """
        plan = resolved.streams.get(stream)
        if plan is None:
            raise UnknownStream(stream=stream, known=tuple(resolved.streams))
        pusher = self._streams.get(stream)
        if pusher is None or pusher.plan != plan:
            pusher = await self._open(plan)
        return await pusher.push(body, content_type)

    async def _open(self, plan: StreamPlan) -> _StreamPusher:
        """A pusher for the stream as it is now defined; its log stays open if it is the same."""
        async with self._opening:
            known = self._streams.get(plan.name)
            if known is not None and known.plan == plan:
                return known
            if known is not None and known.plan.source == plan.source:
                log = known.log
            else:
                log = await asyncio.to_thread(self._open_log, plan)
                if known is not None:
                    await known.close()
            opened = _StreamPusher(plan, log, self._now_us, self._limits)
            self._streams[plan.name] = opened
            return opened

    async def close(self) -> None:
        """Finish what was accepted, and let all logs go."""
        for pusher in self._streams.values():
            await pusher.close()


class _StreamPusher:
    """Pushes to one stream."""

    def __init__(
        self,
        plan: StreamPlan,
        log: EventLog,
        now_us: Callable[[], int],
        limits: PushLimits,
    ) -> None:
        self.plan = plan
        self.log = log
        self._now_us = now_us
        self._limits = limits
        self._decoder = JsonDecoder(plan.schema, plan.event_time, limits.record_bytes)
        self._judging = asyncio.Lock()
        self._waiting: list[tuple[Batch, asyncio.Future[Appended]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._busy_bytes = 0

    async def push(self, body: bytes, content_type: str) -> Pushed:
        # One that is larger by itself is taken alone.
        if self._busy_bytes and self._busy_bytes + len(body) > self._limits.waiting_bytes:
            raise Busy(
                stream=self.plan.name, waiting=self._busy_bytes, limit=self._limits.waiting_bytes
            )
        self._busy_bytes += len(body)
        try:
            return await self._push(body, content_type)
        finally:
            self._busy_bytes -= len(body)

    async def _push(self, body: bytes, content_type: str) -> Pushed:
        async with self._judging:  # the decoder is for one thread at a time
            if len(body) <= _INLINE_BYTES:
                judged = self._judge(body, content_type)
            else:
                judged = await asyncio.to_thread(self._judge, body, content_type)
        if not judged.indices:
            return Pushed(0, None, tuple(judged.rejected))
        appended = await self._append(judged.batch)
        accepted = len(judged.indices) - len(appended.failed)
        if not accepted:
            raise next(iter(appended.failed.values()))
        positions: dict[str, int] = {}
        for one in appended.receipts:
            positions[one.partition] = max(positions.get(one.partition, 0), one.next_offset)
        failed = [
            Rejected(judged.indices[place], error.code, error.message)
            for place, error in appended.failed.items()
        ]
        rejected = sorted((*judged.rejected, *failed), key=lambda one: one.index)
        return Pushed(accepted, PushReceipt(self.plan.name, positions), tuple(rejected))

    def _judge(self, body: bytes, content_type: str) -> _Judged:
        records = records_of(body, content_type, self.plan, self._limits.events)
        now_us, count = self._now_us(), len(records)
        decoded = self._decoder.decode(
            RawBatch(
                partition="",
                offsets=np.arange(count),
                log_us=np.full(count, now_us),
                payloads=Payloads.from_list(records),
                next_offset=count,
            )
        )
        future = decoded.event_us > now_us + self.plan.ahead_us
        rejected = [Rejected(bad.offset, str(bad.code), bad.reason) for bad in decoded.bad]
        rejected += [self._too_far_ahead(index) for index in decoded.offsets[future].tolist()]
        rejected.sort(key=lambda one: one.index)
        indices = decoded.offsets[~future].tolist()
        keys = None
        if self.plan.partition_by is not None:
            keys = keys_of(decoded.frame.filter(~future)[self.plan.partition_by])
        return _Judged(Batch([records[i] for i in indices], keys), indices, rejected)

    def _too_far_ahead(self, index: int) -> Rejected:
        ahead = format_duration(self.plan.ahead_us)
        reason = f"the event is dated more than {ahead} ahead of now"
        return Rejected(index, str(RecordCode.FUTURE), reason)

    async def _append(self, batch: Batch) -> Appended:
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await future

    async def _write(self) -> None:
        """Append whatever waits, again and again, until nothing does."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                answers = await asyncio.to_thread(self.log.append, [batch for batch, _ in waiting])
            except Exception as fault:  # noqa: BLE001 - each caller is told, the writer goes on
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(fault)
                continue
            for (_, future), answer in zip(waiting, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer
        self.log.close()


def keys_of(values: pl.Series) -> list[bytes | None]:
    """The values by which events are spread, as text; null stays None.

    >>> keys_of(pl.Series([7, None]))
    [b'7', None]
    """
    texts = values.to_physical().cast(pl.String).to_list()
    return [None if text is None else text.encode() for text in texts]
