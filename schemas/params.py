"""The parameters that aggregates take: what each may be, and how it is stored.

A parameter is judged when a definition is validated and again by the aggregate that reads it, with
the same words. Stored, it has one spelling for one meaning: a span is its shortest text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from .errors import BadDuration, one_of
from .time import CENTURY_US, format_duration, parse_duration


class Param(Protocol):
    """What one parameter may be."""

    @property
    def example(self) -> Any:
        """A value that it may have; the one that is meant where none is given."""
        ...

    @property
    def expected(self) -> str:
        """What it may be, for people."""
        ...

    def accepts(self, value: Any) -> bool:
        """Whether a value may stand here."""
        ...

    def stored(self, value: Any) -> Any:
        """An accepted value in its one spelling: JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few integers.

    >>> Choice((1, 0)).accepts(0), Choice((1, 0)).accepts(False)
    (True, False)
    """

    values: tuple[int, ...]

    @property
    def example(self) -> int:
        return self.values[0]

    @property
    def expected(self) -> str:
        return one_of([str(one) for one in sorted(self.values)])

    def accepts(self, value: Any) -> bool:
        return type(value) is int and value in self.values

    def stored(self, value: Any) -> Any:
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer of at least 1 and at most `most`."""

    most: int
    example: int

    @property
    def expected(self) -> str:
        return f"an integer from 1 to {self.most}"

    def accepts(self, value: Any) -> bool:
        return type(value) is int and 1 <= value <= self.most

    def stored(self, value: Any) -> Any:
        return value


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time, longer than none.

    >>> Span("1s").accepts("90m"), Span("1s").accepts("0s"), Span("1s").stored("90m")
    (True, False, '1h30m')
    """

    example: str

    @property
    def expected(self) -> str:
        return "a span of time such as '1s', '10m' or '7d', at most 100 years"

    def accepts(self, value: Any) -> bool:
        try:
            return 0 < parse_duration(value) <= CENTURY_US
        except BadDuration:
            return False

    def stored(self, value: Any) -> Any:
        return format_duration(parse_duration(value))


@dataclass(frozen=True, slots=True)
class Share:
    """A number from 0 to 1."""

    example: float

    @property
    def expected(self) -> str:
        return "a number from 0 to 1"

    def accepts(self, value: Any) -> bool:
        return type(value) in (int, float) and 0 <= value <= 1

    def stored(self, value: Any) -> Any:
        return float(value)


@dataclass(frozen=True, slots=True)
class Shares:
    """Numbers from 0 to 1 in any order, at least one and at most `most` of them.

    >>> Shares(8).accepts([0.9, 0.5]), Shares(8).accepts([50]), Shares(8).stored((0, 0.5))
    (True, False, [0.0, 0.5])
    """

    most: int

    @property
    def example(self) -> Sequence[float]:
        return (0.5,)

    @property
    def expected(self) -> str:
        return f"1 to {self.most} numbers from 0 to 1"

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= self.most:
            return False
        return all(type(one) in (int, float) and 0 <= one <= 1 for one in value)

    def stored(self, value: Any) -> Any:
        return [float(one) for one in value]


@dataclass(frozen=True, slots=True)
class Edges:
    """Finite numbers that grow, at least one and at most `most` of them.

    >>> Edges(8).accepts([1, 2.5]), Edges(8).accepts([2, 2]), Edges(8).stored([1, 2.5])
    (True, False, [1.0, 2.5])
    """

    most: int

    @property
    def example(self) -> Sequence[float]:
        return (0.0,)

    @property
    def expected(self) -> str:
        return f"1 to {self.most} finite numbers, each greater than the one before"

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= self.most:
            return False
        if not all(type(one) in (int, float) and math.isfinite(one) for one in value):
            return False
        return all(float(a) < float(b) for a, b in pairwise(value))

    def stored(self, value: Any) -> Any:
        return [float(one) for one in value]
