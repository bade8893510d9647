"""The naive value of every aggregate: from the events of a window, in plain Python.

Shares no code with what it checks. Each function takes what `Window` holds; it is only asked where
there is at least one value, unless the aggregate is listed in `OVER_NOTHING`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Held:
    """What a window holds of one key: values with their event times, in the total order."""

    values: Sequence[Any]
    at_us: Sequence[int]
    params: Mapping[str, Any]
    read_at_us: int
    start_us: float
    end_us: float


@dataclass(frozen=True)
class Near:
    """A float that is promised within a bound only."""

    value: float
    within: float


def total(held: Held) -> Any:
    """The sum."""
    values = held.values
    return math.fsum(values) if any(isinstance(v, float) for v in values) else sum(values)


def mean(held: Held) -> float:
    """The mean, rounded once."""
    return float(sum(map(Fraction, held.values)) / len(held.values))


def variance(held: Held) -> float | None:
    """The variance of a sample, rounded once."""
    exact = [Fraction(v) for v in held.values]
    return float(statistics.variance(exact)) if len(exact) > 1 else None


def stddev(held: Held) -> float | None:
    """The root of the variance."""
    exact = [Fraction(v) for v in held.values]
    return math.sqrt(statistics.variance(exact)) if len(exact) > 1 else None


def approx_distinct(held: Held) -> int:
    """How many different values there are; few enough for it to be exact."""
    return len({v if isinstance(v, str) else float(v) for v in held.values})


def rate(held: Held) -> float | None:
    """Values in each second."""
    if held.start_us == -math.inf or held.end_us == held.start_us:
        return None
    return len(held.values) * 1_000_000 / (held.end_us - held.start_us)


OVER_NOTHING = {"count", "count_if", "sum", "approx_distinct", "rate"}
VALUES: Mapping[str, Callable[[Held], Any]] = {
    "count": lambda held: len(held.values),
    "count_if": lambda held: sum(held.values),
    "any": lambda held: any(held.values),
    "all": lambda held: all(held.values),
    "rate": rate,
    "sum": total,
    "mean": mean,
    "min": lambda held: min(held.values),
    "max": lambda held: max(held.values),
    "range": lambda held: max(held.values) - min(held.values),
    "variance": variance,
    "stddev": stddev,
    "first": lambda held: held.values[0],
    "last": lambda held: held.values[-1],
    "approx_distinct": approx_distinct,
}
