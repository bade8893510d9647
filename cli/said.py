"""Errors that another process said, as the classes that they were there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from ..schemas.errors import RequestError, TegulaError


def error_of(response: httpx.Response, name: str) -> TegulaError:
    """The error that an answer holds, as the class that it was on the server."""
    try:
        return error_from(orjson.loads(response.content)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return RequestError(
            "the server answered with something else than Tegula's errors",
            where=name,
            got=f"HTTP {response.status_code}",
            hint="check that the address is that of a Tegula server",
        )


def error_from(said: Mapping[str, Any]) -> TegulaError:
    """The error that another process said, as the class that it was there.

    Raises `KeyError`, `TypeError` or `ValueError` where that is none.
    """
    fields = dict(said)
    cls = _class_of(str(fields["code"]))
    error = cls.__new__(cls, fields["message"])
    TegulaError.__init__(
        error,
        str(fields["message"]),
        **{part: str(fields.get(part) or "") for part in ("where", "got", "expected", "hint")},
    )
    error.__dict__["code"] = str(fields["code"])  # a record's code stands for its own class
    return error


def _class_of(code: str) -> type[TegulaError]:
    waiting: list[type[TegulaError]] = [TegulaError]
    for cls in waiting:
        if cls.code == code:
            return cls
        waiting.extend(cls.__subclasses__())
    return RequestError
