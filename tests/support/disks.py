"""Small file systems of their own, which a test may fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BLOCK = b"\xff" * (1 << 16)


class SmallDisk:
    """A mounted file system; `fill` leaves so many bytes free, `free` takes that back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    @property
    def free_bytes(self) -> int:
        """What is free now."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Write until no more than `leave_bytes` are free."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while (left := self.free_bytes - leave_bytes) > 0:
                    file.write(_BLOCK[:left])
            except OSError:
                return  # others write too, and were faster

    def free(self) -> None:
        """Give back what `fill` took."""
        self._filler.unlink()


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """A file system of `size_bytes` in memory, mounted at `folder`, unmounted in any case.

    Where this may not be mounted the test that asked is skipped, and fails where `CI=true`.
    """
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tegula-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = f"a disk to fill needs leave to mount: {done.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: what a test that failed left open must not leave the mount behind.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
