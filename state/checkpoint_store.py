"""Where checkpoints lie: a directory here, or an object store (`checkpoint_s3.py`).

    files/<checksum>          content, named by what it is: unchanged content is never stored twice
    <id>/manifest.json        a checkpoint, which is there when its manifest is

Promise: an object is there whole or not at all, and what `put` has returned from survives a loss of
power. One home writes to a place, readers as many as like.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from ..schemas.errors import CheckpointStoreFault
from .durable import sync_file

MANIFEST: Final = "manifest.json"
FILES: Final = "files"
CHUNK_BYTES: Final = 4 << 20
_UNFINISHED: Final = ".new"


class Store(Protocol):
    """Holds objects by path. Every method raises `CheckpointStoreFault` where the place refuses."""

    name: str
    """The place, as errors and lists name it."""
    lanes: int
    """How many objects it is worth to store at once."""

    def put_file(self, path: str, source: Path) -> None:
        """Store a file's content; replaces what is there."""
        ...

    def put(self, path: str, content: bytes) -> None:
        """Store some bytes; replaces what is there."""
        ...

    def get(self, path: str) -> bytes | None:
        """A small object, or None if it is not there."""
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """An object in pieces; none at all if it is not there."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """The objects in `files/` by their names there, with their bytes."""
        ...

    def ids(self) -> list[str]:
        """The checkpoints that have a manifest, in order of their names."""
        ...

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is gone already."""
        ...


class DirectoryStore:
    """Checkpoints in a directory, which should lie on another disk than the home."""

    lanes = 1

    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = str(root)

    def put_file(self, path: str, source: Path) -> None:
        self._put(path, lambda to: shutil.copyfile(source, to))

    def put(self, path: str, content: bytes) -> None:
        self._put(path, lambda to: to.write_bytes(content))

    def _put(self, path: str, write: Callable[[Path], object]) -> None:
        with refusals(self.name):
            place = self._root / path
            unfinished = place.with_name(place.name + _UNFINISHED)
            if not place.parent.exists():
                place.parent.mkdir(parents=True)
                sync_file(place.parent.parent)
            write(unfinished)
            sync_file(unfinished)
            unfinished.replace(place)
            sync_file(place.parent)

    def get(self, path: str) -> bytes | None:
        with refusals(self.name):
            try:
                return (self._root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def chunks(self, path: str) -> Iterator[bytes]:
        with refusals(self.name):
            try:
                file = (self._root / path).open("rb")
            except FileNotFoundError:
                return
            with file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk

    def sizes(self) -> Mapping[str, int]:
        with refusals(self.name):
            try:
                with os.scandir(self._root / FILES) as found:
                    return {one.name: one.stat().st_size for one in found if one.is_file()}
            except FileNotFoundError:
                return {}

    def ids(self) -> list[str]:
        with refusals(self.name):
            return sorted(path.parent.name for path in self._root.glob(f"*/{MANIFEST}"))

    def delete(self, path: str) -> None:
        with refusals(self.name):
            place = self._root / path
            place.unlink(missing_ok=True)
            if place.parent != self._root / FILES:
                shutil.rmtree(place.parent, ignore_errors=True)  # holds nothing else


@contextmanager
def refusals(where: str) -> Iterator[None]:
    """Turns what a file system says into `CheckpointStoreFault`."""
    try:
        yield
    except OSError as fault:
        raise CheckpointStoreFault(where=where, detail=str(fault)) from fault
