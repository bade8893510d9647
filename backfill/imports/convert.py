"""From rows elsewhere to records as a push would send them.

What a record means is then decided by the stream's own decoder, by the same rules as for a push:
there is no second judgement. A value that does not fit its column's type is written as it is, so
that the decoder turns the record away and its dead letter shows the value.

Types widen, and never narrow: 32-bit numbers to 64, decimals to floats, dates to their midnight.
Instants without a zone are UTC. Columns of text files hold texts; there a number or an instant is
read as the stream's type says, and an empty cell is null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import polars as pl

from ...connectors.payloads import Payloads
from ...schemas.errors import BadRequest, one_of
from ...schemas.types import TIMESTAMP_UNITS, DataType
from .sources import Rows

_RFC3339: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"
_DATE: Final = r"^\d{4}-\d{2}-\d{2}$"
_INSTANT: Final = (
    r"^(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<time>\d{2}:\d{2}:\d{2}(?:\.\d+)?)"
    r" ?(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?)?$"
)
_PLAIN: Final = (pl.String, pl.Boolean, pl.Null, pl.Float64, pl.Date)


@dataclass(frozen=True, slots=True)
class _Written:
    """A column as JSON is to hold it; `odd` are rows whose value is not of the column's type.

    Those are written as `raw` has them.
    """

    values: pl.Series
    raw: pl.Series
    odd: pl.Series | None = None


class Converter:
    """Rows of one source to payloads of one stream."""

    def __init__(
        self,
        schema: Mapping[str, DataType],
        event_time: str,
        mapping: Mapping[str, str],
        columns: Sequence[str] | None,
        *,
        is_text: bool = False,
    ) -> None:
        """`mapping` names the source's column for columns of the stream; others have one name.

        `columns` are the source's (None: they are not known before they are read). Raises
        `BadRequest` for columns that are not there, the event time's among them.
        """
        for name in mapping:
            if name not in schema:
                raise BadRequest(
                    f"the stream has no column {name!r}",
                    where="--map",
                    got=f"{name}={mapping[name]}",
                    expected=one_of(tuple(schema)),
                    hint="the stream's column comes first: --map amount=paid_eur",
                )
        self.sources = {name: mapping.get(name, name) for name in schema}
        self._schema = schema
        self._is_text = is_text
        self._renamed = any(name != source for name, source in self.sources.items())
        self.missing: tuple[str, ...] = ()
        if columns is None:
            return
        self.missing = tuple(name for name, of in self.sources.items() if of not in columns)
        needed = [name for name in self.missing if name == event_time or name in mapping]
        if needed:
            raise BadRequest(
                "the source lacks columns that are needed",
                where=", ".join(needed),
                got=f"columns {', '.join(columns)}",
                expected=", ".join(self.sources[name] for name in needed),
                hint=f"name the source's own: --map {needed[0]}=…",
            )

    def payloads(self, rows: Rows) -> Payloads:
        """A record a row, in order. O(rows), columnar but for odd rows and renamed JSON."""
        if isinstance(rows, list):
            return Payloads.from_list([*map(self._renamed_record, rows)] if self._renamed else rows)
        written: dict[str, _Written] = {}
        for name, dtype in self._schema.items():
            if self.sources[name] in rows.columns:
                written[name] = self._written(name, rows[self.sources[name]], dtype)
        frame = pl.DataFrame([one.values.alias(name) for name, one in written.items()])
        odd = [one.odd for one in written.values() if one.odd is not None and one.odd.any()]
        if not odd:
            return _lines(frame)
        is_odd = odd[0]
        for one in odd[1:]:
            is_odd = is_odd | one
        records: list[bytes | None] = [*_lines(frame)]
        for row in is_odd.arg_true().to_list():
            records[row] = orjson.dumps({name: _value(one, row) for name, one in written.items()})
        return Payloads.from_list(records)

    def _renamed_record(self, record: bytes) -> bytes:
        """A record with its fields named as the stream does; what is no object stays as it is."""
        try:
            fields = orjson.loads(record)
        except orjson.JSONDecodeError:
            return record
        if not isinstance(fields, dict):
            return record
        pairs = self.sources.items()
        return orjson.dumps({name: fields[of] for name, of in pairs if of in fields})

    def _written(self, name: str, values: pl.Series, dtype: DataType) -> _Written:
        if isinstance(values.dtype, pl.Categorical | pl.Enum):
            values = values.cast(pl.String)
        elif isinstance(values.dtype, pl.Decimal | pl.Float32):
            values = values.cast(pl.Float64)
        elif not _can_be_written(values.dtype):
            raise BadRequest(
                f"a column of the source has a type that no stream's column has: {values.dtype}",
                where=f"{self.sources[name]}, for {name}",
                expected=str(dtype),
                hint="leave it out, or CAST it in `--query`",
            )
        if self._is_text and values.dtype == pl.String:
            read = _FROM_TEXT.get(dtype.kind)
            return _Written(values, values) if read is None else read(values, dtype)
        if dtype.kind == "time" and values.dtype.is_temporal():
            return _instants(values, dtype)
        if values.dtype.is_temporal():
            values = _as_text(values.cast(pl.Datetime("us", "UTC")))
        return _Written(values, values)


def _can_be_written(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List):
        inner: Any = dtype.inner
        return not isinstance(inner, pl.List) and _can_be_written(inner)
    return dtype in _PLAIN or dtype.is_integer() or isinstance(dtype, pl.Datetime | pl.Float32)


def _value(one: _Written, row: int) -> Any:
    is_odd = one.odd is not None and one.odd[row]
    value = (one.raw if is_odd else one.values)[row]
    return value.to_list() if isinstance(value, pl.Series) else value


def _instants(values: pl.Series, dtype: DataType) -> _Written:
    at = values.cast(pl.Datetime("us"))
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        at = values.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    at = at.to_physical().cast(pl.Datetime("us", "UTC"))
    text = _as_text(at)
    if dtype.unit is None:
        return _Written(text, text)
    unit_us = TIMESTAMP_UNITS[dtype.unit]
    ticks = at.to_physical()
    return _Written(ticks // unit_us, text, (ticks % unit_us != 0).fill_null(False))


def _as_text(at: pl.Series) -> pl.Series:
    return at.dt.strftime(_RFC3339)


def _parsed(text: pl.Series, parsed: pl.Series) -> _Written:
    return _Written(parsed, text, text.is_not_null() & parsed.is_null())


def _int(text: pl.Series, dtype: DataType) -> _Written:
    return _parsed(text, text.str.strip_chars().cast(pl.Int64, strict=False))


def _float(text: pl.Series, dtype: DataType) -> _Written:
    parsed = text.str.strip_chars().cast(pl.Float64, strict=False)
    return _parsed(text, parsed.set(~parsed.is_finite().fill_null(True), None))


def _bool(text: pl.Series, dtype: DataType) -> _Written:
    lower = text.str.strip_chars().str.to_lowercase()
    either = lower.is_in(["true", "false"])
    return _parsed(text, (lower == "true").set(~either.fill_null(True), None))


def _time(text: pl.Series, dtype: DataType) -> _Written:
    """Of text with a zone, without one (UTC), or a date alone; of integers where so declared."""
    text = text.str.strip_chars()
    if dtype.unit is not None:
        return _parsed(text, text.cast(pl.Int64, strict=False))
    parts = pl.col("at").str.extract_groups(_INSTANT)
    zone = parts.struct.field("zone")
    made = text.to_frame("at").select(
        pl.when(pl.col("at").str.contains(_DATE))
        .then(pl.col("at") + "T00:00:00Z")
        .when(parts.struct.field("date").is_null())
        .then(pl.col("at"))  # as it is, for the decoder to judge
        .otherwise(
            pl.concat_str(
                parts.struct.field("date"),
                pl.lit("T"),
                parts.struct.field("time"),
                pl.when(zone.is_null() | zone.is_in(["Z", "UTC"]))
                .then(pl.lit("Z"))
                .when(zone.str.len_bytes() == 3)
                .then(zone + ":00")
                .otherwise(zone.str.slice(0, 3) + ":" + zone.str.slice(-2)),
            )
        )
    )
    return _Written(made.to_series(), text)


_FROM_TEXT: Final[Mapping[str, Callable[[pl.Series, DataType], _Written]]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "time": _time,
}


def _lines(frame: pl.DataFrame) -> Payloads:
    """A JSON object a row. The writer escapes line ends, so a line is a record."""
    if not frame.height:
        return Payloads.from_list([])
    data = frame.write_ndjson().encode()
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    return Payloads(data[:-1], ends.astype(np.int64))
