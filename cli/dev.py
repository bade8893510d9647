"""`tegula dev`: definitions applied, engine and servers running, and what to try next."""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from ..engine.progress import stderr
from ..engine.settings import Settings, load_settings
from ..schemas.definitions import Definitions, FeatureRef, FeatureService
from ..schemas.errors import PortInUse
from .children import Family, Program, stopping_on_signals
from .define import apply_project, print_changes
from .exits import OK
from .output import note, say
from .project import load_definitions
from .report import reports_as
from .verifying import verifying

READABLE_WITHIN_S: Final = 10.0
"""How long a start waits for all views; one that replays its history may take far longer."""


def dev(project: Path | None, **flags: Any) -> int:
    """Run everything until Ctrl-C; the exit code of the part that could not run, if one could not.

    Raises `PortInUse` before anything is started, and what applying raises.
    """
    settings = load_settings(project, **flags)
    require_port(settings)
    changes, version = apply_project(settings, author=None, message="tegula dev")
    if changes.any:
        print_changes(changes)
    say(f"Definitions: version {version.number}.")
    family = Family(programs(settings), report=note)
    with stopping_on_signals() as stop, verifying(settings):
        family.start()
        try:
            with stderr.status("Starting engine and server"):
                ended = family.wait_ready(stop)
                readable = ended is None and wait_readable(settings, stop, READABLE_WITHIN_S)
            if ended is None and not stop.is_set():
                if not readable:
                    note("Not every view can be read yet; `tegula status` tells how far it is.")
                say(
                    _welcome(
                        settings, load_definitions(settings.project), moved=any(flags.values())
                    )
                )
                ended = family.watch(stop)
        finally:
            family.stop()
    if ended in (None, OK):
        note("Stopped.")
    return ended or OK


def programs(settings: Settings, log: Path | None = None) -> tuple[Program, Program]:
    """The engine and the server of a project, as children of this process."""
    tegula = (sys.executable, "-m", "tegula.cli.main")
    project = ("--attached", "--project", str(settings.project))
    address = ("--host", settings.host, "--port", str(settings.port))
    processes = ("--processes", str(settings.server_processes))
    return (
        Program("engine", (*tegula, "run", *project), lambda pid: reports_as(settings, pid), log),
        Program(
            "server",
            (*tegula, "serve", *project, *address, *processes),
            lambda _: answers(settings),
            log,
        ),
    )


def answers(settings: Settings, health: Literal["live", "ready"] = "live") -> bool:
    """Whether a server answers at the project's address; or that it is ready."""
    try:
        answer = httpx.get(f"{settings.url}/health/{health}", timeout=1.0)
        return answer.status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def wait_readable(settings: Settings, stop: threading.Event, within_s: float) -> bool:
    """Wait until the server's answers can be relied on; False if they cannot within the bound."""
    deadline_s = time.monotonic() + within_s
    while not stop.is_set() and time.monotonic() < deadline_s:
        if answers(settings, "ready"):
            return True
        stop.wait(0.1)
    return False


def require_port(settings: Settings) -> None:
    """Raise `PortInUse` if the address cannot be listened on."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        raise PortInUse(host=settings.host, port=settings.port) from None


def _welcome(settings: Settings, definitions: Definitions, moved: bool) -> str:
    """What to try next, in words that can be pasted; `moved` if flags changed the address."""
    at = f" --server {settings.url}" if moved else ""
    there = "" if settings.project == Path.cwd() else f"cd {settings.project} && "
    lines = [f"\nReady at {settings.url}, documented at {settings.url}/docs. Try, elsewhere:\n"]
    for stream in definitions.streams[:1]:
        event = ", ".join(f'"{name}": {_sample(kind.name)}' for name, kind in stream.schema.items())
        lines.append(f"  {there}echo '{{{event}}}' | tegula push {stream.name}{at}")
    for service in definitions.services[:1]:
        keys = _key_columns(service)
        words = " ".join(f"{name}={_word(kind)}" for name, kind in keys.items())
        columns = ", ".join(f'"{name}": [{_sample(kind)}]' for name, kind in keys.items())
        body = f'{{"service": "{service.name}", "keys": {{{columns}}}}}'
        lines.append(f"  {there}tegula get {service.name} {words}{at}")
        lines.append(f"  curl {settings.url}/v1/features -d '{body}'")
    lines.append(f"  {there}tegula status")
    lines.append("\nChange features/*.py, then `tegula plan` and `tegula apply`. Ctrl-C stops.")
    return "\n".join(lines)


def _key_columns(service: FeatureService) -> dict[str, str]:
    """The type of every key column that a request to the service needs."""
    views = [one.view if isinstance(one, FeatureRef) else one for one in service.features]
    return {name: kind.name for view in views for name, kind in view.entity.keys.items()}


def _word(kind: str) -> str:
    return _sample(kind).strip('"')


def _sample(kind: str) -> str:
    """A value of a type, as JSON that stands between single quotes in a shell."""
    # The date is the shell's to fill in, so the single quotes end and begin again around it.
    return {
        "String": '"c1"',
        "Int64": "1",
        "Float64": "12.5",
        "Bool": "true",
        "Timestamp": "\"'$(date -u +%FT%TZ)'\"",
    }.get(kind, "null")
