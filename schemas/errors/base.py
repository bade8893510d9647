"""What every error of Tegula has: a code, one sentence, and four fields in one grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import polars as pl

_E = TypeVar("_E", bound="TegulaError")


class TegulaError(Exception):
    """The root. `message` is one sentence without its full stop; empty fields are left out.

    `http_status` is what an HTTP answer that carries the error has; `retryable` says whether the
    same call may succeed later with nothing changed by the caller.
    """

    code: ClassVar[str] = "TG-000"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, where: str = "", got: str = "", expected: str = "", hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.got = got
        self.expected = expected
        self.hint = hint

    def at(self, where: str) -> Self:
        """The same error with its place named: callers know places that the raiser does not."""
        placed = _restore(type(self), self.__dict__)
        placed.where = where
        return placed

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, for HTTP answers and `--json`."""
        return {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "got": self.got,
            "expected": self.expected,
            "hint": self.hint,
            "retryable": self.retryable,
        }

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        facts = [f"Got {self.got}"] if self.got else []
        if self.expected:
            facts.append(f"{'expected' if facts else 'Expected'} {self.expected}")
        text = f"{self.code}{place}: {self.message}."
        if facts:
            text += f" {', '.join(facts)}."
        stop = "" if self.hint.endswith("?") else "."
        text = f"{text} Hint: {self.hint}{stop}" if self.hint else text
        return " ".join(text.splitlines())

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take other arguments than `Exception.args`; errors cross processes whole.
        return _restore, (type(self), self.__dict__)


def _restore(cls: type[_E], fields: Mapping[str, Any]) -> _E:
    error = cls.__new__(cls, fields["message"])
    error.__dict__.update(fields)
    return error


def one_of(known: Sequence[str]) -> str:
    """How every error lists what would have been right: sorted, at most eight.

    >>> one_of(["b", "a"])
    'one of a, b'
    """
    names = sorted(known)
    if not names:
        return ""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ("one of " if len(names) > 1 else "") + ", ".join(names[:8]) + more


def shown(value: Any) -> str:
    """How every error writes what it was given: one short line, the same on every run.

    >>> shown({"a": 1}), shown(len)
    ("{'a': 1}", 'the function len')
    """
    if isinstance(value, Mapping):
        text = repr(dict(value))
    elif isinstance(value, pl.Expr):
        text = " ".join(str(value).split())
    elif isinstance(value, type) or not callable(value):
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    else:
        text = f"the function {getattr(value, '__name__', 'without a name')}"
    return text if len(text) <= 120 else text[:119] + "…"
