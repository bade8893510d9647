"""The types a column can have: five plain ones, and lists of four of these.

Definitions name them (`tg.Float64`), decoders parse into them, frames hold them as Polars types,
and aggregates say which *kinds* they take. Five are enough because every one of them has exactly
one representation in state; narrower numbers are widened on the way in. Lists are not nested, and
hold no instants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import polars as pl
import pyarrow as pa

Kind = Literal["float", "int", "bool", "time", "string", "list", "map"]

TIMESTAMP_UNITS: Mapping[str, int] = MappingProxyType({"s": 1_000_000, "ms": 1_000, "us": 1})
"""Units in which a log may carry instants as integers, with their length in µs."""


_MAP: Final = "Map"
_LIST: Final = "List"


@dataclass(frozen=True, slots=True)
class DataType:
    """A column's type; use `String`, `Int64`, `Float64`, `Bool`, `Timestamp`, or `List` of one.

    `unit` is for `Timestamp` alone, and says how the *log* writes an instant: `None` means RFC 3339
    text (`"2024-05-01T12:00:00.25Z"`), `"s"`, `"ms"`, `"us"` integers since the epoch. In frames
    every Timestamp is `Datetime("us", "UTC")`, whatever the log's unit. `item` is for lists,
    and for maps, which features may be and columns may not (`List`, `map_of`).
    """

    name: str
    unit: str | None = None
    item: DataType | None = None

    def of(self, unit: str) -> DataType:
        """This type with the unit in which the log writes it: `Timestamp.of("ms")`.

        >>> Timestamp.of("ms")
        Timestamp.of('ms')
        """
        return DataType(self.name, unit)

    @property
    def kind(self) -> Kind:
        """The class of values, which is what aggregates look at."""
        if self.item is not None:
            return "map" if self.name == _MAP else "list"
        return _FACTS[self.name].kind

    @property
    def polars(self) -> pl.DataType:
        """The type of such a column in a frame."""
        if self.item is not None:
            item = self.item.polars
            return pl.Map(pl.String(), item) if self.name == _MAP else pl.List(item)
        return _FACTS[self.name].polars

    @property
    def arrow(self) -> pa.DataType:
        """The type of such a column in an Arrow table."""
        if self.item is not None:
            item = self.item.arrow
            return pa.map_(pa.large_string(), item) if self.name == _MAP else pa.large_list(item)
        return _FACTS[self.name].arrow

    @property
    def known(self) -> bool:
        """Whether a column may have it: a plain type with a unit that it can have, or a list."""
        if self.item is not None:
            item: Any = self.item  # whatever stood in the brackets of `List(…)`
            is_plain = isinstance(item, DataType) and item in ITEM_TYPES
            return is_plain and self.name == _LIST and self.unit is None
        if self.name not in _FACTS:
            return False
        return self.unit is None or (self.name == "Timestamp" and self.unit in TIMESTAMP_UNITS)

    def __repr__(self) -> str:
        if self.item is not None:
            return f"{self.name}({self.item})"
        return self.name if self.unit is None else f"{self.name}.of({self.unit!r})"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class _Facts:
    kind: Kind
    polars: pl.DataType
    arrow: pa.DataType
    python: type | tuple[type, ...]


_FACTS: Mapping[str, _Facts] = MappingProxyType(
    {
        "String": _Facts("string", pl.String(), pa.large_string(), str),
        "Int64": _Facts("int", pl.Int64(), pa.int64(), int),
        "Float64": _Facts("float", pl.Float64(), pa.float64(), (float, int)),
        "Bool": _Facts("bool", pl.Boolean(), pa.bool_(), bool),
        "Timestamp": _Facts("time", pl.Datetime("us", "UTC"), pa.timestamp("us", "UTC"), int),
    }
)

String = DataType("String")
Int64 = DataType("Int64")
Float64 = DataType("Float64")
Bool = DataType("Bool")
Timestamp = DataType("Timestamp")

TYPES: Mapping[str, DataType] = MappingProxyType(
    {known.name: known for known in (String, Int64, Float64, Bool, Timestamp)}
)
"""The plain types by name, without units."""

ITEM_TYPES: Final = (String, Int64, Float64, Bool)
"""What a column of lists may be lists of."""


def List(item: DataType) -> DataType:  # noqa: N802 - it stands among the types, and is named so
    """Lists of values of a plain type but Timestamp, as a column: `tg.List(tg.String)`.

    A list may be null and may be empty; an element may be null, and is then as good as none.

    >>> List(String), List(String).kind, List(String).known, List(List(String)).known
    (List(String), 'list', True, False)
    """
    return DataType(_LIST, item=item)


def list_of(item: DataType) -> DataType:
    """Lists of values of a column's type: what some aggregates give.

    >>> list_of(Float64), list_of(Timestamp.of("ms")), list_of(Float64).kind
    (List(Float64), List(Timestamp), 'list')
    """
    return DataType(_LIST, item=DataType(item.name))


def map_of(item: DataType) -> DataType:
    """Maps from a text to values of a type: what an aggregate `by=` a second column gives.

    >>> map_of(Float64), map_of(list_of(Int64)), map_of(Float64).kind
    (Map(Float64), Map(List(Int64)), 'map')
    """
    return DataType(_MAP, item=DataType(item.name, item=item.item))


def type_of_polars(dtype: pl.DataType) -> DataType | None:
    """Our type for what Polars computed, or None if it has no place here.

    Integers up to 64 bits signed and narrower floats count as the type they widen to without loss.

    >>> type_of_polars(pl.UInt32()), type_of_polars(pl.Duration("us"))
    (Int64, None)
    """
    if dtype == pl.Boolean:
        return Bool
    if dtype == pl.String:
        return String
    if dtype in (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32):
        return Int64
    if dtype in (pl.Float32, pl.Float64):
        return Float64
    if isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC" and dtype.time_unit == "us":
        return Timestamp
    return None


def accepts_value(dtype: DataType, value: Any) -> bool:
    """Whether a Python value can stand where a value of `dtype` is served; bool is no integer.

    Timestamps are served as integers, µs since the epoch.

    >>> accepts_value(Float64, 1), accepts_value(Int64, True), accepts_value(Int64, 2**63)
    (True, False, False)
    """
    if dtype.item is not None:
        item = dtype.item
        if dtype.name == _MAP:
            return isinstance(value, dict) and all(
                isinstance(key, str) and accepts_value(item, one) for key, one in value.items()
            )
        return isinstance(value, list) and all(accepts_value(item, one) for one in value)
    if not isinstance(value, _FACTS[dtype.name].python):
        return False
    if isinstance(value, bool):
        return dtype.name == "Bool"
    return not isinstance(value, int) or -(2**63) <= value < 2**63
