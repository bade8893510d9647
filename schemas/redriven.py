"""Records driven again, and copies, as logs and the archive name them."""

from __future__ import annotations

from typing import Final

REDRIVEN_PREFIX: Final = "redrive-"
"""What the name of a partition of records that were driven again begins with."""

LATE: Final = "late"
REDRIVEN: Final = "redriven"
COPY: Final = "copy"
"""What the archive's `_change` says of a record that is driven again: it was an event, too old for
some view; or it was bad. Of any record: it is a copy of another. Null for all others. Stored, and
never to be changed."""


def is_redriven(partition: str) -> bool:
    """Whether a partition is one of records that were driven again.

    >>> is_redriven("redrive-0f3a"), is_redriven("3")
    (True, False)
    """
    return partition.startswith(REDRIVEN_PREFIX)
