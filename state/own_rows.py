"""What the rows of a shard itself must be, kind by kind: for those who verify a state."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from ..schemas.errors import StateCorrupt
from . import rows as at
from .mirrored import Mirrored

_NUMBER: Final = struct.Struct(">Q")


def own_kind(row: bytes) -> str:
    """What a row of build 0 is called, by its key."""
    return _OWN_ROWS.get(row[4:5], ("unknown", _unknown))[0]


def check_own(row: bytes, value: bytes, commit: int) -> None:
    """Raise `StateCorrupt` or `FormatUnknown` if a row of build 0 is not what it should be.

    `commit` is the number of the last commit.
    """
    try:
        _OWN_ROWS.get(row[4:5], ("unknown", _unknown))[1](row, value, commit)
    except (IndexError, ValueError, struct.error) as fault:
        raise _bad(f"it does not decode: {fault}") from fault


def _identity(row: bytes, value: bytes, commit: int) -> None:
    _sized(row, 5)
    at.Identity.decode(value)


def _mirrored(row: bytes, value: bytes, commit: int) -> None:
    _sized(row, 5)
    Mirrored.decode(value)


def _dropped(row: bytes, value: bytes, commit: int) -> None:
    _sized(row, 5)
    _made(at.decode_dropped(value), commit)


def _position(row: bytes, value: bytes, commit: int) -> None:
    _sized(row, 13)
    applied = at.Applied.decode(value)
    if min(getattr(applied, name) for name in ("next_offset", *at.COUNTERS)) < 0:
        raise _bad("a position or a count is less than 0")


def _outbox(row: bytes, value: bytes, commit: int) -> None:
    _sized(row, 13)
    _made(_NUMBER.unpack(row[5:])[0], commit)
    entries = at.decode_outbox(value)
    if at.encode_outbox(entries) != value:
        raise _bad("the row is cut short")


def _seen(row: bytes, value: bytes, commit: int) -> None:
    _sized(row, 25)
    if not value or len(value) % 8:
        raise _bad(f"{len(value)} bytes of times")


def _bucket(row: bytes, value: bytes, commit: int) -> None:
    _sized(row, 33)
    if value:
        raise _bad("the row should be empty")


def _offsets(row: bytes, value: bytes, commit: int) -> None:
    _sized(row, 17)
    offsets = np.frombuffer(value, "<u8")
    if not len(offsets) or int(offsets[0]) != _NUMBER.unpack(row[9:])[0]:
        raise _bad("the first offset is not that of the key")
    if (offsets[1:] <= offsets[:-1]).any():
        raise _bad("offsets do not ascend")


def _judged(row: bytes, value: bytes, commit: int) -> None:
    _sized(row, 9)
    if len(value) != 8:
        raise _bad(f"{len(value)} bytes, not 8")


def _unknown(row: bytes, value: bytes, commit: int) -> None:
    raise _bad(f"a row of kind {row[4:5]!r}")


def _sized(row: bytes, size: int) -> None:
    if len(row) != size:
        raise _bad(f"a key of {len(row)} bytes, not {size}")


def _made(number: int, commit: int) -> None:
    if number > commit:
        raise _bad(f"of commit {number}, which was not made yet")


_Check = Callable[[bytes, bytes, int], None]
_OWN_ROWS: Final[Mapping[bytes, tuple[str, _Check]]] = {
    b"i": ("identities", _identity),
    b"m": ("marks", _mirrored),
    b"o": ("marks", _dropped),
    b"p": ("positions", _position),
    b"x": ("outbox", _outbox),
    b"d": ("seen ids", _seen),
    b"b": ("seen ids", _bucket),
    b"e": ("copies", _offsets),
    b"j": ("copies", _judged),
    b"v": ("verdicts", _offsets),
}


def _bad(detail: str) -> StateCorrupt:
    return StateCorrupt(where="own row", detail=detail)
