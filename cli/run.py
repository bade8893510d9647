"""`tegula run`: the engine alone, in the foreground."""

from __future__ import annotations

from pathlib import Path

from ..engine.runtime import process
from ..engine.settings import Settings, load_settings
from ..state.registry import Registry
from .children import log_to_stderr, stop_with_parent
from .define import apply_project
from .exits import OK
from .output import say


def run(project: Path | None, attached: bool) -> int:
    """Run the engine until it is asked to stop; an `attached` one stops with its parent."""
    settings = load_settings(project)
    log_to_stderr()
    if attached:
        stop_with_parent()
    elif not _has_version(settings):
        _, version = apply_project(settings, author=None, message="first run")
        say(f"Applied the definitions as version {version.number}.")
    if not attached:
        say(f"Engine over {settings.home}; Ctrl-C stops it.")
    process.run(settings)
    return OK


def _has_version(settings: Settings) -> bool:
    """Whether anything was applied to the project's registry."""
    registry = Registry(settings.registry_url_or_default)
    try:
        registry.create(settings.shards)
        return registry.head() is not None
    finally:
        registry.close()
