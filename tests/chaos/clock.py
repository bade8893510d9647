"""An engine's wall clock that can be set while it runs: `clock.c`, compiled for the run.

Only the time of day is another one; what measures durations goes on as ever.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def compiler() -> str | None:
    """A C compiler, without which no clock can be set."""
    return shutil.which("cc") or shutil.which("gcc")


class SteppedClock:
    """A clock that is right until it is `step`ped, for engines started with its `environment`.

    Before the first step engines have the real one, and nothing in between.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ahead: mmap.mmap | None = None
        self.environment: Mapping[str, str] = {}

    def step(self, ahead_s: int) -> None:
        """Let the clock be so many seconds ahead, or behind, from now on."""
        if self._ahead is None:
            self._ahead = self._make()
        self._ahead[:] = struct.pack("=q", ahead_s * 10**9)

    def _make(self) -> mmap.mmap:
        self._folder.mkdir()
        library, offset = self._folder / "clock.so", self._folder / "ahead"
        command = [compiler() or "cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run([*command, "-ldl", "-lpthread"], check=True)
        offset.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "TEGULA_CHAOS_CLOCK": str(offset)}
        with offset.open("r+b") as file:
            return mmap.mmap(file.fileno(), 8)
