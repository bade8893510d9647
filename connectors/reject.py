"""One record, judged strictly: its values, or the reason why it is none of the stream's.

This is what decides. The columnar path of `decode` is taken only for records of which it is known
to give the same; so a verdict never depends on a record's neighbours, nor on where a batch was cut.

The rules: a payload is one JSON object in UTF-8. Fields that the stream does not declare are
skipped, whatever they hold; a missing field is null, except for the event time. A declared field
has its type exactly: text is no number, `5.0` is no Int64, `1` is no Bool; a Float64 takes any
finite number. It stands at most once. Instants lie in the years 1 to 9999. A list is an array, each
element of which has the list's type exactly, or is null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson

from ..schemas.outcomes import RecordCode
from ..schemas.types import TIMESTAMP_UNITS, DataType
from . import rfc3339

_INT64 = range(-(2**63), 2**63)
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,]', re.DOTALL)
_SHOWN_CHARS = 60
_BLANK = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a record is bad: a code for machines, a sentence for people."""

    code: RecordCode
    reason: str


class Judge:
    """The rules above for one schema. Immutable, safe for several threads."""

    __slots__ = ("_columns", "_event_time", "_names", "_record_bytes_max", "_schema")

    def __init__(
        self, schema: Mapping[str, DataType], event_time: str, record_bytes_max: int
    ) -> None:
        self._schema = dict(schema)
        # What reads a value of the type is looked up once, not once a value.
        self._columns = tuple((name, _reader(dtype)) for name, dtype in schema.items())
        self._event_time = event_time
        self._names = tuple(orjson.dumps(name) for name in schema)
        self._record_bytes_max = record_bytes_max

    def judge(self, raw: bytes | None) -> list[Any] | Rejection:
        """The record's values in the schema's order (instants in µs since the epoch), or why not.

        2 µs for a good record of four fields; not recursive, so no nesting can exhaust the stack.
        """
        if raw is None:
            return Rejection(RecordCode.TOMBSTONE, "the record has no value (a tombstone)")
        if len(raw) > self._record_bytes_max:
            return Rejection(
                RecordCode.TOO_LARGE,
                f"the payload has {len(raw)} bytes, more than {self._record_bytes_max}",
            )
        try:
            fields = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            return _not_json(raw, error)
        if type(fields) is not dict:
            return Rejection(RecordCode.NOT_AN_OBJECT, f"expected a JSON object, got {_show(raw)}")
        duplicate = self._duplicate(raw)
        if duplicate is not None:
            return Rejection(
                RecordCode.DUPLICATE_FIELD, f'field "{duplicate}" stands in the record twice'
            )
        if fields.get(self._event_time) is None:
            how = "null" if self._event_time in fields else "missing"
            reason = f'the event time, field "{self._event_time}", is {how}'
            return Rejection(RecordCode.MISSING_EVENT_TIME, reason)
        values = []
        for name, read in self._columns:
            value = fields.get(name)
            if value is not None:
                value = read(value)
                if type(value) is RecordCode:
                    return _mismatch(value, name, self._schema[name], raw)
            values.append(value)
        return values

    def _duplicate(self, raw: bytes) -> str | None:
        """A declared field that stands twice; `raw` is a JSON object."""
        # A name that is found once in the bytes can stand twice only if escapes spell it.
        if b"\\" not in raw:
            for token in self._names:
                if raw.count(token) > 1:
                    break
            else:
                return None
        seen: set[str] = set()
        for token, _ in members(raw):
            name = orjson.loads(token)
            if name in seen and name in self._schema:
                return str(name)
            seen.add(name)
        return None


def members(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The members of a JSON object as it is written: name (with its quotes) and value.

    `raw` must be valid JSON and an object. Duplicates are yielded as often as they stand there.

    >>> list(members(b'{"a": [1, {"b": 2}], "a":"x,y"}'))
    [(b'"a"', b'[1, {"b": 2}]'), (b'"a"', b'"x,y"')]
    """
    depth = 0
    text = name = b""
    value_start = 0
    for match in _TOKEN.finditer(raw):
        token = match.group()
        if token in b"}]":
            depth -= 1
        if (depth == 1 and token == b",") or (depth == 0 and token == b"}"):
            if name:
                yield name, raw[value_start : match.start()].strip(_BLANK)
            name = b""
        elif depth == 1 and token == b":":
            name, value_start = text, match.end()
        elif token in b"{[":
            depth += 1
        else:
            text = token


_Reader = Callable[[Any], Any]
"""From a JSON value to what a column holds, or to the code that says why it cannot."""


def _reader(dtype: DataType) -> _Reader:
    if dtype.item is not None:
        return partial(_list, _READERS[dtype.item.kind])
    if dtype.kind == "time":
        return partial(_ticks, TIMESTAMP_UNITS[dtype.unit]) if dtype.unit else _time
    return _READERS[dtype.kind]


def _string(value: Any) -> Any:
    return value if type(value) is str else RecordCode.WRONG_TYPE


def _float(value: Any) -> Any:
    # Whole numbers come as int; true and false are no numbers here.
    return float(value) if type(value) is float or type(value) is int else RecordCode.WRONG_TYPE


def _bool(value: Any) -> Any:
    return value if type(value) is bool else RecordCode.WRONG_TYPE


def _int(value: Any) -> Any:
    return value if type(value) is int and value in _INT64 else RecordCode.WRONG_TYPE


def _time(value: Any) -> Any:
    return _instant(rfc3339.parse_one(value) if type(value) is str else None)


def _ticks(unit_us: int, value: Any) -> Any:
    return _instant(value * unit_us if type(value) is int else None)


def _instant(at_us: int | None) -> Any:
    if at_us is None:
        return RecordCode.WRONG_TYPE
    if not rfc3339.FIRST_US <= at_us < rfc3339.END_US:
        return RecordCode.TIME_OUT_OF_RANGE
    return at_us


def _list(read: _Reader, value: Any) -> Any:
    if type(value) is not list:
        return RecordCode.WRONG_TYPE
    elements = [None if element is None else read(element) for element in value]
    # By its type: a text that is spelled like a code is equal to it.
    wrong = any(type(element) is RecordCode for element in elements)
    return RecordCode.WRONG_TYPE if wrong else elements


_READERS: Mapping[str, _Reader] = MappingProxyType(
    {"string": _string, "float": _float, "bool": _bool, "int": _int}
)


def _mismatch(code: RecordCode, name: str, dtype: DataType, raw: bytes) -> Rejection:
    value = next(v for token, v in members(raw) if orjson.loads(token) == name)
    place = f'field "{name}"'
    if dtype.item is not None and value.startswith(b"["):
        number, dtype, value = _wrong_element(value, dtype.item)
        place += f", element {number}"
    if code is RecordCode.TIME_OUT_OF_RANGE:
        return Rejection(code, f"{place}: {_show(value)} is outside the years 1 to 9999")
    expected = str(dtype)
    if dtype.kind == "time":
        text = "RFC 3339 text with Z or an offset"
        expected = f"{dtype} ({f'whole {dtype.unit} since 1970' if dtype.unit else text})"
    elif dtype.kind == "int" and re.fullmatch(rb"-?[0-9]+", value):
        expected = f"{dtype} (64 bits)"
    return Rejection(code, f"{place}: expected {expected}, got {_show(value)}")


def _wrong_element(array: bytes, item: DataType) -> tuple[int, DataType, bytes]:
    """The place, from 0, the expected type and the JSON of the first element of a wrong type."""
    read = _READERS[item.kind]
    elements = enumerate(orjson.loads(array))
    number, found = next(
        (number, one)
        for number, one in elements
        if one is not None and type(read(one)) is RecordCode
    )
    return number, item, orjson.dumps(found)


def _not_json(raw: bytes, error: orjson.JSONDecodeError) -> Rejection:
    if not raw.strip(_BLANK):
        what = f"holds nothing but {len(raw)} blanks" if raw else "is empty"
        return Rejection(RecordCode.EMPTY_PAYLOAD, f"the payload {what}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as failure:
        byte = raw[failure.start]
        return Rejection(RecordCode.NOT_UTF8, f"byte {failure.start} (0x{byte:02x}) is not UTF-8")
    near = text[max(0, error.pos - 10) : error.pos + 20]
    return Rejection(
        RecordCode.MALFORMED, f"not valid JSON: {error.msg} at character {error.pos}, near {near!r}"
    )


def _show(value: bytes) -> str:
    """The beginning of JSON text, on one line, for a message."""
    text = " ".join(value.decode().split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
