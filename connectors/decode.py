"""From payloads to columns: one micro-batch of JSON records in, one frame and the bad ones out.

Nearly all records go through a columnar reader in one call: first those that a learned layout
proves clean (`layout`), parsed together; all others are judged one by one (`reject`). Both ways
give the same values for the same bytes, so

    decode(batch) = decode(first record) + decode(second record) + …

whatever the batch and whatever was decoded before (tested). A bad record costs its own judgement
and nothing else: none is lost, none takes its neighbours with it.

Measured on one core, four fields in 95 bytes: see `benchmarks/decode.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ..schemas.outcomes import BadRecord
from ..schemas.types import TIMESTAMP_UNITS, DataType
from . import rfc3339
from .layout import Layouts
from .payloads import Payloads
from .reject import Judge, Rejection
from .source import Origins, RawBatch

MIB_BYTES = 1 << 20
_COLUMNAR_ROWS_MIN = 128  # the columnar reader's fixed cost is 0.2 ms: 100 judged records


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """The rows of one micro-batch, and its bad records apart.

    `offsets`, `log_us`, `event_us` (int64) and `frame` (the stream's columns, in order) have one
    row a good record, by ascending offset; `bad` ascends too. No event time is null.
    `next_offset` is where to read on, past good and bad ones alike. `raw` is what was decoded, kept
    for records that a later step turns away; a replay, which has columns alone, has None.
    `stamped_by_producer` and `origins` are `RawBatch`'s; the former is False where a log timestamp
    was judged before, `origins` has an entry a record, good and bad. `copies` are the offsets of
    rows that a replay knows for copies of others.
    """

    partition: str
    next_offset: int
    offsets: NDArray[np.int64]
    log_us: NDArray[np.int64]
    event_us: NDArray[np.int64]
    frame: pl.DataFrame
    bad: tuple[BadRecord, ...]
    read_count: int
    raw: RawBatch | None = None
    stamped_by_producer: bool = False
    origins: Origins | None = None
    copies: NDArray[np.int64] | None = None

    def payload(self, offset: int) -> bytes | None:
        """The bytes of the record at `offset` as they came; None where only columns were kept."""
        if self.raw is None:
            return None
        return self.raw.payloads.record(int(np.searchsorted(self.raw.offsets, offset)))


class JsonDecoder:
    """Decodes records that are one JSON object each, by the rules in `reject`.

    `schema` are the stream's columns, `event_time` is one of them; a payload longer than
    `record_bytes_max` is bad. Remembers layouts, for speed alone. Not safe for several threads.
    """

    __slots__ = (
        "_event_time",
        "_judge",
        "_layouts",
        "_nothing",
        "_record_bytes_max",
        "_schema",
        "_wire_schema",
    )

    def __init__(
        self,
        schema: Mapping[str, DataType],
        event_time: str,
        record_bytes_max: int = MIB_BYTES,
    ) -> None:
        self._schema = dict(schema)
        self._wire_schema = {name: _wire_type(dtype) for name, dtype in self._schema.items()}
        self._event_time = event_time
        self._record_bytes_max = record_bytes_max
        self._judge = Judge(self._schema, event_time, record_bytes_max)
        self._layouts = Layouts(self._schema, self._judge)
        self._nothing = self._frame_of([])

    def decode(self, raw: RawBatch) -> DecodedBatch:
        """The rows and the bad records of `raw`; never raises for what a record holds."""
        rows, frame = self._read_clean(raw.payloads)
        bad: tuple[BadRecord, ...] = ()
        if len(rows) < len(raw):
            judged_rows, judged, bad = self._judge_rest(raw, rows)
            if not len(rows):
                rows, frame = judged_rows, judged
            elif len(judged_rows):
                rows = np.concatenate((rows, judged_rows))
                order = np.argsort(rows)
                rows, frame = rows[order], pl.concat([frame, judged])[order]
        return DecodedBatch(
            partition=raw.partition,
            next_offset=raw.next_offset,
            offsets=raw.offsets[rows],
            log_us=raw.log_us[rows],
            event_us=frame[self._event_time].to_physical().to_numpy(),
            frame=frame,
            bad=bad,
            read_count=len(raw),
            raw=raw,
            stamped_by_producer=raw.stamped_by_producer,
            origins=raw.origins,
        )

    def _read_clean(self, payloads: Payloads) -> tuple[NDArray[np.int64], pl.DataFrame]:
        """The rows that the columnar reader decodes, ascending, and what it makes of them."""
        none = np.empty(0, np.int64), self._nothing
        if len(payloads) < _COLUMNAR_ROWS_MIN:
            return none
        clean = self._layouts.matches(payloads)
        clean &= payloads.lengths_bytes <= self._record_bytes_max
        clean &= _utf8(payloads)
        rows = np.flatnonzero(clean)
        chosen = payloads if len(rows) == len(payloads) else payloads.take(rows)
        wire = self._read_wire(chosen) if len(rows) else None
        if wire is None:
            return none
        frame, good = self._without_bad_instants(wire)
        return rows[good], frame

    def _read_wire(self, payloads: Payloads) -> pl.DataFrame | None:
        """The columns as they are written; None if the reader does not take them as records.

        It takes all that a layout matches (tested). Should it ever not, the records are judged one
        by one: slower, and right.
        """
        try:
            wire = pl.read_ndjson(payloads.data, schema=self._wire_schema)
        except pl.exceptions.PolarsError:
            return None
        return wire if len(wire) == len(payloads) else None

    def _without_bad_instants(self, wire: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
        """The final columns of rows whose instants are right, and which rows those are."""
        good = np.ones(len(wire), np.bool_)
        columns: list[pl.Series] = []
        for name, dtype in self._schema.items():
            column = wire[name]
            if dtype.kind == "time":
                null = column.is_null().to_numpy()
                at_us, valid = _instants(column, dtype)
                good &= valid | (null & (name != self._event_time))
                column = _time_column(name, at_us, null)
            columns.append(column)
        frame = pl.DataFrame(columns)
        return (frame if good.all() else frame.filter(good)), good

    def _judge_rest(
        self, raw: RawBatch, decoded_rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], pl.DataFrame, tuple[BadRecord, ...]]:
        """Judge all other records one by one: rows that are good, their frame, the bad ones."""
        rest = np.ones(len(raw), np.bool_)
        rest[decoded_rows] = False
        rows = np.flatnonzero(rest)
        good: list[int] = []
        values: list[list[Any]] = []
        bad: list[BadRecord] = []
        judge = self._judge.judge
        for row, record in zip(rows.tolist(), raw.payloads.take(rows), strict=True):
            verdict = judge(record)
            if isinstance(verdict, Rejection):
                offset, log_us = int(raw.offsets[row]), int(raw.log_us[row])
                bad.append(BadRecord(offset, log_us, verdict.code, verdict.reason, record or b""))
            else:
                good.append(row)
                values.append(verdict)
        return np.array(good, np.int64), self._frame_of(values), tuple(bad)

    def _frame_of(self, values: list[list[Any]]) -> pl.DataFrame:
        """The frame of judged rows."""
        columns = list(zip(*values, strict=True)) if values else [()] * len(self._schema)
        series = []
        for (name, dtype), column in zip(self._schema.items(), columns, strict=True):
            if dtype.kind == "time":
                series.append(pl.Series(name, column, pl.Int64).cast(dtype.polars))
            else:
                series.append(pl.Series(name, column, dtype.polars))
        return pl.DataFrame(series)


def _wire_type(dtype: DataType) -> pl.DataType:
    """How the log writes a column: instants are text or integers there."""
    if dtype.kind != "time":
        return dtype.polars
    return pl.Int64() if dtype.unit else pl.String()


def _instants(column: pl.Series, dtype: DataType) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """µs since the epoch, and which of them are instants that a stream may hold."""
    if dtype.unit is None:
        at_us, valid = rfc3339.parse(column)
        return at_us, valid & (at_us >= rfc3339.FIRST_US) & (at_us < rfc3339.END_US)
    unit_us = TIMESTAMP_UNITS[dtype.unit]
    ticks = column.fill_null(0).to_numpy()
    # Compared before they are multiplied: the product could wrap around into the range.
    valid = (ticks >= rfc3339.FIRST_US // unit_us) & (ticks < rfc3339.END_US // unit_us)
    return ticks * unit_us, valid & column.is_not_null().to_numpy()


def _time_column(name: str, at_us: NDArray[np.int64], null: NDArray[np.bool_]) -> pl.Series:
    column = pl.Series(name, at_us)
    if null.any():
        column = column.set(pl.Series(null), None)
    return column.cast(pl.Datetime("us", "UTC"))


def _utf8(payloads: Payloads) -> NDArray[np.bool_]:
    """Which records are valid UTF-8; bool (n,)."""
    data = payloads.data
    right = np.ones(len(payloads), np.bool_)
    if data.isascii() or _is_utf8(data):
        return right
    beyond_ascii = np.flatnonzero(np.frombuffer(data, np.uint8) > 0x7F)
    for row in np.unique(np.searchsorted(payloads.ends, beyond_ascii)).tolist():
        right[row] = _is_utf8(payloads.record(row) or b"")
    return right


def _is_utf8(data: bytes) -> bool:
    """Whether all of `data` is UTF-8, five times faster than decoding it."""
    offsets = np.array([0, len(data)], np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    try:
        pa.Array.from_buffers(pa.large_string(), 1, buffers).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
