"""Imported records, as logs and the archive name them."""

from __future__ import annotations

from typing import Final

IMPORTED_PREFIX: Final = "import-"
"""What the name of a partition of imported records begins with. Stored, and never to be changed."""


def is_imported(partition: str) -> bool:
    """Whether a partition is one of imported records.

    The log timestamp of such a record is the instant at which it landed, as the import declared it.

    >>> is_imported("import-0f3a"), is_imported("3")
    (True, False)
    """
    return partition.startswith(IMPORTED_PREFIX)
