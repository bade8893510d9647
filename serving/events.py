"""The body of a push, cut into records: JSON, newline-delimited JSON, or an Arrow stream.

Records leave here as the bytes that the log will hold. From JSON they are the caller's own bytes,
not a re-writing of them, so that a verdict on a record (a field that stands twice, a number too
wide) is about what the caller sent, and a kept bad record is what the caller sent.
"""

from __future__ import annotations

import json
import re
from typing import Final

import orjson
import polars as pl
import pyarrow as pa

from ..engine.plan import StreamPlan
from ..schemas.errors import BadRequest, TooLarge
from ..schemas.types import TIMESTAMP_UNITS
from .protocol import show

NDJSON_TYPES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
ARROW_TYPE: Final = "application/vnd.apache.arrow.stream"

_OPENING: Final = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*')
_BETWEEN: Final = re.compile(r"[ \t\r\n]*(,|\])[ \t\r\n]*")
_CLOSING: Final = re.compile(r"\}[ \t\r\n]*\Z")
_SCAN: Final = json.JSONDecoder().raw_decode


def records_of(
    body: bytes, content_type: str, stream: StreamPlan, count_max: int = 500_000
) -> list[bytes]:
    """The records of a pushed body, in order; no more than `count_max`.

    `content_type` says how to read it; anything but the types above is read as JSON,
    `{"events": [{…}, …]}`. Raises `BadRequest` where the body as a whole is not of its type, and
    `TooLarge` for too many records; what a record holds is not looked at.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == ARROW_TYPE:
        return _from_arrow(body, stream, count_max)
    if kind in NDJSON_TYPES:
        _limit(body.count(b"\n"), count_max)  # before a list is made of them
        return _lines(body)
    records = _from_json(body)
    _limit(len(records), count_max)
    return records


def _limit(count: int, count_max: int) -> None:
    if count > count_max:
        raise TooLarge(what="events", got=count, limit=count_max)


def _lines(body: bytes) -> list[bytes]:
    """One record a line; a line's number is the record's, so a blank line is an empty record."""
    lines = body.split(b"\n")
    if not lines[-1].strip():
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def _from_json(body: bytes) -> list[bytes]:
    try:
        records = _slices(body.decode())
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        records = None
    if records is not None:
        return records
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise BadRequest(
            "the body is not JSON",
            where=f"body, line {fault.lineno}, column {fault.colno}",
            got=fault.msg,
            expected='{"events": [{…}, …]}',
            hint="for one record a line, say `content-type: application/x-ndjson`",
        ) from None
    if type(raw) is not dict or raw.keys() != {"events"} or type(raw["events"]) is not list:
        raise BadRequest(
            "the body is not a list of events",
            where="body",
            got=show(raw),
            expected='an object with one field: {"events": [{…}, …]}',
        )
    return [orjson.dumps(event) for event in raw["events"]]


def _slices(text: str) -> list[bytes] | None:
    """Each element of `events` as it is written; None if the text has another form."""
    opening = _OPENING.match(text)
    if opening is None:
        return None
    at = opening.end()
    records: list[bytes] = []
    if text[at : at + 1] == "]":
        return records if _CLOSING.match(text[at + 1 :].lstrip(" \t\r\n")) else None
    while True:
        _, end = _SCAN(text, at)
        records.append(text[at:end].encode())
        between = _BETWEEN.match(text, end)
        if between is None:
            return None
        at = between.end()
        if between[1] == "]":
            return records if _CLOSING.match(text, at) else None


def _from_arrow(body: bytes, stream: StreamPlan, count_max: int) -> list[bytes]:
    """The rows of an Arrow stream as JSON, less the columns that the stream does not declare."""
    batches, count = [], 0
    try:
        with pa.ipc.open_stream(body) as reader:
            for batch in reader:
                count += len(batch)
                _limit(count, count_max)
                batches.append(batch)
            table = pa.Table.from_batches(batches, reader.schema)
        table.validate(full=True)
    except (pa.ArrowInvalid, OSError) as fault:
        raise BadRequest(
            "the body is not an Arrow stream",
            where="body",
            got=str(fault).partition("\n")[0],
            expected="the IPC streaming format, as pyarrow.ipc.new_stream writes it",
        ) from None
    frame = pl.DataFrame(table)
    declared = [name for name in frame.columns if name in stream.schema]
    if not len(frame) or not declared:
        return [b"{}"] * len(frame)
    frame = frame.select([_as_written(frame[name], stream) for name in declared])
    return frame.write_ndjson().encode().splitlines()


def _as_written(column: pl.Series, stream: StreamPlan) -> pl.Series:
    """Instants as the log writes them: text, or integers of the declared unit."""
    if not isinstance(column.dtype, pl.Datetime):
        return column
    if column.dtype.time_zone is None:
        raise BadRequest(
            "a column of instants has no time zone",
            where=f"column {column.name!r}",
            got=str(column.dtype),
            expected="timestamps in UTC, or in any other named zone",
            hint='in Polars: pl.col(…).dt.replace_time_zone("UTC")',
        )
    unit = stream.schema[column.name].unit
    at_us = column.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if unit is not None:
        return at_us.to_physical() // TIMESTAMP_UNITS[unit]
    return at_us.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
