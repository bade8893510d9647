"""What an engine does when a disk turned out to be full in the middle of a write: it begins again.

The guard (`engine/disk.py`) holds before it comes to that. Where it comes to it all the same
(another program was faster, a quota, the guard is off), the write that failed was whole or not at
all, but the stores may take no more until they are opened anew. So the engine is closed, waits
until there is room, and is opened again: it goes on from what the state says was applied, as after
a crash.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ...schemas.errors import DiskFull, LogFull, RegistryUnreachable, TegulaError
from ..disk import DiskGuard
from ..settings import Settings

_LOG: Final = logging.getLogger(__name__)

_PAUSE_S: Final = 1.0
_PAUSE_MAX_S: Final = 30.0
"""The guard may see room where there is none (a quota): then it is tried again, ever later."""


class DiskWait:
    """Waits for room between one engine and the next."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._guard = DiskGuard.of(settings)
        self._stop = stop
        self._pause_s = 0.0

    @contextmanager
    def for_room(self) -> Iterator[None]:
        """Run the block; if it ends for want of space, wait until there is some, or for the stop.

        Whatever else the block raises is raised.
        """
        try:
            yield
        except (TegulaError, OSError) as fault:
            if not is_full(fault):
                raise
            _LOG.error("%s; the engine goes on when there is room", fault)
            self._wait()

    def _wait(self) -> None:
        longer_s = min(2 * self._pause_s, _PAUSE_MAX_S) if self._guard.has_room else 0.0
        self._pause_s = max(longer_s, _PAUSE_S)
        self._stop.wait(self._pause_s)
        while not self._guard.has_room and not self._stop.wait(_PAUSE_S):
            pass


def is_full(fault: TegulaError | OSError) -> bool:
    """Whether a fault says that a disk is full, or a quota used up."""
    if isinstance(fault, OSError):
        return fault.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(fault, RegistryUnreachable):
        return "disk is full" in fault.got
    return isinstance(fault, DiskFull | LogFull)
