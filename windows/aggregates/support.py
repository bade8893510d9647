"""What the aggregates share: refusing inputs, filling nulls, and columns of bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from ...schemas.errors import UnsupportedInput
from ..algebra import (
    NOTHING,
    NULL,
    OVERFLOW,
    OVERFLOWED,
    Codes,
    Column,
    Lists,
    OfNothing,
    StateNeed,
    States,
    Values,
)

NUMBERS = ("float", "int", "bool")
"""The kinds that can be added up."""

KINDS = ("float", "int", "bool", "time", "string")
"""Every kind of column."""

LISTS = tuple(f"list[{kind}]" for kind in ("float", "int", "bool", "string"))
"""Every kind of a column of lists."""

PAIRS = tuple(f"{first},{second}" for first in KINDS for second in KINDS)
"""Every kind of a column of pairs."""

T = TypeVar("T")


def family_of(aggregate: str, kind: str | None, families: Mapping[str, T]) -> T:
    """The entry of `families` for an input of `kind`.

    Raises `UnsupportedInput`, naming the kinds that the aggregate takes.
    """
    if kind is not None and kind in families:
        return families[kind]
    expected = ", ".join(families)
    if kind is None:
        raise UnsupportedInput(
            f"`{aggregate}` needs a column", expected=f"a column of kind {expected}"
        )
    raise UnsupportedInput(
        f"`{aggregate}` has no meaning for this column", got=f"kind {kind}", expected=expected
    )


def column_of(column: Column | None) -> Column:
    """The column that the plan promised to a monoid that reads values."""
    assert column is not None, "a monoid that reads values was given no column"
    return column


def filled(column: Column | None, neutral: float) -> np.ndarray[Any, Any]:
    """The numbers of a column with `neutral` wherever there is none, shape (n,)."""
    column = column_of(column)
    assert isinstance(column.values, np.ndarray)
    if column.valid is None:
        return column.values
    return np.where(column.valid, column.values, column.values.dtype.type(neutral))


def binary(values: Values) -> pa.LargeBinaryArray:
    """The same column, known to be bytes."""
    assert isinstance(values, pa.LargeBinaryArray)
    return values


def empty_bytes(count: int) -> pa.LargeBinaryArray:
    """`count` empty byte strings."""
    return binary_of(np.zeros(count + 1, np.int64), b"")


def binary_of(offsets: np.ndarray[Any, Any], data: Any) -> pa.LargeBinaryArray:
    """Byte strings over shared buffers: value i is `data[offsets[i]:offsets[i + 1]]`.

    `offsets` is int64, shape (k + 1,); `data` is anything with a buffer.
    """
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def buffers_of(values: pa.LargeBinaryArray) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The offsets, int64 of shape (k + 1,), and the bytes, uint8, behind byte strings."""
    _, offsets, data = values.buffers()
    starts = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    return starts, np.frombuffer(data if data is not None else b"", np.uint8)


def scalars(states: States | Lists) -> Sequence[list[Any]]:
    """Each field of some states as a list of Python scalars; lists are left as they are."""
    return [
        field
        if isinstance(field, list)
        else field.to_pylist()
        if isinstance(field, pa.Array)
        else field.tolist()
        for field in states
    ]


def pair_of(
    aggregate: str, kind: str | None, firsts: Sequence[str], seconds: Sequence[str], needs: T
) -> T:
    """`needs`, if `kind` is that of a pair of one of `firsts` and one of `seconds`.

    Raises `UnsupportedInput`, naming the kinds that the aggregate takes.
    """
    first, _, second = (kind or "").partition(",")
    if first in firsts and second in seconds:
        return needs
    raise UnsupportedInput(
        f"`{aggregate}` needs two columns that it has a meaning for",
        got=f"kind {kind}",
        expected=f"a column of kind {', '.join(firsts)} and one of kind {', '.join(seconds)}",
    )


def arrays_of_one(
    states: tuple[tuple[Any, ...], ...], needs: Sequence[StateNeed]
) -> tuple[States, ...]:
    """Scalar states as columns of length 1: for aggregates of which one key is finished as many."""
    return tuple(
        tuple(
            pa.array([scalar], pa.large_binary())
            if field.dtype == "bytes"
            else np.array([scalar], field.dtype)
            for scalar, field in zip(state, need.monoid.fields, strict=True)
        )
        for state, need in zip(states, needs, strict=True)
    )


def scalar_of_one(finished: tuple[Values, Codes]) -> Any:
    """The value of the one key that was finished: a Python scalar, None, `OVERFLOWED`, or a scalar
    as `OfNothing`."""
    values, codes = finished
    if codes[0] == OVERFLOW:
        return OVERFLOWED
    if codes[0] == NULL:
        return None
    value = values[0].as_py() if isinstance(values, pa.Array) else values[0].item()
    return OfNothing(value) if codes[0] == NOTHING else value
