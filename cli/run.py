"""`tegula run`: the engine without a server, in the foreground; alone, or as several workers.

Several on one machine are children of this process, started again when one of them ends: the
others end with it, and all go on from what is committed. Servers read on meanwhile.
"""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path

from ..engine.runtime import process
from ..engine.settings import Settings, load_settings
from ..engine.steps.worker import ALONE, Worker
from ..schemas.errors import BadRequest
from ..state.registry import Registry
from .children import Family, Program, log_to_stderr, stop_with_parent, stopping_on_signals
from .define import apply_project
from .exits import OK
from .output import note, say
from .report import reports_as
from .verifying import verifying

_LOOPBACK = "127.0.0.1"


def run(
    project: Path | None,
    attached: bool,
    *,
    workers: int | None = None,
    worker: int | None = None,
    addresses: str | None = None,
) -> int:
    """Run the engine until it is asked to stop; an `attached` one stops with its parent.

    With `addresses` it is one `worker` of those that have them; else it starts as many as `workers`
    or the settings say. Raises `BadRequest` for a worker that has no address.
    """
    settings = load_settings(project, workers=workers)
    log_to_stderr()
    if attached:
        stop_with_parent()
    elif not _has_version(settings):
        _, version = apply_project(settings, author=None, message="first run")
        say(f"Applied the definitions as version {version.number}.")
    if worker is not None or addresses is not None:
        own, others = _one_of(worker, addresses)
        with verifying(settings) if own.index == 0 and not attached else nullcontext():
            process.run(settings, worker=own, addresses=others)
        return OK
    if not attached:
        several = f", {settings.workers} workers" if settings.workers > 1 else ""
        say(f"Engine over {settings.home}{several}; Ctrl-C stops it.")
    if settings.workers > 1:
        with verifying(settings):
            return _run_family(settings)
    with nullcontext() if attached else verifying(settings):
        process.run(settings)
    return OK


def _one_of(worker: int | None, addresses: str | None) -> tuple[Worker, list[str]]:
    """The worker that the flags name, and where all are."""
    listed = [one.strip() for one in (addresses or "").split(",") if one.strip()]
    if worker is None or not 0 <= worker < len(listed):
        raise BadRequest(
            "a worker is named by its place among the addresses of all",
            where="--worker, --addresses",
            got=f"worker {worker} of {len(listed)} addresses",
            hint="worker 0 of two: --worker 0 --addresses a.example:7001,b.example:7001",
        )
    return (ALONE if len(listed) == 1 else Worker(worker, len(listed))), listed


def _run_family(settings: Settings) -> int:
    """Run the workers as children, and start again those that end."""
    addresses = ",".join(f"{_LOOPBACK}:{port}" for port in free_ports(settings.workers))
    tegula = (sys.executable, "-m", "tegula.cli.main", "run", "--attached")
    where = ("--project", str(settings.project), "--addresses", addresses)
    family = Family(
        [
            Program(
                f"worker {index}",
                (*tegula, *where, "--worker", str(index)),
                lambda pid: reports_as(settings, pid),
            )
            for index in range(settings.workers)
        ],
        report=note,
    )
    with stopping_on_signals() as stop:
        family.start()
        try:
            ended = family.wait_ready(stop)
            return family.watch(stop) if ended is None else ended
        finally:
            family.stop()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on; all are asked for before any is given back."""
    with ExitStack() as probes:
        taken = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in taken:
            probe.bind((_LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in taken]


def _has_version(settings: Settings) -> bool:
    """Whether anything was applied to the project's registry."""
    registry = Registry(settings.registry_url_or_default)
    try:
        registry.create(settings.shards)
        return registry.head() is not None
    finally:
        registry.close()
