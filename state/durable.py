"""Making files, and the names in folders, survive a loss of power: whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def sync_file(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` write the file, then give it its name: on return it survives a loss of power.

    What was begun and not ended lies under another name, and is written over the next time.
    """
    draft = path.with_name(f"{path.name}.new")
    write(draft)
    sync_file(draft)
    draft.replace(path)
    sync_file(path.parent)
