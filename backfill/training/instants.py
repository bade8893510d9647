"""Instants of a column, whatever it holds, in µs since the epoch, UTC.

An instant must be one: text with `Z` or an offset, a Datetime with a time zone, or whole µs since
the epoch. What names no zone is refused, unless the caller says which zone it is in; a time that
the clocks of that zone showed twice, or never, is refused in any case. Finer than a µs is floored,
so nothing later than the instant can count.
"""

from __future__ import annotations

from typing import Any, Final
from zoneinfo import available_timezones

import numpy as np
import polars as pl

from ...connectors.rfc3339 import PATTERN, parse
from ...schemas.errors import BadSpine
from ...windows.algebra import Bools, Int64s

_TAKEN: Final = "text such as 2024-05-01T12:00:00Z, a Datetime with a time zone, or µs since 1970"


def instants_of(column: pl.Series, zone: str | None, first_row: int, where: str) -> Int64s:
    """The instants of a column; int64, one a row.

    `zone` is the time zone of those that name none (None: these are refused); `first_row` is the
    number of the first row, for errors. Raises `BadSpine`, also where a row has no instant.
    """
    if zone is not None and zone not in available_timezones():
        raise BadSpine(
            "there is no time zone of that name", where=where, got=repr(zone), expected="Area/City"
        )
    _refuse(column, column.is_null().to_numpy(), first_row, where, "has no instant", "null")
    dtype = column.dtype
    if dtype.is_integer():
        return column.cast(pl.Int64).to_numpy()
    if dtype == pl.String:
        return _of_texts(column, zone, first_row, where)
    if dtype == pl.Date:
        column, dtype = column.cast(pl.Datetime("us")), pl.Datetime("us")
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is None:
            return _of_civil(column, zone, first_row, where)
        return _us(column)
    raise BadSpine("this column holds no instants", where=where, got=str(dtype), expected=_TAKEN)


def _of_texts(column: pl.Series, zone: str | None, first_row: int, where: str) -> Int64s:
    shaped = column.str.contains(f"^(?:{PATTERN})$")
    at_us, valid = parse(column.set(~shaped, None))
    wrong = ~valid
    if zone is not None and wrong.any():
        civil = column.filter(pl.Series(wrong)).str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False
        )
        read = civil.is_not_null().to_numpy()
        rows = np.flatnonzero(wrong)[read]
        known = civil.filter(pl.Series(read))
        at_us[rows] = _of_civil(known, zone, first_row, where)
        wrong[rows] = False
    _refuse(column, wrong, first_row, where, "is no instant", None)
    return at_us


def _of_civil(column: pl.Series, zone: str | None, first_row: int, where: str) -> Int64s:
    """Times on the wall of a zone, as instants."""
    if zone is None:
        raise BadSpine(
            "these instants name no time zone",
            where=where,
            got=str(column.dtype),
            expected=_TAKEN,
            hint='say which zone they are in, with time_zone="UTC" for instance',
        )
    found = column.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    said = f"was shown twice, or never, by the clocks of {zone}"
    _refuse(column, found.is_null().to_numpy(), first_row, where, said, None)
    return _us(found)


def _us(column: pl.Series) -> Int64s:
    """Floored: casting to a coarser unit would cut towards zero."""
    physical = column.to_physical()
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_unit == "ns":
        physical = physical // 1_000
    elif isinstance(column.dtype, pl.Datetime) and column.dtype.time_unit == "ms":
        physical = physical * 1_000
    return physical.to_numpy()


def _refuse(
    column: pl.Series, wrong: Bools, first_row: int, where: str, said: str, got: str | None
) -> None:
    """Raise for the first of the wrong rows, if there is one."""
    rows = np.flatnonzero(wrong)
    if not len(rows):
        return
    value: Any = column[int(rows[0])]
    more = f", and so have {len(rows) - 1} more near it" if len(rows) > 1 else ""
    raise BadSpine(
        f"row {first_row + int(rows[0])} of the spine {said}",
        where=where,
        got=(got or repr(value)) + more,
        expected=_TAKEN,
        hint="leave such rows out, or give them their instant",
    )
