"""The naive value of every aggregate: from the events of a window, in plain Python.

Shares no code with what it checks. Each function takes what `Window` holds; it is only asked where
there is at least one value, unless the aggregate is listed in `OVER_NOTHING`.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
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


def drawdown(held: Held) -> Any:
    """The greatest fall from the greatest value so far; few enough values for it to be exact."""
    peaks = accumulate(held.values, max)
    return max(peak - one for peak, one in zip(peaks, held.values, strict=True))


def central(held: Held, power: int) -> Fraction:
    """The mean of (x - mean)**power."""
    exact = [Fraction(v) for v in held.values]
    middle = sum(exact) / len(exact)
    return sum(((x - middle) ** power for x in exact), Fraction()) / len(exact)


def skew(held: Held) -> Near | None:
    """The third standardised moment, as near as sums of cubes about zero allow."""
    m2, m3 = central(held, 2), central(held, 3)
    if m2 == 0:
        return None
    cubes = sum(abs(Fraction(v)) ** 3 for v in held.values) / len(held.values)
    noise = float(cubes / 2**90 + abs(m3) / 2**48) / float(m2) ** 1.5
    return Near(float(m3) / float(m2) ** 1.5, noise)


def kurtosis(held: Held) -> Near | None:
    """The fourth standardised moment less 3, within its bound."""
    m2, m4 = central(held, 2), central(held, 4)
    if m2 == 0:
        return None
    fourths = sum(Fraction(v) ** 4 for v in held.values) / len(held.values)
    return Near(float(m4 / m2**2) - 3, float((fourths / 2**90 + m4 / 2**48) / m2**2))


def crossed(xs: Sequence[Any], ys: Sequence[Any]) -> tuple[Fraction, Fraction]:
    """Σ(x - mean x)(y - mean y), and Σ|xy| + Σ|x|·Σ|y| / n."""
    a, b, n = [Fraction(x) for x in xs], [Fraction(y) for y in ys], len(xs)
    size = sum(abs(x * y) for x, y in zip(a, b, strict=True))
    size += sum(map(abs, a)) * sum(map(abs, b)) / n
    total = sum((x * y for x, y in zip(a, b, strict=True)), Fraction()) - sum(a) * sum(b) / n
    return total, Fraction(size)


def covariance(held: Held) -> Near | None:
    """The covariance of a sample, within its bound."""
    together, size = crossed(*zip(*held.values, strict=True))
    n = len(held.values) - 1
    if n == 0:
        return None
    return Near(float(together / n), float((size / 2**95 + abs(together) / 2**51) / n))


def correlation(held: Held) -> Near | None:
    """Pearson's correlation; where a spread is all but nothing, anything near."""
    xs, ys = zip(*held.values, strict=True)
    together, size = crossed(xs, ys)
    (xx, x_size), (yy, y_size) = crossed(xs, xs), crossed(ys, ys)
    if xx * yy == 0:
        return None
    scale = math.sqrt(float(xx)) * math.sqrt(float(yy))
    noise = float(size / 2**94) / scale + float(x_size / xx + y_size / yy) / 2**94 + 2**-48
    return Near(float(together) / scale, noise)


def weighted_mean(held: Held) -> Near | None:
    """Σ(x·weight) / Σweight."""
    pairs = [(Fraction(x), Fraction(weight)) for x, weight in held.values]
    weights = sum(weight for _, weight in pairs)
    if weights == 0:
        return None
    value = sum(x * weight for x, weight in pairs) / weights
    size = sum(abs(x * weight) for x, weight in pairs) / abs(weights)
    return Near(float(value), float(size / 2**95 + abs(value) / 2**51))


def ratio(held: Held) -> Near | None:
    """Σx / Σy."""
    xs, ys = ([Fraction(one) for one in part] for part in zip(*held.values, strict=True))
    if sum(ys) == 0:
        return None
    value = sum(xs) / sum(ys)
    size = (sum(map(abs, xs)) + sum(map(abs, ys)) * abs(value)) / abs(sum(ys))
    return Near(float(value), float(size / 2**95 + abs(value) / 2**51))


def vector_sum(held: Held) -> list[float]:
    """The sum of each column; zeros of nothing."""
    columns = list(zip(*held.values, strict=True)) or [()] * held.params["columns"]
    return [float(sum(map(Fraction, column), Fraction())) for column in columns]


def vector_mean(held: Held) -> list[float]:
    """The mean of each column, rounded once."""
    n = len(held.values)
    return [float(sum(map(Fraction, column)) / n) for column in zip(*held.values, strict=True)]


def slope(held: Held) -> Near | None:
    """The least-squares slope over event time, in each second."""
    together, size = crossed(held.at_us, held.values)
    spread, _ = crossed(held.at_us, held.at_us)
    if spread == 0:
        return None
    noise = size / 2**94 / spread + abs(together) / spread / 2**50
    return Near(float(together / spread * 10**6), float(noise * 10**6))


def decayed(held: Held, weights: Sequence[Any]) -> Near:
    """Each weight, halved for every half-life that its event is old."""
    half_life = held.params["half_life_us"]
    parts = [
        float(weight) * 2.0 ** ((at_us - held.read_at_us) / half_life)
        for weight, at_us in zip(weights, held.at_us, strict=True)
    ]
    # The power here has an exponent rounded to 53 bits, which weighs more than what is checked.
    oldest = max((held.read_at_us - at_us) / half_life for at_us in [*held.at_us, held.read_at_us])
    size = math.fsum(map(abs, parts))
    # What is lost under the least normal double is not promised.
    return Near(math.fsum(parts), size * (1 + oldest) * 2**-49 + 1e-300)


def quantile(held: Held, q: Fraction) -> float:
    """The value at rank ceil(q n); few enough different ones for it to be exact."""
    ranked = sorted(map(float, held.values))
    return ranked[max(math.ceil(q * len(ranked)), 1) - 1]


def text_or_number(value: Any) -> Any:
    """What values are ordered by: texts by their bytes."""
    return value.encode() if isinstance(value, str) else value


def mode(held: Held) -> Any:
    """The most frequent value; of several the least."""
    often = Counter(held.values)
    most = max(often.values())
    return min((v for v, n in often.items() if n == most), key=text_or_number)


def entropy(held: Held) -> Near:
    """In bits, by its definition."""
    shares = [n / len(held.values) for n in Counter(held.values).values()]
    return Near(math.fsum(-p * math.log2(p) for p in shares), 1e-12)


def top_k(held: Held) -> list[tuple[Any, int]]:
    """The most frequent values, the least first of equals; few enough for it to be exact."""
    often = Counter(held.values)
    ranked = sorted(often.items(), key=lambda one: (-one[1], text_or_number(one[0])))
    return ranked[: held.params["k"]]


def by_other(held: Held, sign: int) -> Any:
    """The value beside the least (or greatest) number; of several the earliest."""
    return min(enumerate(held.values), key=lambda one: (sign * one[1][1], one[0]))[1][0]


def top_n_by(held: Held) -> list[Any]:
    """The values beside the greatest numbers; of equal ones the earliest first."""
    ranked = sorted(enumerate(held.values), key=lambda one: (-one[1][1], one[0]))
    return [value for _, (value, _) in ranked[: held.params["n"]]]


def last_n_by(held: Held) -> list[Any]:
    """The last values by the numbers beside them; equal ones as they came."""
    ranked = sorted(held.values, key=lambda one: one[1])  # a stable sort
    return [value for value, _ in ranked[-held.params["n"] :]]


def histogram(held: Held) -> list[int]:
    """Counts below, between and from the edges on."""
    edges = [-math.inf, *held.params["edges"], math.inf]
    return [sum(low <= float(v) < high for v in held.values) for low, high in pairwise(edges)]


OVER_NOTHING = {
    "count",
    "count_if",
    "rate",
    "sum",
    "decayed_sum",
    "decayed_count",
    "histogram",
    "vector_sum",
    "approx_distinct",
}
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
    "drawdown": drawdown,
    "variance": variance,
    "stddev": stddev,
    "skew": skew,
    "kurtosis": kurtosis,
    "covariance": covariance,
    "correlation": correlation,
    "weighted_mean": weighted_mean,
    "ratio": ratio,
    "vector_sum": vector_sum,
    "vector_mean": vector_mean,
    "slope": slope,
    "time_since_first": lambda held: (held.read_at_us - held.at_us[0]) / 10**6,
    "time_since_last": lambda held: (held.read_at_us - held.at_us[-1]) / 10**6,
    "mean_interval": lambda held: (
        (held.at_us[-1] - held.at_us[0]) / (len(held.at_us) - 1) / 10**6
        if len(held.at_us) > 1
        else None
    ),
    "decayed_sum": lambda held: decayed(held, held.values),
    "decayed_count": lambda held: decayed(held, [1] * len(held.values)),
    "first_n": lambda held: list(held.values[: held.params["n"]]),
    "last_n": lambda held: list(held.values[-held.params["n"] :]),
    "lag": lambda held: (
        held.values[-1 - held.params["n"]] if len(held.values) > held.params["n"] else None
    ),
    "top_n": lambda held: sorted(held.values, key=text_or_number, reverse=True)[: held.params["n"]],
    "min_by": lambda held: by_other(held, 1),
    "max_by": lambda held: by_other(held, -1),
    "top_n_by": top_n_by,
    "last_n_by": last_n_by,
    "distinct": lambda held: sorted(set(held.values), key=text_or_number),
    "union": lambda held: sorted({one for row in held.values for one in row}, key=text_or_number),
    "mode": mode,
    "entropy": entropy,
    "approx_top_k": lambda held: [value for value, _ in top_k(held)],
    "approx_top_k_counts": lambda held: {str(value): often for value, often in top_k(held)},
    "histogram": histogram,
    "first": lambda held: held.values[0],
    "last": lambda held: held.values[-1],
    "approx_distinct": approx_distinct,
    "approx_quantile": lambda held: quantile(held, held.params["share"]),
    "approx_quantiles": lambda held: [quantile(held, q) for q in held.params["shares"]],
    "median": lambda held: quantile(held, Fraction(1, 2)),
}
