"""Importing what a user wrote: the files of a project, ahead of all other code of their names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def first_in_path(folder: Path) -> Iterator[None]:
    """Let imports find the folder's own files first, as they are now.

    No bytecode of them is kept: Python knows a file by its length and the *second* of its last
    change, and would take the old code for a file edited and read again within it.
    """
    writes_none = sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_none
        sys.path.remove(str(folder))
