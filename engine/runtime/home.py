"""The engine's home on disk: who holds it, and its shards opened as the incarnation they now are.

One engine process owns a home, by an advisory lock that goes with the process however it ends. A
shard's incarnation is renewed when commits may have been lost: the last stop was unclean and the
machine has booted since. Everything derived from the state (online rows) carries the incarnation.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from ...schemas.errors import StateHeld
from ...state.database import Memory
from ...state.registry import Registry
from ...state.shard import Shard
from ..steps.worker import ALONE, Worker

_BLOCK_BYTES: Final = 4096
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class HomeLock:
    """Holds `home/engine.lock` for this process; raises `StateHeld` if another one does.

    Workers over one home hold it together, and each its own place beside it.
    """

    def __init__(self, home: Path, worker: Worker = ALONE) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._files: list[IO[str]] = []
        if worker.count == 1:
            self._take(home, "engine.lock", fcntl.LOCK_EX)
        else:
            self._take(home, "engine.lock", fcntl.LOCK_SH)
            self._take(home, f"engine-{worker.index}.lock", fcntl.LOCK_EX)

    def _take(self, home: Path, name: str, how: int) -> None:
        file = (home / name).open("a+")
        self._files.append(file)
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            self.release()
            raise StateHeld(
                directory=str(home), holder=f"process {holder}" if holder else ""
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()

    def release(self) -> None:
        """Let another engine have the home."""
        for file in self._files:
            file.close()


def boot_id() -> str:
    """Names this boot of the machine; a constant where the system does not tell.

    Where it does not tell, an unclean stop always renews the incarnation (see `open_shards`).
    """
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def open_shards(
    state_path: Path, numbers: Sequence[int], registry: Registry, memory: Memory
) -> list[Shard]:
    """Open the shards of these numbers, as new incarnations where commits may have been lost.

    Raises `StateCorrupt` if a shard's database cannot be read.
    """
    boot, shards = boot_id(), []
    with ExitStack() as opened:
        for number in numbers:
            shard = Shard(number, state_path / f"shard-{number:02d}", memory, 0)
            opened.callback(shard.abandon)
            identity = shard.identity
            lost = not identity.clean and (not boot or identity.boot_id != boot)
            incarnation = identity.incarnation
            if shard.created or lost:
                incarnation = registry.next_incarnation(number)
            shard.renew(incarnation=incarnation, boot_id=boot)
            shards.append(shard)
        opened.pop_all()  # all are open: they are the caller's now
    return shards


def write_report(path: Path, content: bytes) -> None:
    """Write a report, whole, also while the disk is full: over the one that is there then.

    Spaces behind it keep the blocks that the next one may need. Who reads it in the very moment in
    which it is written over finds none.
    """
    try:
        write_replacing(path, content.ljust((len(content) // _BLOCK_BYTES + 2) * _BLOCK_BYTES))
    except OSError as fault:
        path.with_name(f"{path.name}.new").unlink(missing_ok=True)
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT) or not path.exists():
            raise
        with path.open("r+b") as file:
            file.write(content.ljust(path.stat().st_size))


def write_replacing(path: Path, content: bytes) -> None:
    """Write a file whole: readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
