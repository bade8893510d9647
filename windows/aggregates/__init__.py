"""Every aggregate, by the name that users give it, and every monoid, by the name of its format.

Adding one here is all it takes: the law tests, the documentation and the plan find it in these
two tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...schemas.errors import UnsupportedInput
from ..algebra import Aggregate, AggregateAt, Monoid
from .by_other import MAX_BY, MIN_BY
from .counts import COUNT
from .decay import DECAYED_COUNT, DECAYED_SUM
from .distinct import APPROX_DISTINCT
from .drawdowns import DRAWDOWN
from .extrema import MAX, MIN
from .frequent import APPROX_TOP_K, APPROX_TOP_K_COUNTS
from .histograms import HISTOGRAM
from .lists import FIRST_N, LAG, LAST_N, TOP_N
from .lists_by import LAST_N_BY, TOP_N_BY
from .moments import MEAN, STDDEV, VARIANCE
from .ordered import FIRST, LAST
from .pairs import CORRELATION, COVARIANCE, RATIO, WEIGHTED_MEAN
from .predicates import ALL, ANY, COUNT_IF
from .quantiles import APPROX_QUANTILE, APPROX_QUANTILES, MEDIAN
from .ranges import RANGE
from .rates import RATE
from .recency import MEAN_INTERVAL, TIME_SINCE_FIRST, TIME_SINCE_LAST
from .skewness import KURTOSIS, SKEW
from .sums import SUM
from .support import KINDS, PAIRS
from .trends import SLOPE
from .value_counts import DISTINCT, ENTROPY, MODE, UNION
from .vectors import VECTOR_MEAN, VECTOR_SUM

AGGREGATES: Mapping[str, Aggregate | AggregateAt] = MappingProxyType(
    {
        aggregate.name: aggregate
        for aggregate in (
            COUNT,
            COUNT_IF,
            ANY,
            ALL,
            RATE,
            SUM,
            MEAN,
            MIN,
            MAX,
            RANGE,
            DRAWDOWN,
            VARIANCE,
            STDDEV,
            SKEW,
            KURTOSIS,
            COVARIANCE,
            CORRELATION,
            WEIGHTED_MEAN,
            RATIO,
            VECTOR_SUM,
            VECTOR_MEAN,
            SLOPE,
            TIME_SINCE_FIRST,
            TIME_SINCE_LAST,
            MEAN_INTERVAL,
            DECAYED_SUM,
            DECAYED_COUNT,
            FIRST,
            LAST,
            FIRST_N,
            LAST_N,
            LAG,
            MIN_BY,
            MAX_BY,
            TOP_N,
            TOP_N_BY,
            LAST_N_BY,
            DISTINCT,
            UNION,
            MODE,
            ENTROPY,
            APPROX_TOP_K,
            APPROX_TOP_K_COUNTS,
            HISTOGRAM,
            APPROX_DISTINCT,
            APPROX_QUANTILE,
            APPROX_QUANTILES,
            MEDIAN,
        )
    }
)


def _reachable() -> dict[str, Monoid]:
    # What some aggregate needs for some kind of input; a name stands for one format only.
    monoids: dict[str, Monoid] = {}
    for aggregate in AGGREGATES.values():
        for kind in (None, *KINDS, *PAIRS):
            try:
                needs = aggregate.needs(kind, {})
            except UnsupportedInput:
                continue
            for need in needs:
                known = monoids.setdefault(need.monoid.name, need.monoid)
                assert known == need.monoid, f"two monoids are called {known.name}"
    return monoids


MONOIDS: Mapping[str, Monoid] = MappingProxyType(_reachable())
"""Every monoid that an aggregate needs, by its name."""

__all__ = ["AGGREGATES", "MONOIDS"]
