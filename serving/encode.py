"""From what was read to the bytes of an answer: columns of values, and statuses where they matter.

    {"values": {"spend:spent_1h": [40.5, 0.0]}, "status": {"spend:spent_1h": ["PRESENT", …]}, …}

`status` names the features of which some value is not simply `PRESENT`. Instants are RFC 3339 text
in UTC; a number that JSON cannot write (there is none in a right answer) is null.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from ..connectors.rfc3339 import format_instant
from ..schemas.errors import TegulaError
from ..schemas.outcomes import Status
from .plan import FeaturePlan
from .read import Reply

STATUS_NAMES: Final = tuple(status.name for status in Status)


def encode_reply(reply: Reply, plan: FeaturePlan, include: frozenset[str], trace_id: str) -> bytes:
    """The body of an answer with what `include` asks for."""
    for name in plan.instants:
        reply.values[name] = list(map(_instants, reply.values[name]))
    answer: dict[str, Any] = {"values": reply.values}
    if reply.statuses:
        every = "status" in include
        status = {
            name: [STATUS_NAMES[number] for number in numbers]
            for name, numbers in reply.statuses.items()
            if every or any(numbers)
        }
        if status:
            answer["status"] = status
    if "event_time" in include:
        answer["event_time"] = {
            view: [None if at_us is None else format_instant(at_us) for at_us in newest]
            for view, newest in reply.newest_us.items()
        }
    if "bounds" in include:
        answer["bounds"] = {
            name: [
                [format_instant(start), format_instant(end)]
                for start, end in zip(starts, ends, strict=True)
            ]
            for name, (starts, ends) in reply.bounds.items()
        }
    answer["trace_id"] = trace_id
    return orjson.dumps(answer)


def _instants(value: Any) -> Any:
    """An instant as text; of a list or a map, each of its instants."""
    if isinstance(value, list):
        return list(map(_instants, value))
    if isinstance(value, dict):
        return {name: _instants(one) for name, one in value.items()}
    return None if value is None else format_instant(value)


def encode_error(error: TegulaError, trace_id: str) -> bytes:
    """The body of an answer that is an error."""
    return orjson.dumps({"error": error.as_dict(), "trace_id": trace_id}, default=str)
