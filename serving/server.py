"""Running the server: listening, several processes on one port, stopping gracefully.

A stop (SIGTERM, SIGINT) closes the listening sockets first, lets every request that was begun have
its answer, and ends with success; a second SIGINT ends at once. With several processes each listens
on the same port by itself (`SO_REUSEPORT`) and the kernel spreads connections over them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Semaphore
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from ..engine.own import OwnAggregates
from ..engine.settings import Settings
from ..schemas.errors import OwnAggregateMissing, PortInUse, SettingsError
from ..state.registry import Registry
from .app import create_app
from .assembly import Serving
from .catalogue import CatalogueFollower
from .hot import hot_protocol
from .metrics import Counters

_LOG = logging.getLogger(__name__)

BACKLOG = 2_048
KEEP_ALIVE_S = 75
DRAIN_S = 20
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Started = Callable[[], None]


def serve(settings: Settings, now_us: Callable[[], int], started: Started | None = None) -> None:
    """Serve a project's home until a signal stops it; `started` is called once it listens.

    Raises `PortInUse`, `SettingsError` for a host that this machine does not have, and
    `OwnAggregateMissing` if an aggregate of the user's own is not here to compute with.
    """
    _require_own(settings)
    if settings.server_processes > 1:
        _serve_many(settings, now_us, started)
    else:
        _serve_one(settings, now_us, Counters(), _listen(settings), started)


def _require_own(settings: Settings) -> None:
    # Found missing later, the last catalogue goes on to be served; at the start there is none.
    registry = Registry(settings.registry_url_or_default)
    try:
        follower = CatalogueFollower(registry, settings.shards, OwnAggregates(settings.project))
        follower.look()
    finally:
        registry.close()
    if isinstance(follower.fault, OwnAggregateMissing):
        raise follower.fault


def _serve_one(
    settings: Settings,
    now_us: Callable[[], int],
    counters: Counters,
    listening: socket.socket,
    started: Started | None,
) -> None:
    parts = Serving(settings, now_us, counters=counters)
    config = configure(create_app(settings, now_us, serving=parts), parts)
    _Server(config, parts, started).run(sockets=[listening])


def configure(app: FastAPI, parts: Serving) -> uvicorn.Config:
    """How uvicorn runs the application: on uvloop, with the hot way beside it."""
    return uvicorn.Config(
        app,
        http=hot_protocol(parts.answerer.answer),
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        headers=[("server", "tegula")],
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it listens and takes a signal as a wish, not as a death."""

    def __init__(self, config: uvicorn.Config, parts: Serving, started: Started | None) -> None:
        super().__init__(config)
        self._parts = parts
        self._report_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What was made so far stays: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        if self._report_started is not None:
            self._report_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._parts.health.draining = True
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)


def _listen(settings: Settings, *, shared: bool = False) -> socket.socket:
    """A socket bound to the settings' address; `shared` with other processes of ours."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as fault:
        listening.close()
        if fault.errno == errno.EADDRINUSE:
            raise PortInUse(host=settings.host, port=settings.port) from None
        raise SettingsError(
            "the server cannot listen there",
            where="host, port",
            got=f"{settings.host}:{settings.port}: {fault.strerror or fault}",
            expected="an address of this machine, and a port that this user may take",
        ) from None
    return listening


# Several processes.


def _serve_many(settings: Settings, now_us: Callable[[], int], started: Started | None) -> None:
    """Start the processes, and stop them all when one ends or a signal comes."""
    _listen(settings).close()  # without sharing: another program's port must not be shared
    reserved = _listen(settings, shared=True)  # it never listens, it holds the port
    context = multiprocessing.get_context("spawn")
    counts = settings.metrics_path / f"server-{os.getpid()}.counts"
    listens = context.Semaphore(0)
    processes = [
        context.Process(
            target=_serve_shared,
            args=(settings, now_us, counts, row, listens),
            name=f"tegula-server-{row}",
        )
        for row in range(settings.server_processes)
    ]
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for process in processes:
            if process.pid is not None and process.is_alive():
                process.terminate()

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        for process in processes:
            process.start()
        if _all_listen(processes, listens) and started is not None:
            started()
        multiprocessing.connection.wait([process.sentinel for process in processes])
        if not stopping:
            _LOG.error("a server process ended; stopping the others")
            stop()
        for process in processes:
            process.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        reserved.close()
        counts.unlink(missing_ok=True)


def _all_listen(processes: Sequence[BaseProcess], listens: Semaphore) -> bool:
    """Wait until every process listens; False if one ended before."""
    for _ in processes:
        while not listens.acquire(timeout=0.1):
            if not all(process.is_alive() for process in processes):
                return False
    return True


def _serve_shared(
    settings: Settings, now_us: Callable[[], int], counts: Path, row: int, listens: Semaphore
) -> None:
    counters = Counters(counts, row, settings.server_processes)
    _serve_one(settings, now_us, counters, _listen(settings, shared=True), listens.release)
