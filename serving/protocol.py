"""What a request for features says, checked as far as it can be without knowing any feature.

A request is one JSON object: what is asked for (a service, or a list of features), the key columns,
and how to answer. Whether the features exist and the keys have their types is for `plan` to find.

Promise: whatever is wrong is one error of the 4xx family that names the place, what stood there and
what belongs there. Nothing is guessed: an unknown field is an error, for it may be a misspelt one
whose absence would change the answer.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from ..connectors import rfc3339
from ..schemas.errors import BadDuration, BadRequest, TooLarge, one_of
from ..schemas.time import parse_duration

FIELDS: Final = frozenset(
    {"service", "features", "keys", "request", "as_of", "include", "after", "max_age"}
)
INCLUDES: Final = frozenset({"status", "event_time", "bounds"})

_NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that every request is held to, whichever way it comes in."""

    body_bytes: int = 16 << 20
    keys: int = 100_000
    features: int = 10_000
    values: int = 10_000_000
    wait_us: int = 10_000_000


class FeatureRequest(NamedTuple):
    """A request as it was meant. A named tuple, because one is made for every request.

    Exactly one of `service` and `features` is given. All lists of `keys` have `key_count` values,
    and so have those of `values`, which the request brings itself (None without any). Instants and
    spans are µs; `as_of_us` None means the instant of the request.
    """

    service: str | None
    features: tuple[str, ...] | None
    keys: dict[str, list[Any]]
    key_count: int
    as_of_us: int | None = None
    include: frozenset[str] = _NOTHING
    after: str | None = None
    max_age_us: int | None = None
    values: dict[str, list[Any]] | None = None


def parse_request(body: bytes, limits: Limits) -> FeatureRequest:
    """Read and check the body of a request.

    Raises `BadRequest`, or `TooLarge` for a body or a number of keys or features past the limits.
    """
    if len(body) > limits.body_bytes:
        raise TooLarge(what="bytes", got=len(body), limit=limits.body_bytes)
    try:
        raw: Any = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise _not_json(fault) from None
    if type(raw) is not dict:
        raise _bad("the body is not an object", "body", raw, "a JSON object")
    if not raw.keys() <= FIELDS:
        raise _unknown_field(raw)
    service, features = raw.get("service"), raw.get("features")
    if features is not None:
        features = _features(features, limits.features)
    if (service is None) == (features is None):
        raise BadRequest(
            "a request names either a service or features",
            where="body",
            got="both" if service is not None else "neither",
            expected='"service": "<name>", or "features": ["<view>:<feature>", …]',
        )
    if service is not None and type(service) is not str:
        raise _bad("the service is not a name", "service", service, "text")
    keys: Any = raw.get("keys")
    key_count = _columns("keys", keys, limits.keys)
    if len(raw) == 2:
        return FeatureRequest(service, features, keys, key_count)
    return FeatureRequest(service, features, keys, key_count, *_options(raw, key_count))


def _options(
    raw: dict[str, Any], key_count: int
) -> tuple[int | None, frozenset[str], str | None, int | None, dict[str, list[Any]] | None]:
    """The fields that say how to answer, `as_of`, `include`, `after`, `max_age`, and `request`."""
    values = raw.get("request")
    if values is not None:
        count = _columns("request", values, None)
        if values and count != key_count:
            raise BadRequest(
                "the request values do not match the keys",
                where="request",
                got=f"{count} values a column",
                expected=f"{key_count}, one for each key",
            )
    after = raw.get("after")
    if after is not None and type(after) is not str:
        raise _bad("`after` is not a receipt", "after", after, "the text that a push returned")
    as_of = raw.get("as_of")
    return (
        None if as_of is None else parse_instant(as_of, "as_of"),
        _includes(raw.get("include")),
        after,
        _max_age(raw.get("max_age")),
        values or None,
    )


def parse_instant(value: Any, where: str) -> int:
    """An instant as a request writes it, RFC 3339 text or µs since the epoch, in µs.

    >>> parse_instant("1970-01-01T00:00:01Z", "as_of"), parse_instant(1_000_000, "as_of")
    (1000000, 1000000)
    """
    at_us = None
    if type(value) is str:
        at_us = rfc3339.parse_one(value)
    elif type(value) is int:
        at_us = value
    if at_us is None or not rfc3339.FIRST_US <= at_us < rfc3339.END_US:
        raise BadRequest(
            "this is not an instant between the years 1 and 9999",
            where=where,
            got=show(value),
            expected="RFC 3339 text with Z or an offset, or whole µs since 1970",
            hint='such as "2024-05-01T12:00:00Z"',
        )
    return at_us


def unknown_column(column: str, known: Iterable[str]) -> BadRequest:
    """The error for a key column that none of the features asked for is keyed by."""
    names = tuple(known)
    return BadRequest(
        "none of these features is keyed by this column",
        where=f"keys.{column}",
        got=repr(column),
        expected=one_of(names),
        hint=_did_you_mean(column, names),
    )


def show(value: Any) -> str:
    """A JSON value for a message: on one line, at most 60 characters."""
    text = orjson.dumps(value, default=repr).decode()
    return text if len(text) <= 60 else f"{text[:60]}…"


def _columns(name: str, columns: Any, count_max: int | None) -> int:
    """The common length of all lists of a table of columns; 0 without any."""
    if type(columns) is not dict:
        if columns is None:
            raise BadRequest(
                f"`{name}` is missing",
                where=name,
                expected="an object of columns, each a list with one value a key",
                hint='such as "keys": {"card_id": ["c1", "c2"]}',
            )
        raise _bad(f"`{name}` is not an object of columns", name, columns, "an object of lists")
    count = -1
    for column, values in columns.items():
        if type(values) is not list:
            raise BadRequest(
                "a column is not a list",
                where=f"{name}.{column}",
                got=show(values),
                expected="a list with one value a key",
                hint=f'one key is a list too: "{column}": [{show(values)}]',
            )
        if count < 0:
            count = len(values)
        elif len(values) != count:
            raise BadRequest(
                "the columns have different lengths",
                where=f"{name}.{column}",
                got=f"{len(values)} values",
                expected=f"{count}, as in the columns before",
            )
    if count_max is not None and count > count_max:
        raise TooLarge(what="keys", got=count, limit=count_max)
    return max(count, 0)


def _features(features: Any, count_max: int) -> tuple[str, ...]:
    if type(features) is not list or not all(type(name) is str for name in features):
        raise _bad(
            "the features are not a list of names", "features", features, '["<view>:<feature>", …]'
        )
    if len(features) > count_max:
        raise TooLarge(what="features", got=len(features), limit=count_max)
    return tuple(features)


def _includes(include: Any) -> frozenset[str]:
    if include is None:
        return _NOTHING
    if type(include) is not list or not all(type(name) is str for name in include):
        raise _bad("`include` is not a list of names", "include", include, "a list")
    chosen = frozenset(include)
    for name in include:
        if name not in INCLUDES:
            raise BadRequest(
                "this cannot be included in an answer",
                where="include",
                got=repr(name),
                expected=one_of(tuple(INCLUDES)),
                hint=_did_you_mean(name, INCLUDES),
            )
    return chosen


def _max_age(value: Any) -> int | None:
    if value is None:
        return None
    try:
        return parse_duration(value)
    except BadDuration as fault:
        raise BadRequest(
            fault.message,
            where="max_age",
            got=show(value),
            expected=fault.expected,
            hint=fault.hint,
        ) from None


def _unknown_field(raw: Mapping[str, Any]) -> BadRequest:
    name = next(name for name in raw if name not in FIELDS)
    return BadRequest(
        "a request has no such field",
        where=name,
        got=repr(name),
        expected=one_of(tuple(FIELDS)),
        hint=_did_you_mean(name, FIELDS),
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    return f"perhaps {near[0]!r} was meant" if near else ""


def _bad(message: str, where: str, got: Any, expected: str) -> BadRequest:
    return BadRequest(message, where=where, got=show(got), expected=expected)


def _not_json(fault: orjson.JSONDecodeError) -> BadRequest:
    return BadRequest(
        "the body is not JSON",
        where=f"body, line {fault.lineno}, column {fault.colno}",
        got=fault.msg,
        expected='such as {"service": "fraud", "keys": {"card_id": ["c1"]}}',
    )
