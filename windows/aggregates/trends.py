"""How fast a column grows with event time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.time import parse_duration
from ...schemas.types import DataType, Float64
from ..algebra import (
    Codes,
    Column,
    Lists,
    Monoid,
    Order,
    Runs,
    StateField,
    StateNeed,
    States,
    Values,
)
from ..twofloat import divide, multiply, subtract
from .counts import COUNT_VALUES
from .moments import SQUARES_INT, exact_deviations, judged, sum_as_twofloat
from .sums import SUM_FLOAT, SUM_INT
from .support import arrays_of_one, column_of, family_of, scalar_of_one
from .terms import TIME_PRODUCTS


@dataclass(frozen=True, slots=True)
class OfTimes:
    """A state of integers, of the event times (µs) of the rows that have a value, or of all rows.

    It has the fields, the size and the merging of `inner`.
    """

    name: str
    inner: Monoid
    of_values: bool = True

    @property
    def version(self) -> int:
        return self.inner.version

    @property
    def fields(self) -> tuple[StateField, ...]:
        return self.inner.fields

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        valid = column_of(column).valid if self.of_values else None
        return self.inner.lift(Column(order.event_us, valid), order, runs)

    def reduce(self, states: States, runs: Runs) -> States:
        return self.inner.reduce(states, runs)

    def reduce_one(self, states: States | Lists) -> tuple[Any, ...]:
        return self.inner.reduce_one(states)

    def zero(self, count: int) -> States:
        return self.inner.zero(count)


TIME_SUM = OfTimes("time_sum", SUM_INT)
TIME_SQUARES = OfTimes("time_squares", SQUARES_INT)
_TIMES = (StateNeed(TIME_PRODUCTS), StateNeed(TIME_SUM), StateNeed(TIME_SQUARES))
_NEEDS: Mapping[str, tuple[StateNeed, ...]] = {
    "float": (*_TIMES, StateNeed(SUM_FLOAT), StateNeed(COUNT_VALUES)),
    "int": (*_TIMES, StateNeed(SUM_INT), StateNeed(COUNT_VALUES)),
    "bool": (*_TIMES, StateNeed(SUM_INT), StateNeed(COUNT_VALUES)),
}


@dataclass(frozen=True, slots=True)
class Slope:
    """`slope(x, per="1s")`: by how much x grows in each `per`, by least squares over event time.

    Nulls are skipped; null where all values have one event time (so of fewer than two). Event times
    are summed exactly, in 128 and 192 bits, and products with them in 104: the slope errs by at
    most 2**-94 of Σ|t·x| / Σ(t - mean t)² and, beyond that, relatively by 2**-50. In 2024, with t
    in µs since 1970, that leaves 12 digits for values of equal size in a window of 20 µs, and all
    of them in one of 100 ms. 80 bytes a state.

    >>> runs, second = Runs(np.array([0]), 3), 1_000_000
    >>> order = Order(np.array([0, second, 2 * second]), np.zeros(3, int), np.arange(3))
    >>> column = Column(np.array([5.0, 7.0, 9.0]))
    >>> states = tuple(need.monoid.lift(column, order, runs) for need in SLOPE.needs("float", {}))
    >>> SLOPE.finish(states, {"per": "1m"})[0].tolist()
    [120.0]
    """

    name: str = "slope"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return family_of(self.name, input_kind, _NEEDS)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        products, times, time_squares, total, (counts,) = states
        n = np.maximum(counts, 1)
        spread = exact_deviations(time_squares, times, n)  # n·Σ(t - mean t)²
        with np.errstate(invalid="ignore", over="ignore"):
            mean_time = divide(sum_as_twofloat(times), n * 1.0)
            together = multiply(mean_time, sum_as_twofloat(total))
            grown = subtract((np.asarray(products[0]), np.asarray(products[1])), together)[0]
            per_us = float(parse_duration(params.get("per", "1s")))
            value = grown / np.where(spread > 0, spread / n, 1.0) * per_us
        value = np.where(np.isfinite(products[0] + 0.0), value, np.inf)
        return judged(value, spread > 0)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> Any:
        kind = "int" if isinstance(states[3][0], int) else "float"
        return scalar_of_one(self.finish(arrays_of_one(states, _NEEDS[kind]), params))


SLOPE = Slope()
