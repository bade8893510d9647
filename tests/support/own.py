"""An aggregate as a user writes one: in how many different hours of the day something happened.

Its text is also what tests write into a project's folder (`module_text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tegula as tg
from tegula.schemas.types import DataType
from tegula.windows.algebra import (
    VALUE,
    Codes,
    Column,
    Lists,
    Order,
    Runs,
    StateField,
    StateNeed,
    States,
    Values,
)

HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class HourBits:
    """A bit for each hour of the day in which there was a value."""

    name: str = "hours_seen_bits"
    version: int = 1
    fields: tuple[StateField, ...] = (StateField("bits", "<i8"),)

    def lift(self, column: Column | None, order: Order, runs: Runs) -> States:
        assert column is not None
        bits = 1 << (np.asarray(column.values) // HOUR_US % 24)
        if column.valid is not None:
            bits = np.where(column.valid, bits, 0)
        return (np.bitwise_or.reduceat(bits, runs.starts),)

    def reduce(self, states: States, runs: Runs) -> States:
        return (np.bitwise_or.reduceat(states[0], runs.starts),)

    def reduce_one(self, states: States | Lists) -> tuple[int]:
        (field,), bits = states, 0
        for one in field if isinstance(field, list) else field.tolist():
            bits |= one
        return (bits,)

    def zero(self, count: int) -> States:
        return (np.zeros(count, np.int64),)


@dataclass(frozen=True)
class HoursSeen:
    """In how many different hours of the day; 0 over nothing."""

    name: str = "hours_seen"
    state: Any = HourBits()

    def needs(self, input_kind: str | None, params: Mapping[str, Any]) -> tuple[StateNeed, ...]:
        if input_kind != "time":
            raise tg.errors.UnsupportedInput("hours_seen needs a column of instants")
        return (StateNeed(self.state),)

    def output(self, input_type: DataType | None, params: Mapping[str, Any]) -> DataType:
        return tg.Int64

    def finish(self, states: tuple[States, ...], params: Mapping[str, Any]) -> tuple[Values, Codes]:
        ((bits,),) = states
        return np.bitwise_count(bits).astype(np.int64), np.full(len(bits), VALUE, np.uint8)

    def finish_one(self, states: tuple[tuple[Any, ...], ...], params: Mapping[str, Any]) -> int:
        ((bits,),) = states
        return int(bits).bit_count()


def module_text(*handles: str) -> str:
    """The text of a module with the classes above, and these lines at its end."""
    return "\n".join([Path(__file__).read_text("utf-8"), *handles, ""])
