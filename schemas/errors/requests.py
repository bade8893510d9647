"""4xx: requests that cannot be answered."""

from __future__ import annotations

from collections.abc import Sequence

from .base import TegulaError, one_of


class RequestError(TegulaError):
    """A request that cannot be answered as it stands."""

    code = "TG-400"
    http_status = 400


class BadRequest(RequestError):
    """A request that is not of the documented shape."""

    code = "TG-401"


class UnknownService(RequestError):
    """No feature service of that name is defined."""

    code = "TG-402"
    http_status = 404

    def __init__(self, *, service: str, known: Sequence[str] = ()) -> None:
        super().__init__(
            f"there is no feature service {service!r}", expected=one_of(known), got=repr(service)
        )


class UnknownFeature(RequestError):
    """No feature of that name is defined."""

    code = "TG-403"
    http_status = 404

    def __init__(self, *, feature: str, known: Sequence[str] = ()) -> None:
        super().__init__(
            f"there is no feature {feature!r}",
            got=repr(feature),
            expected=one_of(known),
            hint="features are named view:feature, as in spend:spent_1h",
        )


class UnknownStream(RequestError):
    """No stream of that name is defined."""

    code = "TG-404"
    http_status = 404

    def __init__(self, *, stream: str, known: Sequence[str] = ()) -> None:
        super().__init__(f"there is no stream {stream!r}", got=repr(stream), expected=one_of(known))


class MissingKey(RequestError):
    """A key column that the asked features need is not in the request."""

    code = "TG-405"
    http_status = 422

    def __init__(self, *, column: str, needed_by: str) -> None:
        super().__init__(
            f"the key column {column!r} is missing",
            where="keys",
            expected=f"a list of values, one for each row, needed by {needed_by}",
        )


class WrongKeyType(RequestError):
    """A key value that does not have its column's type."""

    code = "TG-406"
    http_status = 422

    def __init__(self, *, column: str, index: int, got: str, expected: str) -> None:
        super().__init__(
            f"a value of the key column {column!r} has the wrong type",
            where=f"keys.{column}[{index}]",
            got=got,
            expected=expected,
        )


class TooLarge(RequestError):
    """A request past a limit of size or count."""

    code = "TG-407"
    http_status = 413

    def __init__(self, *, what: str, got: int, limit: int) -> None:
        super().__init__(
            f"the request has too many {what}", got=str(got), expected=f"at most {limit}"
        )


class Busy(RequestError):
    """So many pushes wait for the log that no more are taken; none of this one was kept."""

    code = "TG-409"
    http_status = 503
    retryable = True

    def __init__(self, *, stream: str, waiting: int, limit: int) -> None:
        super().__init__(
            "too much waits to be written to the log",
            where=f"stream {stream!r}",
            got=f"{waiting} bytes that wait",
            expected=f"at most {limit} with this request",
            hint="send it again a little later; a slow disk is the usual cause",
        )


class NotReady(RequestError):
    """The store is being built, or nothing can be read yet."""

    code = "TG-408"
    http_status = 503
    retryable = True


class ImportChanged(RequestError):
    """An import of this name is there already, with other rows."""

    code = "TG-430"
    http_status = 409

    def __init__(self, *, stream: str, name: str, got: str, expected: str) -> None:
        super().__init__(
            f"there is an import {name!r} already, of other rows",
            where=f"stream {stream!r}",
            got=got,
            expected=expected,
            hint="what was imported stays; import what is new under another name: `--name …`",
        )


class ImportRunning(RequestError):
    """Another process imports under this name."""

    code = "TG-431"
    http_status = 409
    retryable = True

    def __init__(self, *, name: str, where: str) -> None:
        super().__init__(
            f"another process imports {name!r}",
            where=where,
            hint="wait for it, or stop it: then the same command goes on where it was",
        )
