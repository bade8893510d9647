"""The application of a server in the process of a command, on the stores of the project."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from ..engine.runtime.clock import now_us
from ..engine.settings import Settings
from ..serving.app import create_app
from ..serving.assembly import Serving


@contextmanager
def application(runner: asyncio.Runner, settings: Settings) -> Iterator[httpx.AsyncClient]:
    """A client of the project's application, which is called as a server would call it."""
    serving = runner.run(_made(settings))
    transport = httpx.ASGITransport(create_app(settings, now_us, serving=serving))
    client = httpx.AsyncClient(transport=transport, base_url="http://tegula")
    try:
        yield client
    finally:
        runner.run(client.aclose())
        runner.run(serving.close())


async def _made(settings: Settings) -> Serving:
    serving = Serving(settings, now_us)
    serving.start()
    return serving
