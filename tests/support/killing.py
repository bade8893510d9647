"""Commands that are killed at chosen moments, each in a process of its own.

A command says when it has imported everything: a kill finds it at its work. (Forking one process
that has would be quicker, but for threads that imports start, and that a fork leaves behind.)
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_COMMAND = """
import os, signal, sys
import tegula.cli.dataset, tegula.cli.imports, tegula.cli.materialize
from tegula.cli.main import main

EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}
last, steps = int(sys.argv[1]), 0

def step(event, given):
    global steps
    if event in EVENTS:
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

os.write(int(sys.argv[2]), b"!")
sys.addaudithook(step)
code = main(sys.argv[3:])
sys.stdout.write(f"steps {steps}\\n")
sys.stdout.flush()
os._exit(code)
"""

_LIMIT_S = 300.0


@dataclass
class Commands:
    """Runs commands of `tegula`, and kills them."""

    folder: Path
    chance: random.Random
    seconds: float = 0.0
    """How long the last whole command took, and `steps` how often it touched names of files."""
    steps: int = 0
    took_s: float = 0.0
    """How long the last one was at its work."""
    moments: list[str] = field(default_factory=list)
    """When each was killed, for who reads of a failure."""

    @property
    def _said(self) -> Path:
        return self.folder / "said"

    def run(self, *words: str | Path, code: int = 0) -> str:
        """Run a command to its end; what it printed."""
        ended = self._run(words, 0, None)
        text = self._said.read_text()
        assert ended == code, f"{words} ended with {ended} after {self.moments}:\n{text}"
        self.seconds = self.took_s
        self.steps = int(text.split()[-1])
        return text

    def kill(self, *words: str | Path) -> None:
        """Run a command like the last whole one, and kill it on its way, if that still meets it.

        Every other time when it next touches the name of a file, else at any moment.
        """
        by_time = len(self.moments) % 2
        after_s = self.chance.uniform(0, self.seconds) if by_time else None
        last = 0 if by_time else self.chance.randint(1, self.steps)
        self.moments.append(f"step {last}" if after_s is None else f"{after_s:.3f} s")
        if self._run(words, last, after_s) != -signal.SIGKILL:
            self.moments[-1] += ", too late"

    def _run(self, words: Sequence[str | Path], last: int, after_s: float | None) -> int:
        ready, tells = os.pipe()
        given = [str(last), str(tells), *map(str, words)]
        with self._said.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, *given],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                pass_fds=(tells,),
            )
        os.close(tells)
        os.read(ready, 1)
        os.close(ready)
        began_s = time.monotonic()
        killer: Any = None
        if after_s is not None:
            killer = threading.Timer(after_s, process.kill)
            killer.start()
        try:
            return process.wait(_LIMIT_S)
        finally:
            self.took_s = time.monotonic() - began_s
            if killer is not None:
                killer.cancel()
                killer.join()
            process.kill()
