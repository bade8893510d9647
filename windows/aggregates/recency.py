"""How long ago, and how often: from the first and the last event time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.time import SECOND_US
from ...schemas.types import DataType, Float64
from ..algebra import NULL, VALUE, Codes, Monoid, Reading, StateNeed, States, Values
from .counts import COUNT_ROWS, COUNT_VALUES
from .extrema import MAX_INT, MIN_INT
from .support import KINDS, family_of
from .trends import OfTimes

FIRST_ROW_TIME = OfTimes("first_row_time", MIN_INT, of_values=False)
LAST_ROW_TIME = OfTimes("last_row_time", MAX_INT, of_values=False)
FIRST_VALUE_TIME = OfTimes("first_value_time", MIN_INT)
LAST_VALUE_TIME = OfTimes("last_value_time", MAX_INT)

_NOWHERE = (MIN_INT.neutral, MAX_INT.neutral)
"""The first and the last event time of no events, where no event can lie."""


def _need(
    aggregate: str, kind: str | None, of_rows: Monoid, of_values: Monoid
) -> tuple[StateNeed, ...]:
    if kind is None:
        return (StateNeed(of_rows, takes_input=False),)
    return family_of(aggregate, kind, dict.fromkeys(KINDS, (StateNeed(of_values),)))


@dataclass(frozen=True, slots=True)
class TimeSince:
    """`time_since_last()` and `time_since_first()`: seconds from that event to the time of reading.

    Of all events, or with a column of those where it has a value. The value grows as time passes
    with no event; null over no events. One division: relative error 2**-53. 8 bytes a state.

    >>> at = Reading(at_us=90_500_000, start_us=0, end_us=90_500_000)
    >>> TIME_SINCE_LAST.finish_one_at(((60_000_000,),), {}, at)
    30.5
    """

    name: str
    first: bool

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        if self.first:
            return _need(self.name, input_kind, FIRST_ROW_TIME, FIRST_VALUE_TIME)
        return _need(self.name, input_kind, LAST_ROW_TIME, LAST_VALUE_TIME)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish_at(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Values, Codes]:
        (times_us,) = states[0]
        present = ~np.isin(times_us, _NOWHERE)
        since_us = reading.at_us - np.where(present, times_us, reading.at_us)
        return since_us / SECOND_US, np.where(present, VALUE, NULL).astype(np.uint8)

    def finish_one_at(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any], reading: Reading
    ) -> float | None:
        ((at_us,),) = states
        if at_us in _NOWHERE:
            return None
        since: float = (reading.at_us - at_us) / SECOND_US
        return since


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """`mean_interval()`: seconds between one event and the next, on average.

    (last - first) / (n - 1), of all events, or with a column of those where it has a value; null
    over fewer than two. Exact but for two divisions: relative error 2**-52. 24 bytes a state, of
    which all are shared with `time_since_last`, `time_since_first` and `count`.

    >>> MEAN_INTERVAL.finish_one(((0,), (9_000_000,), (4,)), {})
    3.0
    """

    name: str = "mean_interval"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return (
            *_need(self.name, input_kind, FIRST_ROW_TIME, FIRST_VALUE_TIME),
            *_need(self.name, input_kind, LAST_ROW_TIME, LAST_VALUE_TIME),
            *_need(self.name, input_kind, COUNT_ROWS, COUNT_VALUES),
        )

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        (firsts_us,), (lasts_us,), (counts,) = states
        several = np.asarray(counts) > 1
        span_us = np.where(several, lasts_us, 0) - np.where(several, firsts_us, 0)
        mean = span_us / np.maximum(np.asarray(counts) - 1, 1) / SECOND_US
        return mean, np.where(several, VALUE, NULL).astype(np.uint8)

    def finish_one(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]
    ) -> float | None:
        (first_us,), (last_us,), (count,) = states
        return (last_us - first_us) / (count - 1) / SECOND_US if count > 1 else None


TIME_SINCE_FIRST = TimeSince("time_since_first", first=True)
TIME_SINCE_LAST = TimeSince("time_since_last", first=False)
MEAN_INTERVAL = MeanInterval()
