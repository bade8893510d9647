"""What is kept of rows: a monoid over one of their columns."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..algebra import Column, Monoid
from .rows import EventRows


@dataclass(frozen=True, slots=True)
class Need:
    """One state that is finished: a monoid over an input column, or over none.

    `alone`: without the column beside it, which only says which rows match.
    """

    monoid: Monoid
    input: int | None
    alone: bool = False

    def column(self, rows: EventRows) -> Column | None:
        """The column that the monoid lifts."""
        if self.input is None:
            return None
        column = rows.inputs[self.input]
        return replace(column, beside=None) if self.alone else column
