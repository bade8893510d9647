"""A server over a home in a folder, run by uvicorn in a thread, and raw connections to it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from tegula.engine.apply import apply_definitions
from tegula.engine.settings import Settings
from tegula.schemas.definitions import Definitions
from tegula.serving.app import create_app
from tegula.serving.assembly import Serving
from tegula.serving.server import configure
from tegula.state.online.rows import OnlineReader
from tegula.state.registry import Registry

HOST = "127.0.0.1"
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def settings_of(folder: Path, **more: object) -> Settings:
    """The settings of a project in `folder`, on a free port."""
    return Settings(project=folder, port=free_port(), **{"shards": 4, **more})  # type: ignore[arg-type]


def apply_live(settings: Settings, definitions: Definitions, now_us: int) -> None:
    """Apply definitions and let their builds serve, without an engine."""
    apply_definitions(settings, definitions, author="test", message="", now_us=now_us)
    registry = Registry(settings.registry_url_or_default)
    for row in registry.builds(("catching_up",)):
        registry.mark_live(row.id)
        registry.activate(row.view, row.id)
    registry.close()


@dataclass
class Running:
    """A server that listens."""

    settings: Settings
    serving: Serving
    server: uvicorn.Server
    hot_count: int = 0

    @property
    def url(self) -> str:
        return self.settings.url

    def connect(self) -> socket.socket:
        """A raw connection, which waits for at most a minute."""
        return socket.create_connection((HOST, self.settings.port), timeout=60)

    def exchange(self, *pieces: bytes, answers: int = 1) -> list[bytes]:
        """Send the pieces one by one over one connection, and read so many answers."""
        with self.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number, piece in enumerate(pieces):
                if number:
                    threading.Event().wait(0.03)  # let the piece before arrive by itself
                connection.sendall(piece)
            return read_answers(connection, answers)


def read_answers(connection: socket.socket, count: int) -> list[bytes]:
    """So many whole answers; fewer only if the server closes before."""
    found, buffer = [], b""
    while len(found) < count:
        end = buffer.find(b"\r\n\r\n")
        if end >= 0:
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", buffer[:end])
            size = end + 4 + (int(length[1]) if length else 0)
            if len(buffer) >= size:
                found.append(buffer[:size])
                buffer = buffer[size:]
                continue
        received = connection.recv(1 << 20)
        if not received:
            return found
        buffer += received
    return found


@contextmanager
def running(
    settings: Settings, now_us: Callable[[], int], store: OnlineReader | None = None
) -> Iterator[Running]:
    """A server in a thread, which drains and ends with the block."""
    serving = Serving(settings, now_us, store=store)
    config = configure(create_app(settings, now_us, serving=serving), serving)
    config.host, config.port = HOST, settings.port
    server = uvicorn.Server(config)
    found = Running(settings, serving, server)
    respond = serving.answerer.answer
    protocol = config.http
    assert isinstance(protocol, type)

    def counted(body: bytes, trace_id: str) -> object:
        found.hot_count += 1
        return respond(body, trace_id)

    hot = protocol.hot  # type: ignore[attr-defined]
    protocol.hot = type(hot)(counted, hot.judge)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        waiting = threading.Event()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            waiting.wait(0.01)
        yield found
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the server did not drain"
