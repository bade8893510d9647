"""Definitions as plain JSON, and a set of definitions from whatever a user wrote.

`dump` and `load` are what the registry stores: expressions in normal form, spans as their shortest
text, references by name. Promise: `dump(load(dump(d))) == dump(d)` for every valid set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType, ModuleType
from typing import Any

import polars as pl

from .definitions import (
    CATEGORIES_SHOWN,
    AggregateSpec,
    Definitions,
    Entity,
    Feature,
    FeatureRef,
    FeatureService,
    FeatureView,
    Kafka,
    Served,
    Stream,
)
from .errors import FormatUnknown
from .expressions import lower
from .inputs import input_parts, stored_params
from .nodes import from_json, to_json, to_polars
from .own import LookUp, OwnAggregate
from .stored_windows import dump_window, load_window
from .time import Duration, format_duration, parse_duration
from .types import DataType

FORMAT = 1
"""Version of the stored form. A reader refuses every other."""


def collect(*objects: Any) -> Definitions:
    """The set of definitions found in the given ones, and all that these refer to, each once.

    An object may be a definition, a module (its globals are looked through, in order), or a
    sequence or mapping of these; anything else is passed over. Equal entities and streams are one;
    different ones of the same name stay, for validation to report.
    """
    found: dict[type, list[Any]] = {kind: [] for kind in _REFERS_TO}
    for one in _reachable(objects):
        # `==` is identity for views and services, which hold expressions.
        if not any(one is other or one == other for other in found[type(one)]):
            found[type(one)].append(one)
    return Definitions(
        tuple(found[Entity]),
        tuple(found[Stream]),
        tuple(found[FeatureView]),
        tuple(found[FeatureService]),
    )


_REFERS_TO: Mapping[type, Callable[[Any], Any]] = MappingProxyType(
    {
        Entity: lambda entity: (),
        Stream: lambda stream: (),
        FeatureView: lambda view: (view.entity, view.stream),
        FeatureService: lambda service: service.features,
    }
)


def _reachable(one: Any) -> Iterator[Any]:
    """Every definition in `one` and below it; repetitions too."""
    if type(one) in _REFERS_TO:
        yield one
        yield from _reachable(_REFERS_TO[type(one)](one))
    elif isinstance(one, FeatureRef):
        yield from _reachable(one.view)
    elif isinstance(one, Definitions):
        yield from _reachable((one.entities, one.streams, one.views, one.services))
    elif isinstance(one, ModuleType):
        yield from _reachable([value for value in vars(one).values() if type(value) in _REFERS_TO])
    elif isinstance(one, Mapping):
        yield from _reachable(list(one.values()))
    elif isinstance(one, Sequence) and not isinstance(one, str | bytes):
        for part in one:
            yield from _reachable(part)


def dump(definitions: Definitions) -> dict[str, Any]:
    """The stored form of validated definitions: JSON values only."""
    return {
        "format": FORMAT,
        "entities": [dump_entity(entity) for entity in definitions.entities],
        "streams": [dump_stream(stream) for stream in definitions.streams],
        "views": [dump_view(view) for view in definitions.views],
        "services": [_dump_service(service) for service in definitions.services],
    }


def load(stored: Mapping[str, Any], look_up: LookUp | None = None) -> Definitions:
    """The definitions that `dump` stored; `look_up` finds the user's own aggregates in them.

    Without it these have no implementation. Raises `FormatUnknown` for another version's form, and
    what `look_up` raises.
    """
    if stored.get("format") != FORMAT:
        raise FormatUnknown(
            where="stored definitions", got=f"format {stored.get('format')}", expected=f"{FORMAT}"
        )
    entities = {one["name"]: _load_entity(one) for one in stored["entities"]}
    streams = {stream.name: stream for stream in load_streams(stored)}
    views = {one["name"]: _load_view(one, entities, streams, look_up) for one in stored["views"]}
    services = [_load_service(one, views) for one in stored["services"]]
    return Definitions(
        tuple(entities.values()), tuple(streams.values()), tuple(views.values()), tuple(services)
    )


def load_streams(stored: Mapping[str, Any]) -> tuple[Stream, ...]:
    """The streams alone of what `dump` stored."""
    return tuple(_load_stream(one) for one in stored["streams"])


def dump_entity(entity: Entity) -> dict[str, Any]:
    """One entity; `keys` is a list, because their order is part of an encoded key."""
    return {
        "name": entity.name,
        "keys": [[name, _dump_type(dtype)] for name, dtype in entity.keys.items()],
        "description": entity.description,
    }


def dump_stream(stream: Stream) -> dict[str, Any]:
    """One stream."""
    return {
        "name": stream.name,
        "schema": [[name, _dump_type(dtype)] for name, dtype in stream.schema.items()],
        "event_time": stream.event_time,
        "disorder": _span(stream.disorder),
        "ahead": _span(stream.ahead),
        "idle_timeout": _span(stream.idle_timeout),
        "partition_by": stream.partition_by,
        "unique_by": stream.unique_by,
        "unique_within": _span(stream.unique_within),
        "source": None if stream.source is None else {"kafka": asdict(stream.source)},
        "owner": stream.owner,
        "description": stream.description,
    }


def dump_view(view: FeatureView) -> dict[str, Any]:
    """One view; entity and stream by name, features as a list in their order."""
    return {
        "name": view.name,
        "entity": view.entity.name,
        "stream": view.stream.name,
        "where": dump_expression(view.where),
        "features": [[name, _dump_feature(one)] for name, one in view.features.items()],
        "history": _span(view.history),
        "allowed_lateness": None if view.allowed_lateness is None else _span(view.allowed_lateness),
        "owner": view.owner,
        "description": view.description,
    }


def dump_expression(expr: pl.Expr | str | None) -> dict[str, Any] | None:
    """An expression's normal form as JSON; None stays None."""
    return None if expr is None else to_json(lower(expr))


def dump_aggregate(aggregate: AggregateSpec) -> dict[str, Any]:
    """An aggregate with its input; two inputs are a list.

    Without `where` there is no such key; without `by` neither `by` nor `cap`; `own` is what names
    a user's own aggregate.
    """
    pair = isinstance(aggregate.input, tuple)
    parts = [to_json(part) for part in input_parts(aggregate)]
    stored: dict[str, Any] = {
        "name": aggregate.name,
        "input": parts if pair else parts[0] if parts else None,
        "params": stored_params(aggregate),
    }
    if aggregate.where is not None:
        stored["where"] = dump_expression(aggregate.where)
    if aggregate.by is not None:
        stored |= {"by": dump_expression(aggregate.by), "cap": aggregate.cap}
    if aggregate.own is not None:
        own = aggregate.own
        stored["own"] = {"version": own.version, "module": own.module, "format": own.format}
    return stored


def _dump_feature(feature: Feature) -> dict[str, Any]:
    return {
        "aggregate": dump_aggregate(feature.aggregate),
        "window": dump_window(feature.window),
        "default": feature.default,
        "description": feature.description,
    }


def _dump_service(service: FeatureService) -> dict[str, Any]:
    refs = [
        [one.view.name, one.feature] if isinstance(one, FeatureRef) else [one.name]
        for one in service.features
    ]
    return {
        "name": service.name,
        "version": service.version,
        "features": refs,
        "owner": service.owner,
        "description": service.description,
        **({} if service.served_share is None else {"served_share": service.served_share}),
    }


def _dump_type(dtype: DataType) -> dict[str, str]:
    if dtype.item is not None:
        return {"type": dtype.name, "item": dtype.item.name}
    return {"type": dtype.name} if dtype.unit is None else {"type": dtype.name, "unit": dtype.unit}


def _span(span: Duration) -> str:
    return format_duration(parse_duration(span))


def _load_types(stored: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, DataType]:
    return {name: _load_type(one) for name, one in stored}


def _load_type(stored: Mapping[str, str]) -> DataType:
    item = stored.get("item")
    return DataType(stored["type"], stored.get("unit"), None if item is None else DataType(item))


def _load_entity(stored: Mapping[str, Any]) -> Entity:
    return Entity(stored["name"], _load_types(stored["keys"]), stored["description"])


def _load_stream(stored: Mapping[str, Any]) -> Stream:
    source = stored["source"]
    return Stream(
        stored["name"],
        schema=_load_types(stored["schema"]),
        event_time=stored["event_time"],
        disorder=stored["disorder"],
        ahead=stored["ahead"],
        idle_timeout=stored["idle_timeout"],
        partition_by=stored["partition_by"],
        unique_by=stored.get("unique_by"),
        unique_within=stored.get("unique_within", "1d"),
        source=None if source is None else Kafka(**source["kafka"]),
        owner=stored["owner"],
        description=stored["description"],
    )


def _load_view(
    stored: Mapping[str, Any],
    entities: Mapping[str, Entity],
    streams: Mapping[str, Stream],
    look_up: LookUp | None,
) -> FeatureView:
    return FeatureView(
        stored["name"],
        entity=entities[stored["entity"]],
        stream=streams[stored["stream"]],
        features={name: _load_feature(one, look_up) for name, one in stored["features"]},
        where=_load_expression(stored["where"]),
        history=stored["history"],
        allowed_lateness=stored["allowed_lateness"],
        owner=stored["owner"],
        description=stored["description"],
    )


def _load_expression(stored: Mapping[str, Any] | None) -> pl.Expr | None:
    return None if stored is None else to_polars(from_json(stored))


def _load_feature(stored: Mapping[str, Any], look_up: LookUp | None) -> Feature:
    one = stored["aggregate"]
    given = one["input"]
    read: Any = (
        tuple(map(_load_expression, given)) if isinstance(given, list) else _load_expression(given)
    )
    where, by = _load_expression(one.get("where")), _load_expression(one.get("by"))
    cap = one.get("cap", CATEGORIES_SHOWN)
    own = OwnAggregate(one["name"], **one["own"]) if "own" in one else None
    if own is not None and look_up is not None:
        own = look_up(own)
    aggregate = AggregateSpec(one["name"], read, one["params"], where, by, cap, own)
    window = load_window(stored["window"])
    return Feature(aggregate, window, stored["default"], stored["description"])


def _load_service(stored: Mapping[str, Any], views: Mapping[str, FeatureView]) -> FeatureService:
    served: list[Served] = [
        views[view][feature[0]] if feature else views[view] for view, *feature in stored["features"]
    ]
    return FeatureService(
        stored["name"],
        version=stored["version"],
        features=served,
        served_share=stored.get("served_share"),
        owner=stored["owner"],
        description=stored["description"],
    )
