"""7xx, from 720: the Delta tables that events and feature values are copied into."""

from __future__ import annotations

from .stores import SinkError


class TableUnwritable(SinkError):
    """A Delta table cannot be read or written; what was to be written is kept, and tried again."""

    code = "TG-720"

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "this Delta table cannot be used",
            where=where,
            got=detail,
            hint="mend the storage; writing goes on by itself, nothing is lost meanwhile",
        )


class TableMismatch(SinkError):
    """A Delta table has a column of another type than the stream declares."""

    code = "TG-721"
    retryable = False

    def __init__(self, *, where: str, column: str, got: str, expected: str) -> None:
        super().__init__(
            f"the column {column!r} has another type in this table",
            where=where,
            got=got,
            expected=expected,
            hint="give the changed field a new name, or the stream",
        )


class TableLost(SinkError):
    """A Delta table no longer holds what this process has written into it."""

    code = "TG-722"
    retryable = False

    def __init__(self, *, where: str, partition: str, got: str, expected: str) -> None:
        super().__init__(
            f"rows of partition {partition!r} that were written are gone from this table",
            where=where,
            got=got,
            expected=expected,
            hint="restore the table, or restart the engine to read them from the log again",
        )


class TableDamaged(SinkError):
    """The files of a Delta table contradict each other, so that rows would count twice or never."""

    code = "TG-723"
    http_status = 500
    retryable = False

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "the files of this table are not in order of their offsets",
            where=where,
            got=detail,
            expected="every offset in one file, ascending",
            hint="restore the table to an earlier version; only Tegula may rewrite it",
        )


class TableFileLost(SinkError):
    """A file of a Delta table is gone, or is not what was written: its rows cannot be read."""

    code = "TG-724"
    http_status = 500
    retryable = False

    def __init__(self, *, where: str, detail: str, lost: str = "") -> None:
        super().__init__(
            "a file of this table cannot be read",
            where=where,
            got=detail,
            expected=lost,
            hint="bring the file back from a copy of the lake; or, if the log reaches back to the "
            "table's beginning, stop the engine and move the table away: it is written anew",
        )

    @property
    def is_gone(self) -> bool:
        """Whether there is no such file, or only none that can be read."""
        return isinstance(self.__cause__, FileNotFoundError)


class MaintenanceRunning(SinkError):
    """The lake is being maintained already, by the engine or by another command."""

    code = "TG-725"
    http_status = 409

    def __init__(self, *, where: str, holder: str = "") -> None:
        super().__init__(
            "the lake is being maintained already",
            where=where,
            got=holder,
            hint="wait until it has ended; `tegula status` shows how far the engine is",
        )
