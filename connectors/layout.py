r"""Which records are plainly right, decided for a whole batch by one regular expression.

A columnar JSON reader is lenient: it takes a number for text, the last of two equal fields, half a
surrogate pair for a zero. A strict reader of single records is three times slower. But a producer
writes its fields in one order, so nearly all records of a stream match a pattern that can be
learned from one of them:

    {"card": STRING (, "amount": NUMBER)? (, "at": TIME)?}

A record that matches its *layout* is, by the pattern alone, a JSON object with each name at most
once and unescaped, and each value of its declared type or null. What the lenient reader makes of
such records is what a strict one would (tested). A record that does not match may be good all
the same; it is judged by itself (`reject`). So a layout decides about speed, never about a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..schemas.types import DataType
from . import rfc3339
from .payloads import Payloads
from .reject import Judge, members

_HEX = "[0-9a-fA-F]"
_ESCAPE = (
    r'\\(?:["\\/bfnrt]'
    rf"|u(?:[0-9abcefABCEF]{_HEX}{{3}}|[dD][0-7]{_HEX}{{2}}"
    rf"|[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}))"
)
_STRING = rf'"(?:[^"\\\x00-\x1f]|{_ESCAPE})*"'
_INTEGER = "-?(?:0|[1-9][0-9]{0,17})"  # 18 digits fit an int64, whatever they are
_NUMBER = rf"{_INTEGER}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{{1,2}})?"  # below 1e118: never infinite
_BOOL = "true|false"
_OF_KIND = {"string": _STRING, "int": _INTEGER, "float": _NUMBER, "bool": _BOOL}

_LAYOUTS_MAX = 8
_TRIES_MAX = 4  # layouts learned a batch
_DEPTH_MAX = 4  # of values that are skipped; each level doubles the pattern
_PATTERN_CHARS_MAX = 30_000
_SAMPLE_ROWS = 64
_LEARN_ROWS_MIN = 32  # below, judging the records one by one costs less than a new pattern
_GAIN_ROWS_MIN = 8  # of a sample that a new layout must match to be kept


class Layouts:
    """The layouts of one stream, learned as its records come, the most useful ones first."""

    __slots__ = ("_judge", "_patterns", "_schema")

    def __init__(self, schema: Mapping[str, DataType], judge: Judge) -> None:
        self._schema = schema
        self._judge = judge
        self._patterns: list[str] = []

    def matches(self, payloads: Payloads) -> NDArray[np.bool_]:
        """Which records match a layout; bool (n,). Learns new ones from records that match none."""
        clean = np.zeros(len(payloads), np.bool_)
        rest = np.arange(len(payloads))
        for pattern in tuple(self._patterns):
            rest = self._mark(pattern, payloads, rest, clean)
            if not len(rest):
                return clean
        for attempt in range(_TRIES_MAX):
            if len(rest) < _LEARN_ROWS_MIN:
                break
            sample = rest[:: -(-len(rest) // _SAMPLE_ROWS)]
            learned = self._learn(payloads.take(sample), attempt)
            if learned is not None:
                rest = self._mark(learned, payloads, rest, clean)
                self._patterns = [*self._patterns[-_LAYOUTS_MAX + 1 :], learned]
        return clean

    def _mark(
        self,
        pattern: str,
        payloads: Payloads,
        rows: NDArray[np.int64],
        clean: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Mark those of `rows` that match as clean; returns the others."""
        part = payloads if len(rows) == len(payloads) else payloads.take(rows)
        matched = _matched(pattern, part)
        clean[rows[matched]] = True
        return rows[~matched]

    def _learn(self, sample: Payloads, attempt: int) -> str | None:
        """A layout that many of `sample` have, found at the attempt's share of the sample."""
        record = sample.record(attempt * len(sample) // _TRIES_MAX)
        if record is None or not isinstance(self._judge.judge(record), list):
            return None
        pattern = layout(record, self._schema)
        if pattern is None or int(_matched(pattern, sample).sum()) < _GAIN_ROWS_MIN:
            return None
        return pattern


def layout(record: bytes, schema: Mapping[str, DataType]) -> str | None:
    """The pattern of records like `record`, which must be good by `Judge`; RE2 syntax over bytes.

    All fields but the first may be missing, any value may be null, and a blank may follow each of
    `:` and `,`. None where no pattern says it: escaped names, deeply nested values.
    """
    parts = []
    for name, value in members(record):
        if b"\\" in name:
            return None
        declared = schema.get(name[1:-1].decode())
        value_pattern = _any(value) if declared is None else _declared(declared)
        if value_pattern is None:
            return None
        parts.append(f"{_literal(name)}: ?(?:null|{value_pattern})")
    if not parts:
        return None
    rest = "".join(f"(?:, ?{part})?" for part in parts[1:])
    pattern = rf"\A\{{{parts[0]}{rest}\}}\n?\z"  # the newline is the buffer's separator
    return pattern if len(pattern) <= _PATTERN_CHARS_MAX else None


def _declared(dtype: DataType) -> str:
    if dtype.item is not None:
        item = f"(?:null|{_OF_KIND[dtype.item.kind]})"
        return rf"\[(?:{item}(?:, ?{item})*)?\]"
    if dtype.kind == "time":
        return _INTEGER if dtype.unit else f'"{rfc3339.PATTERN}"'
    return _OF_KIND[dtype.kind]


def _any(value: bytes) -> str | None:
    """The pattern of any value that is no more deeply nested than `value`."""
    depth = deepest = 0
    for bracket in re.findall(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', value):
        depth += (bracket in b"[{") - (bracket in b"]}")
        deepest = max(deepest, depth)
    if deepest > _DEPTH_MAX:
        return None
    pattern = f"null|{_BOOL}|{_NUMBER}|{_STRING}"
    for _ in range(deepest):
        item, entry = f"(?:{pattern})", f"{_STRING}: ?(?:{pattern})"
        nested = rf"\[(?:{item}(?:, ?{item})*)?\]|\{{(?:{entry}(?:, ?{entry})*)?\}}"
        pattern = f"null|{_BOOL}|{_NUMBER}|{_STRING}|{nested}"
    return pattern


def _literal(name: bytes) -> str:
    return "".join(c if c.isalnum() or ord(c) > 127 else f"\\x{ord(c):02x}" for c in name.decode())


def _matched(pattern: str, payloads: Payloads) -> NDArray[np.bool_]:
    """Which records match; each is matched with the separator that follows it."""
    count = len(payloads)
    offsets = np.empty(count + 1, np.int64)
    offsets[0] = 0
    offsets[1:] = payloads.ends + 1
    offsets[-1] = len(payloads.data)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(payloads.data)]
    records = pa.Array.from_buffers(pa.large_binary(), count, buffers)
    matched = pc.match_substring_regex(records, pattern)
    result: NDArray[np.bool_] = matched.to_numpy(zero_copy_only=False)
    return result
