"""How far apart the least and the greatest value are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.types import DataType
from ..algebra import (
    NULL,
    OVERFLOW,
    OVERFLOWED,
    VALUE,
    Codes,
    Overflowed,
    StateNeed,
    States,
    Values,
)
from .counts import COUNT_VALUES
from .extrema import MAX_FLOAT, MAX_INT, MIN_FLOAT, MIN_INT
from .support import family_of

_NEEDS: Mapping[str, tuple[StateNeed, ...]] = {
    "float": (StateNeed(MAX_FLOAT), StateNeed(MIN_FLOAT), StateNeed(COUNT_VALUES)),
    "int": (StateNeed(MAX_INT), StateNeed(MIN_INT), StateNeed(COUNT_VALUES)),
}


@dataclass(frozen=True, slots=True)
class Range:
    """`range`: the greatest value less the least one; nulls are skipped, null over no values.

    Floats: one subtraction of exact extremes, relative error 2**-53. Integers: exact. Beyond the
    output's range it overflows. 24 bytes a state, all of them shared with `min` and `max`.

    >>> from tegula.windows.algebra import Column, Order, Runs
    >>> runs, order = Runs(np.array([0]), 3), Order(*[np.arange(3)] * 3)
    >>> column = Column(np.array([2.5, -1.0, 0.5]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in RANGE.needs("float", {}))
    >>> RANGE.finish(states, {})[0].tolist()
    [3.5]
    """

    name: str = "range"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return family_of(self.name, input_kind, _NEEDS)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        assert input_type is not None, "`needs` refuses a missing column before"
        return input_type

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        greatest, least = np.asarray(states[0][0]), np.asarray(states[1][0])
        present = np.asarray(states[2][0]) > 0
        with np.errstate(over="ignore"):
            spread = np.where(present, greatest, 0) - np.where(present, least, 0)
        # The difference of two int64, the greater first, is negative just where it wraps.
        fits = np.isfinite(spread) & (spread >= 0)
        codes = np.where(present, np.where(fits, VALUE, OVERFLOW), NULL)
        return spread, codes.astype(np.uint8)

    def finish_one(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]
    ) -> float | int | Overflowed | None:
        (greatest,), (least,), (count,) = states
        if not count:
            return None
        spread: float | int = greatest - least
        return spread if spread < (np.inf if isinstance(spread, float) else 2**63) else OVERFLOWED


RANGE = Range()
