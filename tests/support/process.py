"""Real processes for tests: an engine, started, killed, asked what it reports; a server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tegula.engine.report import read_report

_RUN = (
    "import sys; from pathlib import Path; from tegula.engine.settings import load_settings;"
    "from tegula.engine.runtime.process import run; run(load_settings(Path(sys.argv[1])))"
)
_VERB = "import sys; from tegula.cli.main import program; sys.exit(program())"


class Process:
    """One program over the project in `project`, which is called `name` where it fails."""

    def __init__(self, project: Path, name: str, command: Sequence[str], output: str) -> None:
        self._project = project
        self._name = name
        self._command = [sys.executable, "-c", *command]
        self._output = project / output
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the process has printed so far, and those before it."""
        path = self._output
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the process, with more in its environment; returns at once."""
        with self._output.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "start() first"
        return self._process.pid

    def kill(self) -> None:
        """End the process as a power cut would end it."""
        self._end(signal.SIGKILL)

    def wait(self, timeout_s: float) -> int:
        """Wait for the process to end by itself; returns its exit code."""
        assert self._process is not None, "start() first"
        code = self._process.wait(timeout_s)
        self._process = None
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal; returns at once."""
        os.kill(self.pid, number)

    def stop(self) -> int:
        """Ask the process to stop; returns its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            os.kill(self._process.pid, how)
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(
                f"the {self._name} did not stop within 60 s:\n{self.log}"
            ) from None
        self._process = None
        return code


class EngineProcess(Process):
    """An engine over the project in `project`, in a process of its own.

    With `verb` it is `tegula run`, which ends with an exit code, of so many `workers`; else the
    bare engine.
    """

    def __init__(
        self, project: Path, output: str = "engine.out", *, verb: bool = False, workers: int = 1
    ) -> None:
        command = [_VERB, "run", "--workers", str(workers), "--project"] if verb else [_RUN]
        super().__init__(project, "engine", [*command, str(project)], output)

    def report(self) -> dict[str, Any] | None:
        """What the running process last reported of itself; None before its first report."""
        assert self._process is not None, "start() first"
        assert self._process.poll() is None, f"the engine ended by itself:\n{self.log}"
        content = read_report(self._project / ".tegula" / "engine.json")
        if content is None or self._process.pid not in (content["pid"], content["parent"]):
            return None
        return dict(content)


class WorkerProcess(Process):
    """One worker of several, each over a project of its own; all are at `addresses`."""

    def __init__(self, project: Path, index: int, addresses: Sequence[str]) -> None:
        where = ["--worker", str(index), "--addresses", ",".join(addresses)]
        command = [_VERB, "run", *where, "--project", str(project)]
        super().__init__(project, f"worker {index}", command, "worker.out")


class ServerProcess(Process):
    """A server over the project in `project`, in a process of its own: `tegula serve`."""

    def __init__(self, project: Path, output: str = "server.out") -> None:
        super().__init__(project, "server", [_VERB, "serve", "--project", str(project)], output)


def verb(project: Path, *words: str) -> tuple[int, str]:
    """Run one command over the project in `project`; its exit code, and all that it says."""
    command = [sys.executable, "-c", _VERB, *words, "--project", str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def lag_of(report: dict[str, Any] | None) -> int | None:
    """Offsets that the engine has still to read, over all streams; None if it does not know."""
    if report is None:
        return None
    lags = [
        part["lag"]
        for stream in report["streams"].values()
        for part in stream["partitions"].values()
    ]
    return None if not lags or None in lags else sum(lags)


def is_caught_up(engine: EngineProcess, expected: int) -> Callable[[], bool]:
    """A condition: all of `expected` offsets were read, committed and mirrored."""

    def holds() -> bool:
        report = engine.report()
        if report is None or lag_of(report) != 0:
            return False
        partitions = [
            part for stream in report["streams"].values() for part in stream["partitions"].values()
        ]
        read = [b["outcomes"]["read"] for b in report["builds"].values()]
        if any(build["status"] != "live" for build in report["builds"].values()):
            return False
        return (
            sum(part["next_offset"] for part in partitions) == expected
            and all(count == expected for count in read)
            and report["mirrored"] == report["commits"]
        )

    return holds
