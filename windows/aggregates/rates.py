"""How many events there are in a span of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schemas.time import parse_duration
from ...schemas.types import DataType, Float64
from ..algebra import NULL, VALUE, Codes, Reading, StateNeed, States, Values
from ..ladder import EVER_START_US
from .counts import COUNT


@dataclass(frozen=True, slots=True)
class Rate:
    """`rate(per="1s")`: rows in each `per` of the window; `rate(col)`: rows where col has a value.

    The count, times `per`, over the length that the window truly has at the instant of reading: a
    sliding window of an hour on a grid of a minute may be up to a minute longer, and a running
    tumbling window grows from nothing. 0 over nothing; null where the window has no length (a
    running one at its very beginning) or no beginning. Relative error 2**-51. 8 bytes a state, that
    of `count`.

    >>> half_an_hour = Reading(at_us=0, start_us=-1_800_000_000, end_us=0)
    >>> RATE.finish_one_at(((90,),), {"per": "1m"}, half_an_hour)
    3.0
    """

    name: str = "rate"

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        return COUNT.needs(input_kind, params)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return Float64

    def finish_at(
        self, states: tuple[States, ...], params: Mapping[str, Any], reading: Reading
    ) -> tuple[Values, Codes]:
        (counts,) = states[0]
        present = (reading.end_us > reading.start_us) & (reading.start_us != EVER_START_US)
        length_us = np.where(present, reading.end_us - reading.start_us, 1)
        per_us = float(parse_duration(params.get("per", "1s")))
        rates = np.asarray(counts) * per_us / length_us
        return rates, np.where(present, VALUE, NULL).astype(np.uint8)

    def finish_one_at(
        self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any], reading: Reading
    ) -> float | None:
        if reading.end_us <= reading.start_us or reading.start_us == EVER_START_US:
            return None
        per_us = float(parse_duration(params.get("per", "1s")))
        rate: float = states[0][0] * per_us / (reading.end_us - reading.start_us)
        return rate


RATE = Rate()
