"""Programs run as children: started, waited for until they are ready, kept alive, stopped together.

A child that ends by itself before it was ever ready will not do better the second time: the whole
family stops, with that child's exit code. One that was ready, or that was killed, is started
again, later each time; one that cannot stay up ends the family too. One that ended because another
one did is started again at once, and that does not count. No child outlives its parent: each holds
the reading end of a pipe, and stops when the parent, and so the pipe, is gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Final

from .exits import AGAIN, ENVIRONMENT, INTERNAL, OK

LOOK_S: Final = 0.1
STOP_WITHIN_S: Final = 4.5
"""How long children get to finish what they do; then they are killed, which is safe too."""
STEADY_AFTER_S: Final = 60.0
RESTARTS_MAX: Final = 5
BACKOFF_MAX_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Program:
    """What a child runs, and how to see that it is up.

    `is_ready` is given the child's process number. Output goes to `log`, or to this process's own.
    """

    name: str
    command: Sequence[str]
    is_ready: Callable[[int], bool]
    log: Path | None = None


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    restarts: int = 0
    started_s: float = 0.0
    start_at_s: float = 0.0


@dataclass(slots=True)
class Family:
    """Children that live and stop together. `report` is told, in a line, what befalls them."""

    programs: Sequence[Program]
    report: Callable[[str], None]
    _children: list[_Child] = field(default_factory=list)

    def start(self) -> None:
        """Start every child."""
        self._children = [_Child(program) for program in self.programs]
        for child in self._children:
            self._start(child)

    def wait_ready(self, stop: threading.Event, within_s: float = 60.0) -> int | None:
        """Wait until all are up, or `stop` is set; the exit code if one ended before it was up."""
        deadline_s = time.monotonic() + within_s
        while not stop.is_set():
            ended = self._look()
            if ended is not None:
                return ended
            if all(child.ready for child in self._children):
                return None
            if time.monotonic() > deadline_s:
                late = ", ".join(c.program.name for c in self._children if not c.ready)
                self.report(f"{late} did not get ready within {within_s:.0f} s")
                return ENVIRONMENT
            stop.wait(LOOK_S)
        return None

    def watch(self, stop: threading.Event) -> int:
        """Keep the children up until `stop` is set; the exit code if one ends for good before."""
        while not stop.wait(LOOK_S):
            ended = self._look()
            if ended is not None:
                return ended
        return OK

    def ended(self) -> int | None:
        """The exit code of a child that has ended, without starting it again; else None."""
        for child in self._children:
            code = None if child.process is None else child.process.poll()
            if code is not None:
                return code or INTERNAL
        return None

    def stop(self, within_s: float | None = None) -> None:
        """Ask all to stop, wait, and kill what has not stopped in time (`STOP_WITHIN_S`)."""
        within_s = STOP_WITHIN_S if within_s is None else within_s
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            if process.poll() is None:
                process.terminate()
        deadline_s = time.monotonic() + within_s
        for process in running:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                # A server has processes of its own; the session that it leads is theirs too.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self._children = []

    def _look(self) -> int | None:
        now_s = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now_s >= child.start_at_s:
                    self._start(child)
                continue
            code = child.process.poll()
            if code is not None:
                ended = self._bury(child, code, now_s)
                if ended is not None:
                    return ended
            elif not child.ready:
                child.ready = child.program.is_ready(child.process.pid)
            elif child.restarts and now_s - child.started_s > STEADY_AFTER_S:
                child.restarts = 0
        return None

    def _bury(self, child: _Child, code: int, now_s: float) -> int | None:
        """What to do about a child that ended; an exit code if it is to be the end of all."""
        if child.process is not None and child.process.stdin is not None:
            child.process.stdin.close()
        was_killed = code < 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        code = INTERNAL if code < 0 else code
        name = child.program.name
        if code == AGAIN:
            child.process, child.ready, child.start_at_s = None, False, now_s
            return None
        if not child.ready and not child.restarts and not was_killed:
            self.report(f"{name} {how} before it was ready")
            return code or INTERNAL
        if child.restarts >= RESTARTS_MAX:
            self.report(f"{name} {how}, and does not stay up")
            return code or INTERNAL
        delay_s = min(BACKOFF_MAX_S, 2.0**child.restarts - 1.0)
        child.restarts += 1
        child.process, child.ready, child.start_at_s = None, False, now_s + delay_s
        self.report(
            f"{name} {how}; starting it again" + (f" in {delay_s:.0f} s" if delay_s else "")
        )
        return None

    def _start(self, child: _Child) -> None:
        program = child.program
        output: IO[bytes] | None = None
        if program.log is not None:
            program.log.parent.mkdir(parents=True, exist_ok=True)
            output = program.log.open("ab")
        child.process = subprocess.Popen(  # noqa: S603 - our own words
            program.command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C at the terminal is the parent's to pass on
        )
        if output is not None:
            output.close()
        child.started_s = time.monotonic()
        child.ready = False


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second signal acts as it would without this."""
    stop = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_parent() -> None:
    """In a child: stop, as for SIGTERM, when the parent's end of our standard input is gone."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="tegula-parent", daemon=True).start()


def log_to_stderr() -> None:
    """In a program that runs on: what it logs goes to stderr, a line each."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
