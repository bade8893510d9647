"""Aggregates over a few rows of one key, by every way there is to compute them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from tegula.schemas.errors import UnsupportedInput
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.algebra import (
    NULL,
    OVERFLOW,
    OVERFLOWED,
    VALUE,
    Aggregate,
    AggregateAt,
    Column,
    Order,
    Reading,
    Runs,
    concat,
)

HOUR_BEFORE = Reading(at_us=5_000_000, start_us=5_000_000 - 3_600_000_000, end_us=5_000_000)


def column_of(kind: str, values: Sequence[Any]) -> Column:
    """A column of values, None where there is none; of several kinds, of tuples of values."""
    if kind.startswith("list["):
        item = kind.removeprefix("list[").removesuffix("]")
        elements = column_of(item, [one for row in values for one in row or ()])
        return replace(elements, lengths=np.array([len(row or ()) for row in values], np.int64))
    if "," in kind:
        parts = [
            column_of(one, [row[i] for row in values]) for i, one in enumerate(kind.split(","))
        ]
        valid = np.logical_and.reduce([part.valid for part in parts])
        first, second, *more = (part.values for part in parts)
        return Column(first, valid, second, tuple(more))
    valid = np.array([value is not None for value in values], bool)
    if kind == "string":
        present = [b"" if value is None else value for value in values]
        return Column(pa.array(present, pa.large_binary()), valid)
    present = [0 if value is None else value for value in values]
    return Column(np.array(present, "f8" if kind == "float" else "i8"), valid)


def takes(name: str, kind: str | None) -> bool:
    """Whether an aggregate has a meaning for inputs of a kind."""
    try:
        AGGREGATES[name].needs(kind, {})
    except UnsupportedInput:
        return False
    return True


def finished(
    name: str,
    kind: str,
    values: Sequence[Any],
    params: dict[str, Any] | None = None,
    cut: int = 0,
    at_us: Sequence[int] | None = None,
    reading: Reading = HOUR_BEFORE,
) -> Any:
    """The value over one key, lifted in two parts and merged; equal for one key and for many.

    The events are in order, at `at_us` or else at 0, 1, 2 …
    """
    aggregate, params = AGGREGATES[name], params or {}
    places = np.arange(len(values))
    runs = Runs(np.unique([0, cut]), len(values)) if values else Runs(places, 0)
    times_us = places if at_us is None else np.array(at_us, np.int64)
    order, column = Order(times_us, places, places), column_of(kind, values)
    many, one = [], []
    for need in aggregate.needs(kind, params):
        lifted = need.monoid.lift(column, order, runs)
        states = concat((lifted, need.monoid.zero(1)))
        many.append(need.monoid.reduce(states, Runs(np.array([0]), len(states[0]))))
        one.append(need.monoid.reduce_one(lifted))
    if isinstance(aggregate, AggregateAt):
        arrays = (reading.at_us, reading.start_us, reading.end_us)
        columns = Reading(*(np.array([instant]) for instant in arrays))
        result, codes = aggregate.finish_at(tuple(many), params, columns)
        single = aggregate.finish_one_at(tuple(one), params, reading)
    else:
        assert isinstance(aggregate, Aggregate)
        result, codes = aggregate.finish(tuple(many), params)
        single = aggregate.finish_one(tuple(one), params)
    listed = result.to_pylist() if isinstance(result, pa.Array) else result.tolist()
    value = {NULL: None, OVERFLOW: OVERFLOWED, VALUE: listed[0]}[codes[0]]
    assert single == value
    return value
