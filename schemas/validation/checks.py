"""The small checks that all definitions share. Each yields the faults it finds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from ..definitions import Stream
from ..errors import (
    BadDuration,
    BadName,
    BadParameter,
    BadType,
    DefinitionFault,
    DuplicateName,
    UnknownColumn,
    one_of,
    shown,
)
from ..time import CENTURY_US, format_duration, parse_duration
from ..types import ITEM_TYPES, TYPES, DataType

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def name_faults(name: Any, place: str) -> Iterator[DefinitionFault]:
    """Names stand in URLs, table names, metrics and keys of state: one plain spelling for all."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield BadName(
            "this name cannot be used",
            where=place,
            got=shown(name),
            expected="a-z, then a-z, 0-9 and _, at most 64 characters",
            hint=_name_hint(name),
        )


def _name_hint(name: Any) -> str:
    if not isinstance(name, str):
        return "give it a name as text"
    tried = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:64]
    return f"{tried!r} would do" if _NAME.fullmatch(tried) else "choose another name"


def span_faults(
    span: Any, place: str, *, least_us: int = 0, most_us: int = CENTURY_US
) -> Iterator[DefinitionFault]:
    """A span that cannot be parsed or lies outside `[least_us, most_us]`."""
    try:
        span_us = parse_duration(span)
    except BadDuration as fault:
        yield fault.at(place)
        return
    if span_us < least_us:
        yield BadDuration(
            "this span of time is too short",
            where=place,
            got=shown(span),
            expected=f"at least {format_duration(least_us)}",
        )
    elif span_us > most_us:
        yield BadDuration(
            "this span of time is too long",
            where=place,
            got=shown(span),
            expected="at most 100 years (36525d)",
            hint="for everything there ever was, use lifetime()",
        )


def column_faults(columns: Any, what: str, place: str) -> Iterator[DefinitionFault]:
    """Columns with their types, as a stream's schema and an entity's keys name them."""
    if not isinstance(columns, Mapping) or not columns:
        yield BadType(
            f"the {what} must name at least one column",
            where=f"{place}, {what}",
            got=shown(columns),
            expected="a dict of columns and their types, such as {'card_id': tg.String}",
        )
        return
    seen: dict[str, str] = {}
    for name, dtype in columns.items():
        at = f"{place}, column {shown(name)}"
        plain = isinstance(name, str) and name.isprintable() and 0 < len(name) <= 128
        if not plain or name.startswith("_"):
            yield BadName(
                "this column name cannot be used",
                where=at,
                got=shown(name),
                expected="printable text of at most 128 characters that does not begin with _",
                hint="names that begin with _ are the archive's own",
            )
        elif name.lower() in seen:
            yield DuplicateName(
                f"this column differs from {seen[name.lower()]!r} only in its case",
                where=at,
                hint="rename one; tables do not tell them apart",
            )
        else:
            seen[name.lower()] = name
        if not is_type(dtype):
            yield BadType(
                "this is not a column type",
                where=at,
                got=shown(dtype),
                expected=f"one of tg.{', tg.'.join(TYPES)}, or tg.List(…) of one",
                hint=_type_hint(dtype),
            )


def _type_hint(dtype: Any) -> str:
    if isinstance(dtype, DataType) and dtype.item is not None:
        return f"lists are of tg.{', tg.'.join(map(str, ITEM_TYPES))}, and not nested"
    return "for integers that are instants: tg.Timestamp.of('s'), 'ms' or 'us'"


def unknown_column(name: Any, stream: Stream, place: str) -> UnknownColumn:
    """The fault of naming a column that the stream does not have."""
    known = [str(column) for column in stream.schema]
    return UnknownColumn(
        f"the stream {shown(stream.name)} has no column {shown(name)}",
        where=place,
        got=shown(name),
        expected=one_of(known),
        hint=did_you_mean(name, known),
    )


def text_faults(definition: Any, place: str) -> Iterator[DefinitionFault]:
    """An `owner` or `description` that is not text."""
    for attribute in ("owner", "description"):
        value = getattr(definition, attribute, "")
        if not isinstance(value, str):
            yield BadParameter(
                f"the {attribute} is not text", where=place, got=shown(value), expected="text"
            )


def has(mapping: Mapping[Any, Any], name: Any) -> bool:
    """Whether a name is among others, also where it is of a type that cannot be looked up."""
    return isinstance(name, str) and name in mapping


def is_type(value: Any) -> bool:
    """Whether this is a type that a column may have."""
    return isinstance(value, DataType) and value.known


def did_you_mean(name: Any, known: Sequence[str]) -> str:
    """The nearest of the right names as a hint; empty where none is near.

    >>> did_you_mean("amout", ["amount", "at"])
    "did you mean 'amount'?"
    """
    near = get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""
