"""A request for features, from its body to the body of the answer: the one way to answer.

FastAPI's route and the hot protocol both call this, so limits, errors, trace ids and counts are
the same whichever way a request came in. `answer` never waits, for requests of a few keys;
`answer_soon` also waits for a receipt, and reads many keys a slice at a time, so that other
requests come in between.

Whatever goes wrong is an answer too: an error of the family, with the HTTP status that it has.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ..schemas.errors import TegulaError, TooLarge
from .encode import encode_error, encode_reply
from .metrics import ROUTES, Counters
from .plan import FeaturePlan, Resolved
from .protocol import FeatureRequest, Limits, parse_request, unknown_column
from .read import KEYS_AT_ONCE, FeatureReader, Reply
from .receipts import Waiter
from .served.recorder import Recorder

_LOG = logging.getLogger(__name__)

_ROUTE: Final = ROUTES.index("features")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_TRACES: Final = random.Random(os.urandom(16))  # noqa: S311 - it names requests, it guards nothing


class Answer(NamedTuple):
    """What goes back: HTTP status, body (JSON), and the catalogue version that it rests on."""

    status: int
    body: bytes
    catalogue: int


class Answerer:
    """Answers requests for features. Lives on one event loop; not shared between threads.

    `current` gives what the newest catalogue serves; `recorder` keeps what was answered.
    """

    def __init__(
        self,
        current: Callable[[], Resolved],
        reader: FeatureReader,
        waiter: Waiter,
        limits: Limits,
        counters: Counters,
        now_us: Callable[[], int],
        recorder: Recorder | None = None,
    ) -> None:
        self._current = current
        self._reader = reader
        self._waiter = waiter
        self._limits = limits
        self._counters = counters
        self._now_us = now_us
        self._recorder = recorder

    def answer(self, body: bytes, trace_id: str) -> Answer | None:
        """Answer at once; None where that would take long: many keys, or a receipt to wait for."""
        began_ns = time.perf_counter_ns()
        resolved = self._current()
        try:
            request = parse_request(body, self._limits)
            if request.after is not None or request.key_count > KEYS_AT_ONCE:
                return None
            plan = _plan_of(resolved, request)
            at_us = self._at_us(request)
            reply = self._read(resolved, plan, request, 0, request.key_count, at_us)
            encoded = encode_reply(reply, plan, request.include, trace_id)
        except Exception as fault:  # noqa: BLE001 - every request gets its answer
            return self._refuse(fault, resolved, trace_id, began_ns)
        return self._done(request, plan, reply, encoded, at_us, resolved, trace_id, began_ns)

    async def answer_soon(self, body: bytes, trace_id: str) -> Answer:
        """Answer any request, letting others in between."""
        began_ns = time.perf_counter_ns()
        resolved = self._current()
        try:
            request = parse_request(body, self._limits)
            plan = _plan_of(resolved, request)
            if request.after is not None:
                await self._waiter.wait(request.after, resolved, self._limits.wait_us)
                resolved = self._current()
                plan = _plan_of(resolved, request)
            values = request.key_count * len(plan.names)
            if values > self._limits.values:
                raise TooLarge(what="values", got=values, limit=self._limits.values)
            at_us = self._at_us(request)
            reply = await self._read_slices(resolved, plan, request, at_us)
            encoded = encode_reply(reply, plan, request.include, trace_id)
        except Exception as fault:  # noqa: BLE001 - every request gets its answer
            return self._refuse(fault, resolved, trace_id, began_ns)
        return self._done(request, plan, reply, encoded, at_us, resolved, trace_id, began_ns)

    def _read(
        self,
        resolved: Resolved,
        plan: FeaturePlan,
        request: FeatureRequest,
        begin: int,
        end: int,
        at_us: int,
    ) -> Reply:
        """The features of keys `[begin, end)` of the request."""
        columns = request.keys
        if end - begin < request.key_count:
            columns = {name: values[begin:end] for name, values in columns.items()}
        return self._reader.read(
            plan,
            [entity.encode(columns, end - begin) for entity in plan.entities],
            end - begin,
            resolved.shards,
            at_us,
            detailed=bool(request.include),
            max_age_us=request.max_age_us,
        )

    async def _read_slices(
        self, resolved: Resolved, plan: FeaturePlan, request: FeatureRequest, at_us: int
    ) -> Reply:
        count = request.key_count
        reply = self._read(resolved, plan, request, 0, min(count, KEYS_AT_ONCE), at_us)
        for begin in range(KEYS_AT_ONCE, count, KEYS_AT_ONCE):
            await asyncio.sleep(0)
            end = min(count, begin + KEYS_AT_ONCE)
            reply.extend(self._read(resolved, plan, request, begin, end, at_us), begin, end)
        return reply

    def _at_us(self, request: FeatureRequest) -> int:
        return self._now_us() if request.as_of_us is None else request.as_of_us

    def _done(
        self,
        request: FeatureRequest,
        plan: FeaturePlan,
        reply: Reply,
        encoded: bytes,
        at_us: int,
        resolved: Resolved,
        trace_id: str,
        began_ns: int,
    ) -> Answer:
        took_ns = time.perf_counter_ns() - began_ns
        self._counters.values(request.key_count, len(plan.names), reply.statuses.values())
        self._counters.request(_ROUTE, 200, took_ns)
        if self._recorder is not None:
            self._recorder.offer(resolved, plan, request, reply, encoded, at_us, trace_id, took_ns)
        return Answer(200, encoded, resolved.version)

    def refuse(self, fault: Exception, trace_id: str) -> Answer:
        """The answer to a request whose body was not even read."""
        return self._refuse(fault, self._current(), trace_id, time.perf_counter_ns())

    def _refuse(self, fault: Exception, resolved: Resolved, trace_id: str, began_ns: int) -> Answer:
        error = as_error(fault, trace_id)
        self._counters.request(_ROUTE, error.http_status, time.perf_counter_ns() - began_ns)
        return Answer(error.http_status, encode_error(error, trace_id), resolved.version)


def as_error(fault: Exception, trace_id: str) -> TegulaError:
    """The error that tells a caller of `fault`; what is not of the family is logged whole."""
    if isinstance(fault, TegulaError):
        return fault
    _LOG.error("a request failed, trace %s", trace_id, exc_info=fault)
    return TegulaError(
        "the server could not answer",
        got=type(fault).__name__,
        hint=f"the server's log has the reason under the trace id {trace_id}",
    )


def trace_id_of(traceparent: str | None) -> str:
    """The trace id of a W3C `traceparent` header, or a new one: 32 hex digits."""
    if traceparent is not None and (found := _TRACEPARENT.match(traceparent)):
        return found[1]
    return f"{_TRACES.getrandbits(128):032x}"


def _plan_of(resolved: Resolved, request: FeatureRequest) -> FeaturePlan:
    """The plan of a request whose key columns are all of the plan's."""
    plan = resolved.plan_of(request)
    if not request.keys.keys() <= plan.columns:
        column = next(name for name in request.keys if name not in plan.columns)
        raise unknown_column(column, plan.columns)
    return plan
