"""The faults of entities and streams."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..definitions import Kafka
from ..errors import (
    BadEventTime,
    BadKey,
    BadSource,
    BadType,
    DefinitionFault,
    MixedUp,
    one_of,
    shown,
)
from ..time import SECOND_US
from ..types import DataType, Float64
from .checks import (
    column_faults,
    did_you_mean,
    has,
    is_type,
    name_faults,
    span_faults,
    text_faults,
    unknown_column,
)

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def entity_faults(entity: Any) -> Iterator[DefinitionFault]:
    """What is wrong with one entity."""
    place = f"entity {shown(entity.name)}"
    yield from name_faults(entity.name, place)
    yield from text_faults(entity, place)
    yield from column_faults(entity.keys, "keys", place)
    if not isinstance(entity.keys, Mapping):
        return
    for name, dtype in entity.keys.items():
        if is_type(dtype) and (dtype == Float64 or dtype.item is not None):
            why = "a float cannot be part of a key, since equal numbers may differ in their bits"
            if dtype.item is not None:
                why = "a list cannot be part of a key"
            yield BadKey(
                why,
                where=f"{place}, key {shown(name)}",
                got=str(dtype),
                expected="String, Int64, Bool or Timestamp",
                hint="send it as text or as a whole number",
            )


def stream_faults(stream: Any) -> Iterator[DefinitionFault]:
    """What is wrong with one stream."""
    place = f"stream {shown(stream.name)}"
    yield from name_faults(stream.name, place)
    yield from text_faults(stream, place)
    yield from column_faults(stream.schema, "schema", place)
    yield from span_faults(stream.disorder, f"{place}, disorder")
    yield from span_faults(stream.ahead, f"{place}, ahead")
    yield from span_faults(stream.idle_timeout, f"{place}, idle_timeout", least_us=1_000)
    if isinstance(stream.schema, Mapping):
        yield from _event_time_faults(stream, f"{place}, event_time")
        by = stream.partition_by
        if by is not None and not has(stream.schema, by):
            yield unknown_column(by, stream, f"{place}, partition_by")
        elif by is not None and is_type(stream.schema[by]) and stream.schema[by].item is not None:
            yield BadType(
                "events cannot be spread over partitions by a list",
                where=f"{place}, partition_by",
                got=f"{shown(by)} of type {stream.schema[by]}",
                expected="a column of a plain type, such as the key's",
            )
    yield from _unique_faults(stream, place)
    if stream.source is not None:
        yield from _source_faults(stream.source, f"{place}, source")


def _unique_faults(stream: Any, place: str) -> Iterator[DefinitionFault]:
    yield from span_faults(stream.unique_within, f"{place}, unique_within", least_us=SECOND_US)
    name = stream.unique_by
    if name is None or not isinstance(stream.schema, Mapping):
        return
    if not has(stream.schema, name):
        yield unknown_column(name, stream, f"{place}, unique_by")
    elif is_type(stream.schema[name]) and stream.schema[name].kind not in ("string", "int"):
        yield BadKey(
            "a column of this type does not tell one event from another",
            where=f"{place}, unique_by",
            got=f"{name} {stream.schema[name]}",
            expected="String or Int64",
        )


def _event_time_faults(stream: Any, place: str) -> Iterator[DefinitionFault]:
    times = [
        name
        for name, dtype in stream.schema.items()
        if isinstance(dtype, DataType) and dtype.name == "Timestamp"
    ]
    if not has(stream.schema, stream.event_time):
        yield BadEventTime(
            "the event time is not a column of the schema",
            where=place,
            got=shown(stream.event_time),
            expected=one_of(times) or "a column of type Timestamp",
            hint=did_you_mean(stream.event_time, times),
        )
    elif stream.event_time not in times:
        yield BadEventTime(
            f"the event time column {shown(stream.event_time)} is not a Timestamp",
            where=place,
            got=str(stream.schema[stream.event_time]),
            expected="Timestamp",
            hint="declare it tg.Timestamp, or tg.Timestamp.of('ms') for integers",
        )


def _source_faults(source: Any, place: str) -> Iterator[DefinitionFault]:
    if not isinstance(source, Kafka):
        yield MixedUp(
            "this is not a source",
            where=place,
            got=shown(source),
            expected="tg.Kafka(topic=…), or nothing for the embedded log",
        )
        return
    topic: Any = source.topic
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        yield BadSource(
            "this is not the name of a Kafka topic",
            where=place,
            got=shown(topic),
            expected="letters, digits, '.', '_' and '-', at most 249",
        )
    kind: Any = source.format
    if not isinstance(kind, str) or kind != "json":
        yield BadSource(
            "this format cannot be read", where=place, got=shown(kind), expected="'json'"
        )
