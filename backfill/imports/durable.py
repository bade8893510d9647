"""Files that are there whole, and on the disk, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_durably(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` write the file, then give it its name: on return it survives a power cut.

    What was begun and not ended lies under another name, and is written over the next time.
    """
    draft = path.with_name(f"{path.name}.new")
    write(draft)
    sync(draft)
    draft.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
