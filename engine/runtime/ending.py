"""How long an engine may take to end once it was asked to: what is not done by then need not be.

The last commit is always made; it is bounded by how much may gather (`pacing.py`). What follows has
`WITHIN_S` in all, from the first part that asks: what is not mirrored by then is in the outbox,
what is not archived is read again from the log, a checkpoint is made by the next engine. A part
that cannot be interrupted is left behind, and the process ends without it; that is what a crash
would do, and is as safe. An engine that ends for another reason, to begin anew in the same process,
is waited for.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Final

_LOG: Final = logging.getLogger(__name__)

WITHIN_S: Final = 2.5
MIRROR_SHARE: Final = 0.7
"""The mirror ends after this share of the time, so that the archive has some."""

_THREADS: Final = {"tegula-mirror", "tegula-archive", "tegula-keeper", "tegula-checkpoint"}

LAST_S: Final = 4.8
"""A process that has not ended by then, a disk that does not answer say, is ended."""


class Ending:
    """The time that is left. Safe for several threads."""

    def __init__(self, stop: threading.Event, within_s: float = WITHIN_S) -> None:
        self._stop = stop
        self._within_s = within_s
        self._began_s: float | None = None
        self._left: list[str] = []

    def left_s(self, share: float = 1.0) -> float | None:
        """Seconds left of this share of the time, at least 0; None while nobody wants a stop."""
        if not self._stop.is_set():
            return None
        if self._began_s is None:
            self._began_s = perf_counter()
        return max(0.0, self._began_s + share * self._within_s - perf_counter())

    def is_over(self, share: float = 1.0) -> bool:
        """Whether there is no time left."""
        return self.left_s(share) == 0.0

    def join(self, thread: threading.Thread, share: float = 1.0) -> bool:
        """Wait for a thread while there is time; False, and noted, if it had to be left behind."""
        while thread.is_alive():
            left_s = self.left_s(share)
            if left_s == 0.0:
                self._left.append(thread.name)
                return False
            thread.join(0.1 if left_s is None else left_s)  # the wish to stop may still come
        return True

    def unfinished(self, what: str) -> None:
        """Note that something was not done for want of time."""
        self._left.append(what)

    @property
    def is_whole(self) -> bool:
        """Whether everything has been done; only then may the state be closed as whole."""
        return not self._left

    def tell(self) -> None:
        """Log what was left behind, if anything was."""
        if self._left:
            names = ", ".join(self._left)
            _LOG.warning("stopped without waiting longer for %s; nothing is lost", names)


def end_in_time() -> None:
    """From a signal handler: have this process end within `LAST_S`, whatever it hangs in.

    What every thread was at goes to stderr then; without one, nothing watches.
    """
    with suppress(AttributeError, OSError, RuntimeError, ValueError):
        faulthandler.dump_traceback_later(LAST_S, exit=True)


@contextmanager
def ended_in_time() -> Iterator[None]:
    """What `end_in_time` may end: after the block it does not any more."""
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def end_without_threads() -> None:
    """End the process at once if a thread was left behind, else return.

    The interpreter would wait for none of them, but take away what they are using.
    """
    if any(thread.name in _THREADS for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
