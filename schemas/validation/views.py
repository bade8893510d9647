"""The faults of feature views: the key, `where`, and each feature.

Arguments are `Any` where nothing about them is known yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from ..definitions import AggregateSpec, Entity, Feature, Stream
from ..errors import (
    BadDefault,
    BadKey,
    BadName,
    BadParameter,
    BadWindow,
    DefinitionFault,
    MixedUp,
    NotAFeature,
    NotBoolean,
    UnsupportedInput,
    one_of,
    shown,
)
from ..expressions import lower, result_type
from ..nodes import columns
from ..ordered_windows import SinceSpec
from ..own import signature_of
from ..signatures import COLUMNS_MAX, SIGNATURES, Signature
from ..types import Bool, DataType, Kind, accepts_value, map_of
from ..windows import LifetimeSpec, OrderedSpec, ZonedCalendarSpec
from .checks import (
    did_you_mean,
    is_type,
    name_faults,
    span_faults,
    text_faults,
    unknown_column,
)
from .maps import cap_faults, map_faults
from .ordered import pair_faults
from .windows import window_faults


def view_faults(view: Any) -> Iterator[DefinitionFault]:
    """What is wrong with one view; its entity and stream are judged on their own."""
    place = f"view {shown(view.name)}"
    yield from name_faults(view.name, place)
    yield from text_faults(view, place)
    yield from span_faults(view.history, f"{place}, history")
    if view.allowed_lateness is not None:
        yield from span_faults(view.allowed_lateness, f"{place}, allowed_lateness")
    yield from _kind_faults(view, place)
    if isinstance(view.entity, Entity) and isinstance(view.stream, Stream):
        yield from _key_faults(view.entity, view.stream, place)
    if view.where is not None:
        yield from _where_faults(view.where, view.stream, f"{place}, where")
    if not isinstance(view.features, Mapping) or not view.features:
        yield NotAFeature(
            "a view needs features",
            where=place,
            got=shown(view.features),
            expected="a dict such as {'spent_1h': agg.sum('amount').over(sliding('1h'))}",
        )
        return
    for name, feature in view.features.items():
        yield from _feature_faults(view, name, feature, f"{place}, feature {shown(name)}")


def _kind_faults(view: Any, place: str) -> Iterator[DefinitionFault]:
    for attribute, kind in (("entity", Entity), ("stream", Stream)):
        value = getattr(view, attribute)
        if not isinstance(value, kind):
            yield MixedUp(
                f"the {attribute} is not one",
                where=f"{place}, {attribute}",
                got=shown(value),
                expected=f"a tg.{kind.__name__}",
                hint=f"refer to the {attribute} itself, not to its name",
            )


def _key_faults(entity: Any, stream: Any, place: str) -> Iterator[DefinitionFault]:
    if not isinstance(entity.keys, Mapping) or not isinstance(stream.schema, Mapping):
        return
    for name, dtype in entity.keys.items():
        carried = stream.schema.get(name)
        if carried is None:
            yield BadKey(
                f"the stream {shown(stream.name)} does not carry the key column {shown(name)}"
                f" of entity {shown(entity.name)}",
                where=place,
                expected=f"a column {shown(name)} among {', '.join(map(str, stream.schema))}",
                hint=did_you_mean(name, [str(column) for column in stream.schema])
                or "add the column to the stream, or aggregate another stream",
            )
        elif is_type(carried) and is_type(dtype) and carried.name != dtype.name:
            yield BadKey(
                f"the key column {shown(name)} has another type in the stream {shown(stream.name)}"
                f" than in the entity {shown(entity.name)}",
                where=place,
                got=carried.name,
                expected=dtype.name,
                hint="declare it alike in both",
            )


def _where_faults(where: Any, stream: Any, place: str) -> Iterator[DefinitionFault]:
    dtype, faults = _expression(where, stream, place)
    yield from faults
    if dtype not in (None, Bool):
        yield NotBoolean(
            "this is not true or false",
            where=place,
            got=f"an expression of type {dtype}",
            expected="a comparison or another expression of type Bool",
            hint="compare it with something, as in pl.col('amount') > 0",
        )


def _expression(
    expr: Any, stream: Any, place: str
) -> tuple[DataType | None, tuple[DefinitionFault, ...]]:
    """The type of an expression over a stream's events, or the faults that leave it without one."""
    try:
        node = lower(expr)
        if not isinstance(stream, Stream) or not isinstance(stream.schema, Mapping):
            return None, ()
        missing = [name for name in columns(node) if name not in stream.schema]
        if missing:
            return None, tuple(unknown_column(name, stream, place) for name in missing)
        read = {name: stream.schema[name] for name in columns(node)}
        if not all(is_type(dtype) for dtype in read.values()):
            return None, ()  # the stream's own fault
        return result_type(node, read), ()
    except DefinitionFault as fault:
        return None, (fault.at(place),)


def _feature_faults(view: Any, name: Any, feature: Any, place: str) -> Iterator[DefinitionFault]:
    yield from name_faults(name, place)
    keys = getattr(view.entity, "keys", None)
    if isinstance(view.entity, Entity) and isinstance(keys, Mapping) and name in keys:
        yield BadName(
            f"a feature cannot be named like the key column {shown(name)}",
            where=place,
            hint="they stand beside each other in feature tables; rename the feature",
        )
    if not isinstance(feature, Feature) or not isinstance(feature.aggregate, AggregateSpec):
        yield _not_a_feature(feature, place)
        return
    yield from text_faults(feature, place)
    yield from window_faults(feature.window, f"{place}, window")
    spec = feature.aggregate
    if spec.own is not None:
        if spec.own.faults:
            yield from (fault.at(f"{place}, aggregate {spec.name}") for fault in spec.own.faults)
            return
        yield from name_faults(spec.name, f"{place}, aggregate")
    signature = signature_of(spec)
    if signature is None:
        yield NotAFeature(
            f"there is no aggregate {shown(spec.name)}",
            where=place,
            got=shown(spec.name),
            expected=one_of(list(SIGNATURES)),
            hint=did_you_mean(spec.name, list(SIGNATURES)),
        )
        return
    yield from _parameter_faults(spec, signature, place)
    yield from pair_faults(feature.window, spec.name, signature, f"{place}, window")
    yield from _zone_faults(feature.window, view.stream, f"{place}, window, tz")
    if isinstance(feature.window, SinceSpec):
        yield from _where_faults(feature.window.predicate, view.stream, f"{place}, predicate")
    if signature.bounded and isinstance(feature.window, LifetimeSpec | OrderedSpec):
        yield BadWindow(
            f"{spec.name} needs a window that has a length",
            where=f"{place}, window",
            got=shown(feature.window),
            expected="sliding(…) or tumbling(…)",
        )
    if spec.where is not None:
        yield from _where_faults(spec.where, view.stream, f"{place}, where")
    input_type, faults = _input(spec, signature, view.stream, place)
    yield from faults
    yield from cap_faults(spec, place)
    if spec.by is not None:
        category, faults = _expression(spec.by, view.stream, f"{place}, by")
        yield from faults
        yield from map_faults(feature.window, spec, signature, input_type, category, place)
    if feature.default is not None and (input_type is not None or spec.input is None):
        output = signature.output(input_type)
        output = output if spec.by is None else map_of(output)
        yield from _default_faults(feature.default, output, place)


def _zone_faults(window: Any, stream: Any, place: str) -> Iterator[DefinitionFault]:
    """What names a key's time zone, and is no text."""
    if not isinstance(window, ZonedCalendarSpec):
        return
    dtype, faults = _expression(window.tz, stream, place)
    yield from faults
    if dtype is not None and dtype.kind != "string":
        yield BadWindow(
            "this cannot name a time zone",
            where=place,
            got=f"an expression of type {dtype}",
            expected="a column of names, such as 'Europe/Berlin'",
        )


def _not_a_feature(given: Any, place: str) -> NotAFeature:
    got, hint = shown(given), "write agg.sum('amount').over(sliding('1h'))"
    if isinstance(given, AggregateSpec):
        got = f"agg.{given.name}(…) without a window"
        hint = f"add a window: agg.{given.name}(…).over(sliding('1h'))"
    elif callable(given):
        hint = "call it and give it a window: agg.count().over(sliding('1h'))"
    elif isinstance(given, pl.Expr):
        hint = "aggregate with agg.…(…), and give it a window with .over(…)"
    return NotAFeature(
        "this is not a feature",
        where=place,
        got=got,
        expected="an aggregate over a window",
        hint=hint,
    )


def _input(
    spec: AggregateSpec, signature: Signature, stream: Any, place: str
) -> tuple[DataType | None, tuple[DefinitionFault, ...]]:
    """The type of an aggregate's input, or the faults that leave it without one."""
    if spec.input is None:
        if signature.optional:
            return None, ()
        needed = UnsupportedInput(
            f"{spec.name} needs a column",
            where=place,
            hint=f"write agg.{spec.name}('…') with a column's name or an expression",
        )
        return None, (needed,)
    if signature.second is None:
        return _part(spec.input, signature.kinds, spec.name, stream, place)
    if signature.vectors:
        return _vector(spec, signature, stream, place)
    first, second = spec.input if isinstance(spec.input, tuple) else (spec.input, None)
    dtype, faults = _part(first, signature.kinds, spec.name, stream, f"{place}, first input")
    _, more = _part(second, signature.second, spec.name, stream, f"{place}, second input")
    return (None if more else dtype), (*faults, *more)


def _vector(
    spec: AggregateSpec, signature: Signature, stream: Any, place: str
) -> tuple[DataType | None, tuple[DefinitionFault, ...]]:
    """The type of the first of several columns, or the faults of all."""
    given = spec.input if isinstance(spec.input, tuple) else ()
    if not 2 <= len(given) <= COLUMNS_MAX:
        needed = UnsupportedInput(
            f"{spec.name} needs a list of columns",
            where=place,
            got=shown(spec.input),
            expected=f"2 to {COLUMNS_MAX} columns",
            hint=f"write agg.{spec.name}(['x', 'y']); of one column take sum or mean",
        )
        return None, (needed,)
    read = [
        _part(one, signature.kinds, spec.name, stream, f"{place}, input {number}")
        for number, one in enumerate(given, 1)
    ]
    faults = tuple(fault for _, found in read for fault in found)
    return (None if faults else read[0][0]), faults


def _part(
    given: Any, kinds: frozenset[Kind], name: str, stream: Any, place: str
) -> tuple[DataType | None, tuple[DefinitionFault, ...]]:
    """The type of one input that must be of one of `kinds`."""
    dtype, faults = _expression(given, stream, place)
    if dtype is None or dtype.kind in kinds:
        return dtype, faults
    refused = UnsupportedInput(
        f"{name} has no meaning for a {dtype.name}",
        where=place,
        got=f"an input of type {dtype}",
        expected=f"one of kind {', '.join(sorted(kinds))}",
        hint=_takers(dtype, kinds),
    )
    return None, (refused,)


def _takers(dtype: DataType, kinds: frozenset[Kind]) -> str:
    """Which aggregates there are for an input that this one does not take."""
    takers = [
        other for other, one in SIGNATURES.items() if dtype.kind in one.kinds and not one.second
    ]
    if dtype.item is not None:
        return f"of lists there is agg.{', agg.'.join(takers)}"
    if kinds == {"list"}:
        return "agg.distinct gives the different values of a column that holds no lists"
    return f"cast it if it holds numbers; {', '.join(takers[:6])} and others take it"


def _parameter_faults(
    spec: AggregateSpec, signature: Signature, place: str
) -> Iterator[DefinitionFault]:
    for name in sorted(spec.params.keys() - signature.params.keys()):
        yield BadParameter(
            f"{spec.name} has no parameter {shown(name)}",
            where=place,
            got=f"{name}={shown(spec.params[name])}",
            expected=one_of(list(signature.params)) or "no parameters",
        )
    for name, allowed in signature.params.items():
        value = spec.params.get(name)
        if not allowed.accepts(value):
            yield BadParameter(
                f"{spec.name} cannot have {name}={shown(value)}",
                where=place,
                got=shown(value),
                expected=allowed.expected,
            )


def _default_faults(default: Any, output: DataType, place: str) -> Iterator[DefinitionFault]:
    if not accepts_value(output, default):
        wanted = "an integer, µs since the epoch" if output.kind == "time" else str(output)
        yield BadDefault(
            "the default does not have the feature's type",
            where=place,
            got=shown(default),
            expected=wanted,
        )
