"""`tegula run` and `tegula serve`: one part of the system, in the foreground."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..engine.runtime import process
from ..engine.runtime.clock import now_us
from ..engine.settings import Settings, load_settings
from ..serving import server
from ..state.registry import Registry
from .children import stop_with_parent
from .define import apply_project
from .exits import OK
from .output import say


def run(project: Path | None, attached: bool) -> int:
    """Run the engine until it is asked to stop; an `attached` one stops with its parent."""
    settings = load_settings(project)
    _log_to_stderr()
    if attached:
        stop_with_parent()
    elif not has_version(settings):
        _, version = apply_project(settings, author=None, message="first run")
        say(f"Applied the definitions as version {version.number}.")
    if not attached:
        say(f"Engine over {settings.home}; Ctrl-C stops it.")
    process.run(settings)
    return OK


def serve(project: Path | None, attached: bool, **flags: Any) -> int:
    """Serve until asked to stop; an `attached` server stops with its parent."""
    settings = load_settings(project, **flags)
    _log_to_stderr()
    if attached:
        stop_with_parent()
        server.serve(settings, now_us)
        return OK
    docs = f"{settings.url}/docs"
    server.serve(
        settings,
        now_us,
        started=lambda: say(f"Serving at {settings.url}, documented at {docs}; Ctrl-C stops it."),
    )
    return OK


def has_version(settings: Settings) -> bool:
    """Whether anything was applied to the project's registry."""
    registry = Registry(settings.registry_url_or_default)
    try:
        registry.create(settings.shards)
        return registry.head() is not None
    finally:
        registry.close()


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
