"""The way to a project's server: over HTTP, or the same application in this process.

Reading features and pushing events need no server of their own: where none runs, the application is
called as a server would call it, on the stores of the project. So both ways give the same answers,
verdicts and errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import orjson

from ..engine.runtime.clock import now_us
from ..engine.settings import Settings, load_settings
from ..schemas.errors import NotReady, RequestError, TegulaError
from ..serving.app import create_app
from ..serving.assembly import Serving
from .dev import answers

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
_TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)


class Door:
    """Sends requests and gives back what a good answer holds; raises what a bad one says."""

    def __init__(self, client: httpx.AsyncClient, runner: asyncio.Runner, name: str) -> None:
        self._client = client
        self._runner = runner
        self.name = name

    def post(self, path: str, body: bytes, content_type: str = JSON) -> dict[str, Any]:
        """The answer to a request. Raises the error that the answer holds, or `NotReady`."""
        return self._runner.run(self._post(path, body, content_type))

    async def _post(self, path: str, body: bytes, content_type: str) -> dict[str, Any]:
        try:
            response = await self._client.post(
                path, content=body, headers={"content-type": content_type}
            )
        except httpx.HTTPError as fault:
            raise NotReady(
                "the server does not answer",
                where=self.name,
                got=str(fault) or type(fault).__name__,
                hint="`tegula dev` or `tegula serve` starts one; `--server` names another",
            ) from None
        if response.status_code == httpx.codes.OK:
            answer: dict[str, Any] = orjson.loads(response.content)
            return answer
        raise error_of(response, self.name)


@contextmanager
def open_door(project: Path | None, server: str | None) -> Iterator[Door]:
    """To `server` if it is given, else to the project's own server, else into the project itself.

    Raises `ProjectMissing` if there is neither a server nor a project.
    """
    with asyncio.Runner() as runner:
        if server is not None:
            yield from _over_http(runner, server.rstrip("/"))
            return
        settings = load_settings(project)
        if settings.server_url or answers(settings):
            yield from _over_http(runner, settings.url)
        else:
            yield from _in_process(runner, settings)


def _over_http(runner: asyncio.Runner, url: str) -> Iterator[Door]:
    client = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT)
    try:
        yield Door(client, runner, url)
    finally:
        runner.run(client.aclose())


def _in_process(runner: asyncio.Runner, settings: Settings) -> Iterator[Door]:
    serving = runner.run(_made(settings))
    transport = httpx.ASGITransport(create_app(settings, now_us, serving=serving))
    client = httpx.AsyncClient(transport=transport, base_url="http://tegula")
    try:
        yield Door(client, runner, f"{settings.project}, without a server")
    finally:
        runner.run(client.aclose())
        runner.run(serving.close())


async def _made(settings: Settings) -> Serving:
    serving = Serving(settings, now_us)
    serving.start()
    return serving


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
