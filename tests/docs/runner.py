"""Runs a page of documentation: every block of it, from top to bottom, as its reader would.

What a fence says after its language decides (GitHub shows only the language):

    ```sh                       run by bash, which must succeed; the folder and exported variables
                                and functions are kept for the next block
    ```sh exit=1                … which must end with this code
    ```sh background            started and left running until the page ends; waited for until it
                                has printed `Ready at` (or `until="…"`)
    ```console                  `$ command` lines are run, and what they print must be what stands
                                under them; `…` stands for anything
    ```console eventually       … must be so before long: the reader looks again
    ```python                   run; names are kept for the next block
    ```pycon                    a doctest; `...` stands for anything
    ```python file=a/b.py       written to that file (any language)
    ```sh not-run: why          not run, and why

Each page has a folder, a port and a home of its own; everything that it started is stopped by its
process number.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_S = 90.0
STOP_S = 60.0
EVENTUALLY_S = 60.0
DEFAULT_PORT = "6180"
RUNNABLE = frozenset({"sh", "console", "python", "pycon"})
_FENCE = re.compile(r"^```([\w-]+)([^\n]*)\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
_PROGRESS = re.compile(r"^[A-Z][^:\n]*: \d[^\n]*/s(?:, [^\n]* left)?\n?", re.MULTILINE)
_DOCTEST = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, its language, what else its fence says, its text."""

    page: str
    line: int
    language: str
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def reason(self) -> str | None:
        """Why the block is not run; None if it is."""
        said, found, reason = self.info.partition("not-run:")
        return reason.strip() if found and not said else None

    @property
    def options(self) -> dict[str, str]:
        """`exit=1 until="Serving at"` as a dict; a bare word has an empty value."""
        words = [] if self.reason is not None else shlex.split(self.info)
        return {name: value for name, _, value in (word.partition("=") for word in words)}


def blocks_of(page: str, text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2].strip(), found[3])
        for found in _FENCE.finditer(text)
    ]


class Session:
    """One reader at one page: a folder, an environment, Python names, and what runs beside."""

    def __init__(self, folder: Path, replaced: Mapping[str, str]) -> None:
        self._folder = folder
        self._root = folder
        self._port = str(free_port())
        self._replaced = {DEFAULT_PORT: self._port, **replaced}
        self._names: dict[str, Any] = {"__name__": "__docs__"}
        self._running: list[tuple[Block, subprocess.Popen[bytes], Path]] = []
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TEGULA_")
        }
        self._environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TEGULA_PORT": self._port,
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "TEGULA_SHARDS": "4",  # opening sixteen stores is most of what a page would wait for
        }
        # `. .venv/bin/activate`, as a reader has it in the checkout.
        (folder / ".venv").symlink_to(sys.prefix, target_is_directory=True)

    def run(self, block: Block) -> None:
        """Run one block. Raises `AssertionError` with the block's place and what went wrong."""
        text = block.text
        for old, new in self._replaced.items():
            text = text.replace(old, new)
        options = block.options
        if "file" in options:
            path = self._folder / options["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        elif "background" in options:
            self._start(block, text, options.get("until") or "Ready at")
        elif block.language == "sh":
            self._shell(block, text, int(options.get("exit", "0")))
        elif block.language == "console":
            for command, expected in transcript(text):
                self._compare(block, command, expected, EVENTUALLY_S * ("eventually" in options))
        elif block.language == "python":
            with self._as_reader():
                exec(compile(text, str(block), "exec"), self._names)
        elif block.language == "pycon":
            self._doctest(block, text)

    def _compare(self, block: Block, command: str, expected: str, within_s: float) -> None:
        """Run a command until it prints what is expected, or time is over."""
        pause, deadline_s = threading.Event(), time.monotonic() + within_s
        while not matches(expected, printed := self._shell(block, command, None)):
            assert time.monotonic() < deadline_s, (
                f"{block}: {command}\nexpected:\n{expected}\nprinted:\n{printed}{self._logs()}"
            )
            pause.wait(0.2)

    def _shell(self, block: Block, text: str, code: int | None) -> str:
        """Run commands in bash; what they printed. `code` None: any exit code will do."""
        state = self._root / ".shell"
        state.mkdir(exist_ok=True)
        where, exports, folder = map(
            shlex.quote, map(str, (state / "folder", state / "exports", self._folder))
        )
        begin = f"[ ! -f {exports} ] || . {exports}\ncd {folder}\n"
        at_end = f"pwd > {where}; {{ export -p; declare -f; }} > {exports}"
        keep = f"trap {shlex.quote(at_end)} EXIT\n"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", begin + keep + text],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        printed = done.stdout.decode(errors="replace")
        self._folder = Path((state / "folder").read_text().strip())
        assert code is None or done.returncode == code, (
            f"{block}: ended with {done.returncode}, not {code}:\n{text}\n{printed}{self._logs()}"
        )
        return printed

    def _start(self, block: Block, text: str, until: str) -> None:
        log = self._root / f"background-{len(self._running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {text.strip()}"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append((block, process, log))
        # Whoever waits for its end (`tail --pid`) must not find it unburied.
        threading.Thread(target=process.wait, daemon=True).start()
        pause, deadline_s = threading.Event(), time.monotonic() + READY_S
        while until not in log.read_text(errors="replace"):
            assert process.poll() is None, f"{block}: it ended:\n{log.read_text()}"
            assert time.monotonic() < deadline_s, f"{block}: no {until!r}:\n{log.read_text()}"
            pause.wait(0.05)

    def _logs(self) -> str:
        return "".join(
            f"\n{block} printed:\n{log.read_text(errors='replace')[-3000:]}"
            for block, _, log in self._running
        )

    def _doctest(self, block: Block, text: str) -> None:
        test = doctest.DocTestParser().get_doctest(
            textwrap.dedent(text), self._names, str(block), block.page, block.line
        )
        said: list[str] = []
        with self._as_reader():
            runner = doctest.DocTestRunner(optionflags=_DOCTEST)
            runner.run(test, out=said.append, clear_globs=False)
        self._names.update(test.globs)
        assert not said, f"{block}:\n{''.join(said)}"

    @contextmanager
    def _as_reader(self) -> Iterator[None]:
        """In the page's folder and environment; nothing of the project stays imported."""
        before, folder = dict(os.environ), Path.cwd()
        os.chdir(self._folder)
        os.environ["TEGULA_PORT"] = self._port
        sys.path.insert(0, str(self._folder))
        try:
            yield
        finally:
            sys.path.remove(str(self._folder))
            for name in [one for one in sys.modules if one.split(".")[0] == "features"]:
                del sys.modules[name]
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)

    def stop(self) -> None:
        """Stop what still runs, the last first. Raises `AssertionError` if one ended badly."""
        wrong = []
        for block, process, log in reversed(self._running):
            ended = process.poll()
            if ended is None:
                process.terminate()
                try:
                    ended = process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if ended != 0:
                wrong.append(f"{block}: ended with {ended}:\n{log.read_text(errors='replace')}")
        assert not wrong, "\n".join(wrong)


def transcript(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what it is to print."""
    command, printed = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(printed)
            command, printed = line[2:], []
        elif line.startswith("> ") and command and not printed:
            command += f"\n{line[2:]}"
        else:
            printed.append(line)
    if command:
        yield command, "\n".join(printed)


def matches(expected: str, printed: str) -> bool:
    """Whether `printed` is what was expected: blank lines and outer blanks do not count, `…` in a
    line stands for any text, `…` as a line for any lines.

    Nor counts how long a command took, or how far it was, which it tells only where that was long.
    """
    printed = re.sub(r" in [\d.]+ \w+, [\d,]+/s\.", ".", printed)
    printed = _PROGRESS.sub("", printed)
    pattern = ""
    for line in filter(None, map(str.strip, expected.splitlines())):
        if line == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*?".join(map(_loose, line.split("…"))) + r"\n"
    text = "".join(f"{line}\n" for line in filter(None, map(str.strip, printed.splitlines())))
    return re.fullmatch(pattern, text) is not None


def _loose(text: str) -> str:
    """The text as a pattern in which a run of blanks is any run of blanks."""
    return re.sub(r"(?:\\ )+", " +", re.escape(text))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
