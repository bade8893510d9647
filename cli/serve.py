"""`tegula serve`: the server alone, in the foreground.

Apart from `tegula run`, because either is started often and neither needs the other's libraries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..engine.runtime.clock import now_us
from ..engine.settings import load_settings
from ..serving import server
from .children import log_to_stderr, stop_with_parent
from .exits import OK
from .output import say


def serve(project: Path | None, attached: bool, **flags: Any) -> int:
    """Serve until asked to stop; an `attached` server stops with its parent."""
    settings = load_settings(project, **flags)
    log_to_stderr()
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
