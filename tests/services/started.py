"""A server that tests start by themselves: its process, its log, its end by process id."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

import pytest

_PAUSE = Event()


class Started:
    """A server in `folder`, which is called `name` where it fails."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, f"{self._name} is not running"
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server, by its process id, and wait until it is gone."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def log_tail(self) -> str:
        """Where the server's log is, and its last lines."""
        lines = self._log.read_text(errors="replace").splitlines()[-20:]
        return "\n".join([str(self._log), *lines])

    @property
    def _log(self) -> Path:
        return self._folder / f"{self._name.lower()}.log"

    def _run(self, command: Sequence[str], answers: Callable[[], bool], timeout_s: float) -> None:
        """Start the process and wait until it answers; fails with its log if it does not."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline_s = time.monotonic() + timeout_s
        while not answers():
            _PAUSE.wait(0.01)
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.stop()
                pytest.fail(f"{self._name} did not start:\n{self.log_tail()}")
