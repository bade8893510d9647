"""The client: what a service or a notebook calls.

Thin on purpose: a request is columns, an answer is the server's own dict. `Client` blocks,
`AsyncClient` is awaited; both send the same bytes and read the same answers. An error of the server
arrives as the class that it was there, with the same fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import httpx
import orjson
import polars as pl

from ..schemas import errors
from ..schemas.errors import NotReady, RequestError, TegulaError
from ..schemas.time import format_duration, parse_duration

DEFAULT_URL: Final = "http://127.0.0.1:6180"
TIMEOUT_S: Final = 30.0

Keys = Mapping[str, Sequence[Any]] | pl.DataFrame
Events = Iterable[Mapping[str, Any]] | pl.DataFrame
Instant = datetime | str | int


class Features(dict[str, Any]):
    """The answer to a request for features: the server's dict, and the same as a frame.

    `answer["values"]["spend:spent_1h"]` is a list with one value a key.
    """

    def __init__(self, answer: Mapping[str, Any], keys: Mapping[str, Sequence[Any]]) -> None:
        super().__init__(answer)
        self._keys = keys

    @property
    def frame(self) -> pl.DataFrame:
        """One row a key: the key columns, then the features by name."""
        return pl.DataFrame({**self._keys, **self["values"]}, strict=False)


class Client:
    """Reads features and pushes events over HTTP. Safe for several threads.

    Every method raises the server's error as a `TegulaError`, and `NotReady` where none answers.
    """

    def __init__(self, url: str = DEFAULT_URL, *, timeout_s: float = TIMEOUT_S) -> None:
        self._http = httpx.Client(base_url=url.rstrip("/"), timeout=timeout_s)

    def features(
        self,
        keys: Keys,
        *,
        service: str | None = None,
        features: Sequence[str] | None = None,
        as_of: Instant | None = None,
        include: Sequence[str] | None = None,
        after: str | None = None,
        max_age: str | timedelta | None = None,
    ) -> Features:
        """The features of a service, or those listed, of all keys.

        `keys` are columns of one length, or a frame; `as_of` is an aware datetime, RFC 3339 text or
        µs since 1970; `after` the receipt of a push whose events must be readable first.
        """
        columns = _columns(keys)
        call = _features(columns, service, features, as_of, include, after, max_age)
        return Features(self._send(call), columns)

    def push(self, stream: str, events: Events) -> dict[str, Any]:
        """Push events; the answer has `accepted`, `receipt` and `rejected`."""
        return self._send(_push(stream, events))

    def health(self) -> dict[str, Any]:
        """Whether the server's answers can be relied on: `status`, `reasons`, `notes`."""
        return self._send(_HEALTH)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, call: _Call) -> dict[str, Any]:
        try:
            response = self._http.request(
                call.method, call.path, content=call.body, headers=call.headers
            )
        except httpx.HTTPError as fault:
            raise _unreachable(fault, str(self._http.base_url)) from None
        return _read(response, call)


class AsyncClient:
    """`Client` for asyncio: the same methods, to be awaited."""

    def __init__(self, url: str = DEFAULT_URL, *, timeout_s: float = TIMEOUT_S) -> None:
        self._http = httpx.AsyncClient(base_url=url.rstrip("/"), timeout=timeout_s)

    async def features(
        self,
        keys: Keys,
        *,
        service: str | None = None,
        features: Sequence[str] | None = None,
        as_of: Instant | None = None,
        include: Sequence[str] | None = None,
        after: str | None = None,
        max_age: str | timedelta | None = None,
    ) -> Features:
        """As `Client.features`."""
        columns = _columns(keys)
        call = _features(columns, service, features, as_of, include, after, max_age)
        return Features(await self._send(call), columns)

    async def push(self, stream: str, events: Events) -> dict[str, Any]:
        """As `Client.push`."""
        return await self._send(_push(stream, events))

    async def health(self) -> dict[str, Any]:
        """As `Client.health`."""
        return await self._send(_HEALTH)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, call: _Call) -> dict[str, Any]:
        try:
            response = await self._http.request(
                call.method, call.path, content=call.body, headers=call.headers
            )
        except httpx.HTTPError as fault:
            raise _unreachable(fault, str(self._http.base_url)) from None
        return _read(response, call)


class _Call(NamedTuple):
    """One request, whoever sends it; `answers` are the HTTP statuses of a good answer."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    answers: tuple[int, ...] = (200,)


_HEALTH: Final = _Call("GET", "/health/ready", answers=(200, 503))


def _columns(keys: Keys) -> dict[str, list[Any]]:
    named = keys.to_dict(as_series=False) if isinstance(keys, pl.DataFrame) else keys
    return {name: list(values) for name, values in named.items()}


def _features(
    columns: Mapping[str, list[Any]],
    service: str | None,
    features: Sequence[str] | None,
    as_of: Instant | None,
    include: Sequence[str] | None,
    after: str | None,
    max_age: str | timedelta | None,
) -> _Call:
    if isinstance(max_age, timedelta):
        max_age = format_duration(parse_duration(max_age))
    fields = {
        "service": service,
        "features": None if features is None else [str(one) for one in features],
        "keys": columns,
        "as_of": as_of,
        "include": None if include is None else list(include),
        "after": after,
        "max_age": max_age,
    }
    body = orjson.dumps({name: value for name, value in fields.items() if value is not None})
    return _Call("POST", "/v1/features", body, {"content-type": "application/json"})


def _push(stream: str, events: Events) -> _Call:
    rows = events.iter_rows(named=True) if isinstance(events, pl.DataFrame) else events
    body = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    path = f"/v1/streams/{stream}/events"
    return _Call("POST", path, body, {"content-type": "application/x-ndjson"})


def _read(response: httpx.Response, call: _Call) -> dict[str, Any]:
    """What a good answer holds. Raises the error that any other is."""
    try:
        answer = orjson.loads(response.content)
        if response.status_code in call.answers:
            return dict(answer)
        raise _error(answer["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise RequestError(
            "what answers there is not Tegula",
            where=str(response.url),
            got=f"HTTP {response.status_code}",
            hint="check the address",
        ) from None


def _error(fields: Mapping[str, Any]) -> TegulaError:
    """The server's error as the class that its code belongs to, field by field."""
    known = (getattr(errors, name) for name in errors.__all__)
    classes = [one for one in known if isinstance(one, type) and issubclass(one, TegulaError)]
    kind = next((one for one in classes if one.code == fields["code"]), TegulaError)
    error = kind.__new__(kind)
    texts = {name: str(fields.get(name) or "") for name in ("where", "got", "expected", "hint")}
    TegulaError.__init__(error, str(fields["message"]), **texts)
    return error


def _unreachable(fault: httpx.HTTPError, url: str) -> NotReady:
    return NotReady(
        "no server answers",
        where=url,
        got=str(fault) or type(fault).__name__,
        hint="`tegula dev` or `tegula serve` starts one",
    )
