"""Whether the disks under the home have room: what could not be kept is not taken in.

State, log, lake and online store may lie on file systems of their own. One is *low* once less is
free there than its bound, and until a quarter more than the bound is free again, so that it does
not go to and fro. While any is low the engine takes no batch from its logs (what it has taken is
committed, mirrored and archived in the space that is left); while that of the log is low, pushes
are refused.

Without a setting the bound of a file system is 512 MiB or 2 % of it, whichever is less.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from ..schemas.errors import DiskFull, LogFull
from .settings import Settings

LOOK_S: Final = 0.1
"""How often the file systems are asked, at most."""

LEAST_BYTES_MAX: Final = 512 << 20
_SHARE: Final = 50  # the bound without a setting: at most one in so many bytes
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One file system under the home: the folders that lie there, and its bytes.

    `path` is the first of the folders; `least_bytes` is the bound.
    """

    folders: tuple[str, ...]
    path: str
    free_bytes: int
    least_bytes: int
    is_low: bool


class DiskGuard:
    """Looks at the file systems of `folders`, by name. Safe for several threads.

    `least_bytes` is what is to be free on each: None for the default, 0 for a guard that is off.
    `ask` tells (device, bytes free, bytes in all) of an existing folder.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        least_bytes: int | None,
        ask: Callable[[Path], tuple[int, int, int]] | None = None,
    ) -> None:
        self._folders = {} if least_bytes == 0 else dict(folders)
        self._least_bytes = least_bytes
        self._ask = ask or _ask
        self._lock = threading.Lock()
        self._low: set[int] = set()
        self._found: tuple[FileSystem, ...] = ()
        self._look_at_s = 0.0

    @staticmethod
    def of(settings: Settings, *, on: bool = True) -> DiskGuard:
        """The guard of a project's home, by its settings."""
        folders = {
            "home": settings.home,
            "log": settings.home / "log",
            "state": settings.state_path,
            "lake": settings.lake_path,
        }
        if settings.online_url is None:
            folders["online"] = settings.online_path
        return DiskGuard(folders if on else {}, settings.disk_free_min_bytes)

    def look(self) -> tuple[FileSystem, ...]:
        """The file systems as they are now, or were a moment ago."""
        if perf_counter() >= self._look_at_s:
            with self._lock:
                self._found = self._measure()
                self._look_at_s = perf_counter() + LOOK_S
        return self._found

    @property
    def has_room(self) -> bool:
        """Whether no file system is low."""
        return not any(one.is_low for one in self.look())

    @property
    def fault(self) -> DiskFull | None:
        """What the first file system that is low says; None if none is."""
        low = next((one for one in self.look() if one.is_low), None)
        if low is None:
            return None
        return DiskFull(
            where=_where(low), got=f"{_mib(low.free_bytes)} free", expected=_expected(low)
        )

    def require_room(self, folder: str) -> None:
        """Raise `LogFull` if the file system of `folder` is low."""
        for one in self.look():
            if one.is_low and folder in one.folders:
                raise LogFull(
                    where=_where(one), got=f"{_mib(one.free_bytes)} free", expected=_expected(one)
                )

    def report(self) -> dict[str, Any]:
        """Whether the engine holds, why, and what is free where, as plain JSON values."""
        fault = self.fault
        return {
            "fault": None if fault is None else fault.as_dict(),
            "file_systems": [
                {
                    "folders": one.folders,
                    "path": one.path,
                    "free_bytes": one.free_bytes,
                    "least_bytes": one.least_bytes,
                    "low": one.is_low,
                }
                for one in self.look()
            ],
        }

    def _measure(self) -> tuple[FileSystem, ...]:
        names: dict[int, list[str]] = {}
        found: dict[int, tuple[Path, int, int]] = {}
        for name, folder in self._folders.items():
            try:
                device, free_bytes, total_bytes = self._ask(_existing(folder))
            except OSError:  # a folder that cannot be asked says so where it is used
                continue
            names.setdefault(device, []).append(name)
            found.setdefault(device, (folder, free_bytes, total_bytes))
        measured = []
        for device, (folder, free_bytes, total_bytes) in found.items():
            least_bytes = self._least_bytes
            if least_bytes is None:
                least_bytes = min(LEAST_BYTES_MAX, total_bytes // _SHARE)
            again_bytes = least_bytes + least_bytes // 4
            is_low = free_bytes < (again_bytes if device in self._low else least_bytes)
            (self._low.add if is_low else self._low.discard)(device)
            folders = tuple(names[device])
            measured.append(FileSystem(folders, str(folder), free_bytes, least_bytes, is_low))
        return tuple(measured)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there: the one in which it would be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _ask(folder: Path) -> tuple[int, int, int]:
    of = os.statvfs(folder)
    return folder.stat().st_dev, of.f_bavail * of.f_frsize, of.f_blocks * of.f_frsize


def _where(one: FileSystem) -> str:
    return f"{one.path} (of {', '.join(one.folders)})"


def _expected(one: FileSystem) -> str:
    return f"at least {_mib(one.least_bytes)}"


def _mib(size_bytes: int) -> str:
    """A size as the messages write it.

    >>> _mib(3 << 19)
    '1.5 MiB'
    """
    return f"{size_bytes / _MIB:.1f} MiB"


def disk_said(fault: Mapping[str, Any]) -> str:
    """A full disk in a few words, from the fields of `DiskFull`.

    >>> disk_said({"message": "no room", "where": "/h", "got": "1 MiB", "expected": "2 MiB"})
    'no room: /h, 1 MiB, 2 MiB'
    """
    facts = (str(fault.get(part)) for part in ("where", "got", "expected") if fault.get(part))
    return f"{fault.get('message', 'a disk is full')}: {', '.join(facts)}"
