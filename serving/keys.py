"""From key columns of a request to encoded entity keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..schemas.errors import BadRequest, MissingKey, WrongKeyType
from ..state.keys import encode_key
from .protocol import parse_instant, show

_TYPE_OF_KIND = {"string": str, "int": int, "bool": bool}
_EXPECTED = {
    "string": "text",
    "int": "a whole number of 64 bits",
    "bool": "true or false",
    "time": "RFC 3339 text with Z or an offset, or whole µs since 1970",
}
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class KeyColumns:
    """The key of one entity: its columns with the kinds of their values, in the key's order."""

    entity: str
    columns: tuple[tuple[str, str], ...]

    def encode(self, keys: Mapping[str, list[Any]], key_count: int) -> list[bytes | None]:
        """The encoded key of each row; None where any of its values is null.

        Raises `MissingKey` for a column that is not there, `WrongKeyType` for a value that does
        not have its column's type.
        """
        values = []
        for column, kind in self.columns:
            given = keys.get(column)
            if given is None:
                raise MissingKey(column=column, needed_by=f"the entity {self.entity!r}")
            values.append(_checked(column, kind, given))
        kinds = [kind for _, kind in self.columns]
        if key_count == 1:
            row = tuple([column[0] for column in values])
            return [None if None in row else encode_key(row, kinds)]
        return [
            None if None in row else encode_key(row, kinds) for row in zip(*values, strict=True)
        ]


def _checked(column: str, kind: str, values: Sequence[Any]) -> Sequence[Any]:
    """The values as a key holds them, instants in µs."""
    if kind == "time":
        return [_instant(column, index, value) for index, value in enumerate(values)]
    wanted = _TYPE_OF_KIND[kind]
    for index, value in enumerate(values):
        right = type(value) is wanted and (wanted is not int or value in _INT64)
        if not right and value is not None:
            raise _wrong(column, index, kind, value)
    return values


def _instant(column: str, index: int, value: Any) -> int | None:
    if value is None:
        return None
    try:
        return parse_instant(value, column)
    except BadRequest:
        raise _wrong(column, index, "time", value) from None


def _wrong(column: str, index: int, kind: str, value: Any) -> WrongKeyType:
    return WrongKeyType(column=column, index=index, got=show(value), expected=_EXPECTED[kind])
