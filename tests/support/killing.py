"""Commands that are killed at chosen moments, each in a process of its own.

One process imports everything, does nothing, and forks for each command: a command begins at once,
so that a kill finds it at its work, and many of them cost little. (Threads of allocators, all that
there are before anything is done, know of forks.)
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

_FORKING = """
import json, os, signal, sys
import tegula.cli.dataset, tegula.cli.imports, tegula.cli.materialize
from tegula.cli.main import main

EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}

def child(words, last, said):
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    steps = 0
    def step(event, given):
        nonlocal steps
        if event in EVENTS:
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(step)
    code = main(words)
    sys.stdout.write(f"steps {steps}\\n")
    sys.stdout.flush()
    os._exit(code)

while line := sys.stdin.readline():
    words, last, said = json.loads(line)
    pid = os.fork()
    if pid == 0:
        child(words, last, said)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass
class Commands:
    """Runs commands of `tegula`, and kills them."""

    folder: Path
    chance: random.Random
    process: subprocess.Popen[str]
    seconds: float = 0.0
    """How long the last whole command took, and `steps` how often it touched names of files."""
    steps: int = 0
    moments: list[str] = field(default_factory=list)
    """When each was killed, for who reads of a failure."""

    @property
    def _said(self) -> Path:
        return self.folder / "said"

    def run(self, *words: str | Path, code: int = 0) -> str:
        """Run a command to its end; what it printed."""
        began_s = time.monotonic()
        ended = self._run(words, 0, None)
        text = self._said.read_text()
        assert ended == code, f"{words} ended with {ended} after {self.moments}:\n{text}"
        self.seconds = time.monotonic() - began_s
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
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = orjson.dumps([[str(word) for word in words], last, str(self._said)]).decode()
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        killer: Any = None
        if after_s is not None:
            killer = threading.Timer(after_s, os.kill, (pid, signal.SIGKILL))
            killer.start()
        try:
            return int(self.process.stdout.readline())
        finally:
            if killer is not None:
                killer.cancel()
                killer.join()


@contextmanager
def commands(folder: Path, seed: int) -> Iterator[Commands]:
    """A process that runs commands, for a while; `folder` is for what they say."""
    process = subprocess.Popen(
        [sys.executable, "-c", _FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Commands(folder, random.Random(seed), process)
    finally:
        process.communicate()
        assert process.returncode == 0
