"""The way to a project's server: over HTTP, or the same application in this process.

Reading features and pushing events need no server of their own: where none runs, the application is
called as a server would call it, on the stores of the project. So both ways give the same answers,
verdicts and errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import orjson

from ..engine.settings import load_settings
from ..schemas.errors import NotReady
from .dev import answers
from .said import error_of

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
            # A server's libraries, which take longer to import than an answer over HTTP takes.
            from .inside import application

            with application(runner, settings) as client:
                yield Door(client, runner, f"{settings.project}, without a server")


def _over_http(runner: asyncio.Runner, url: str) -> Iterator[Door]:
    client = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT)
    try:
        yield Door(client, runner, url)
    finally:
        runner.run(client.aclose())
