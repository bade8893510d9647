"""Instants written as RFC 3339 text, read a column at a time.

`2013-01-01T05:17:00Z`, `2013-01-01 00:17:00.123456-05:00`: date, `T` or a blank, time, fraction,
and `Z` or an offset. The zone is not optional: text without one names a different instant on every
machine. Digits of a fraction past the sixth are cut off, which floors, as everywhere. The letters
may be small. A leap second (`:60`) is refused: in µs since the epoch it has no place of its own.

`parse` reads a whole column by position, `parse_one` one text; they agree on every input (tested).
`format_instant` writes one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..schemas.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US

PATTERN = (
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
"""The texts that `parse` takes: the shape, not yet the calendar."""

FIRST_US = -719_162 * DAY_US
"""The year 1 begins, µs since the epoch."""
END_US = 2_932_897 * DAY_US
"""The year 10000 begins: instants lie in `[FIRST_US, END_US)`."""

_HOUR, _SIXTY = r"([01]\d|2[0-3])", r"([0-5]\d)"
_ONE = re.compile(
    rf"(\d{{4}})-(\d\d)-(\d\d)[Tt ]{_HOUR}:{_SIXTY}:{_SIXTY}"
    rf"(?:\.(\d+))?(?:[Zz]|([+-]){_HOUR}:{_SIXTY})",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CIVIL_BYTES = 19  # the date, one byte, the time
_OFFSET_BYTES = 6  # +hh:mm
_BLOCK_ROWS = 4_096  # digits of a block stay in the processor's cache: twice as fast
_MONTH_STARTS = np.arange(-1970 * 12, 8040 * 12).astype("M8[M]").astype("M8[D]").astype(np.int32)
"""The first day of each month since that of January of the year 0, in days since the epoch; runs
on past the year 9999, so that month 99 has a place until it is refused."""


def parse_one(text: str) -> int | None:
    """The instant in µs since the epoch; None if `text` is not one by the rules above.

    The years 0 to 9999 are read as written, so the result may lie outside `[FIRST_US, END_US)`.

    >>> parse_one("1970-01-01T01:00:00.0000019+01:00"), parse_one("1970-01-01T00:00:00")
    (1, None)
    """
    match = _ONE.fullmatch(text)
    if match is None:
        return None
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except ValueError:  # small letters, the year 0, or no date at all
        return _read_match(match)


def _read_match(match: re.Match[str]) -> int | None:
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, zone_hour, zone_minute = match.groups()[6:]
    if not 1 <= month <= 12:
        return None
    months = year * 12 + month - 1
    first_day, next_first_day = _MONTH_STARTS[months : months + 2].tolist()
    if not 1 <= day <= next_first_day - first_day:
        return None
    at_us: int = (first_day + day - 1) * DAY_US
    at_us += hour * HOUR_US + minute * MINUTE_US + second * SECOND_US
    at_us += int((fraction or "")[:6].ljust(6, "0"))
    zone_us = int(zone_hour or 0) * HOUR_US + int(zone_minute or 0) * MINUTE_US
    return at_us + zone_us if sign == "-" else at_us - zone_us


def parse(texts: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Instants of a String column whose texts are null or match `PATTERN`.

    Returns µs since the epoch, int64 (n,), and which of them are instants, bool (n,): null texts
    and dates that the calendar lacks are not.
    """
    count = len(texts)
    present = texts.is_not_null().to_numpy()
    arrow = texts.cast(pl.Binary).fill_null(b"").to_arrow(compat_level=pl.CompatLevel.oldest())
    # Arrow lists offsets as (n + 1) int64 beside one buffer of bytes; a slice starts past zero.
    offsets = np.frombuffer(arrow.buffers()[1], np.int64)[arrow.offset : arrow.offset + count + 1]
    data = np.frombuffer(arrow.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)
    at_us = np.zeros(count, np.int64)
    valid = np.zeros(count, np.bool_)
    present &= lengths > _CIVIL_BYTES
    if not present.any():
        return at_us, valid
    length = int(lengths[0])
    if present.all() and (lengths == length).all():
        table = data[offsets[0] : offsets[-1]].reshape(count, length)
        groups = [(np.arange(count), table)]
    else:
        groups = []
        for length in np.unique(lengths[present]).tolist():
            rows = np.flatnonzero(present & (lengths == length))
            groups.append((rows, data[offsets[rows, None] + np.arange(length)]))
    for rows, table in groups:
        is_utc = (table[:, -1] | 0x20) == ord("z")
        for chosen, zone_bytes in ((is_utc, 1), (~is_utc, _OFFSET_BYTES)):
            if chosen.all():
                at_us[rows], valid[rows] = _read_table(table, zone_bytes)
            elif chosen.any():
                at_us[rows[chosen]], valid[rows[chosen]] = _read_table(table[chosen], zone_bytes)
    return at_us, valid


def _read_table(
    table: NDArray[np.uint8], zone_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Texts of one length, uint8 (n, length), that end in a zone of `zone_bytes`."""
    at_us = np.empty(len(table), np.int64)
    valid = np.empty(len(table), np.bool_)
    for start in range(0, len(table), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        at_us[block], valid[block] = _read_block(table[block], zone_bytes)
    return at_us, valid


def _read_block(
    table: NDArray[np.uint8], zone_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    digits = table.T.astype(np.int32, order="C") - ord("0")

    def number(start: int, stop: int) -> NDArray[np.int32]:
        value: NDArray[np.int32] = digits[start]
        for position in range(start + 1, stop):
            value = value * 10 + digits[position]
        return value

    year, month, day = number(0, 4), number(5, 7), number(8, 10)
    hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
    months = year * 12 + month - 1
    first_day = _MONTH_STARTS[months]
    valid = (day >= 1) & (day <= _MONTH_STARTS[months + 1] - first_day)
    valid &= (month >= 1) & (month <= 12)
    valid &= (hour <= 23) & (minute <= 59) & (second <= 59)
    second_of_day = (hour * 60 + minute) * 60 + second
    zone_start = len(digits) - zone_bytes
    if zone_bytes == _OFFSET_BYTES:
        zone_hour = number(zone_start + 1, zone_start + 3)
        zone_minute = number(zone_start + 4, zone_start + 6)
        valid &= (zone_hour <= 23) & (zone_minute <= 59)
        ahead = np.where(table[:, zone_start] == ord("-"), -60, 60)
        second_of_day -= (zone_hour * 60 + zone_minute) * ahead
    at_us = (first_day + day - 1) * np.int64(DAY_US)
    at_us += second_of_day * np.int64(SECOND_US)
    if zone_start > _CIVIL_BYTES:
        first = _CIVIL_BYTES + 1
        kept = min(zone_start - first, 6)
        at_us += number(first, first + kept) * 10 ** (6 - kept)
    return at_us, valid


def format_instant(at_us: int) -> str | None:
    """RFC 3339 text of an instant in µs, in UTC; None before the year 1 or after 9999.

    >>> format_instant(0), format_instant(1_250_000), format_instant(-(2**63))
    ('1970-01-01T00:00:00Z', '1970-01-01T00:00:01.250000Z', None)
    """
    if not FIRST_US <= at_us < END_US:
        return None
    text = (_EPOCH + timedelta(microseconds=at_us)).isoformat()
    return f"{text[:-6]}Z"
