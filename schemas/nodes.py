"""The normal form of expressions: a column, a literal, or a listed operator over others.

Definitions use Polars' expressions, but Polars' own serialisation names its internals and changes
with its versions. So what is stored and fingerprinted is this small form, and what runs is made
from it (`to_polars`), whoever wrote it and with whichever version.

Promises, for every node:

- The value of a row depends on that row alone, and there is one value a row.
- Evaluation never fails for a value: what cannot be cast is null (one bad row must not fail the
  rows beside it), integer overflow wraps, integer division by zero is null.
- All whole numbers are 64 bits wide: `dt.hour() * 100` does not wrap at 127, as Polars' would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias

import polars as pl

from .canonical import digest
from .types import TYPES, DataType, String, Timestamp

Scalar: TypeAlias = str | int | float | bool | None
Options: TypeAlias = tuple[tuple[str, Scalar], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the stream, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; `type` is None for null alone. A Timestamp's value is µs since the epoch."""

    type: DataType | None
    value: Scalar


@dataclass(frozen=True, slots=True)
class Op:
    """One of `OPERATORS` over its arguments; `options` are plain and sorted by name."""

    name: str
    args: tuple[Node, ...]
    options: Options = ()


Node: TypeAlias = Column | Literal | Op

_Build = Callable[..., pl.Expr]


def _is_in(value: pl.Expr, *members: Literal) -> pl.Expr:
    dtype = members[0].type if members and members[0].type else String
    return value.is_in(pl.Series([m.value for m in members], dtype=dtype.polars).to_list())


def _cast(value: pl.Expr, *, to: str) -> pl.Expr:
    return value.cast(TYPES[to].polars, strict=False)


def _wide(expr: pl.Expr) -> pl.Expr:
    return expr.cast(pl.Int64)


OPERATORS: Mapping[str, _Build] = MappingProxyType(
    {
        "add": lambda a, b: a + b,
        "subtract": lambda a, b: a - b,
        "multiply": lambda a, b: a * b,
        "divide": lambda a, b: a / b,
        "floor_divide": lambda a, b: a // b,
        "modulo": lambda a, b: a % b,
        "negate": lambda a: -a,
        "abs": lambda a: a.abs(),
        "floor": lambda a: a.floor(),
        "ceil": lambda a: a.ceil(),
        "round": lambda a, *, decimals, mode: a.round(decimals, mode=mode),
        "eq": lambda a, b: a == b,
        "ne": lambda a, b: a != b,
        "lt": lambda a, b: a < b,
        "le": lambda a, b: a <= b,
        "gt": lambda a, b: a > b,
        "ge": lambda a, b: a >= b,
        "eq_missing": lambda a, b: a.eq_missing(b),
        "ne_missing": lambda a, b: a.ne_missing(b),
        "is_between": lambda a, b, c, *, closed: a.is_between(b, c, closed=closed),
        "is_in": _is_in,
        "and": lambda a, b: a & b,
        "or": lambda a, b: a | b,
        "xor": lambda a, b: a ^ b,
        "not": lambda a: ~a,
        "is_null": lambda a: a.is_null(),
        "is_not_null": lambda a: a.is_not_null(),
        "is_nan": lambda a: a.is_nan(),
        "is_not_nan": lambda a: a.is_not_nan(),
        "is_finite": lambda a: a.is_finite(),
        "is_infinite": lambda a: a.is_infinite(),
        "fill_null": lambda a, b: a.fill_null(b),
        "coalesce": lambda *args: pl.coalesce(*args),
        "pair": lambda a, b: pl.struct(a.alias("first"), b.alias("second")),
        "vector": lambda *parts: pl.struct(part.alias(f"_{i}") for i, part in enumerate(parts)),
        "when": lambda test, then, other: pl.when(test).then(then).otherwise(other),
        "cast": _cast,
        "lowercase": lambda a: a.str.to_lowercase(),
        "uppercase": lambda a: a.str.to_uppercase(),
        "len_chars": lambda a: _wide(a.str.len_chars()),
        "starts_with": lambda a, b: a.str.starts_with(b),
        "ends_with": lambda a, b: a.str.ends_with(b),
        "contains": lambda a, b: a.str.contains(b, literal=True),
        "year": lambda a: _wide(a.dt.year()),
        "month": lambda a: _wide(a.dt.month()),
        "day": lambda a: _wide(a.dt.day()),
        "weekday": lambda a: _wide(a.dt.weekday()),
        "hour": lambda a: _wide(a.dt.hour()),
        "minute": lambda a: _wide(a.dt.minute()),
        "second": lambda a: _wide(a.dt.second()),
    }
)
"""How each operator is run. Names are stored: never reuse one for another meaning."""

WIDENED = frozenset({"len_chars", "year", "month", "day", "weekday", "hour", "minute", "second"})
"""Operators whose narrow integers are widened to Int64."""


def _in_full(divisor: pl.Expr) -> pl.Expr:
    """The divisor as a column of its own, also where Polars would keep one value for all rows.

    By one value for all rows Polars multiplies with the reciprocal: 3 / 10 is 0.30000000000000004
    and 0.3 // 0.1 is 3. It does not where the batch has a single row, nor where a divisor such as
    `when(…)` has two values in the batch: a row's value would depend on the rows beside it.
    """
    return (pl.int_range(pl.len()) * 0 + 1) * divisor


_RUN: Mapping[str, _Build] = MappingProxyType(
    {
        **OPERATORS,
        "divide": lambda a, b: a / _in_full(b),
        "floor_divide": lambda a, b: a // _in_full(b),
        "modulo": lambda a, b: a % _in_full(b),
    }
)


def to_polars(node: Node) -> pl.Expr:
    """The Polars expression that the node stands for; lowering it again gives the node.

    What computes it is `to_run`.

    >>> to_polars(Op("gt", (Column("amount"), Literal(TYPES["Int64"], 0)))).meta.root_names()
    ['amount']
    """
    return _built(node, OPERATORS)


def to_run(node: Node) -> pl.Expr:
    """The expression that computes the node: quotients rounded once, whatever the batch.

    >>> tenth = Op("divide", (Column("a"), Literal(TYPES["Float64"], 10.0)))
    >>> pl.DataFrame({"a": [3.0, 7.0]}).select(to_run(tenth)).to_series().to_list()
    [0.3, 0.7]
    """
    return _built(node, _RUN)


def _built(node: Node, operators: Mapping[str, _Build]) -> pl.Expr:
    if isinstance(node, Column):
        return pl.col(node.name)
    if isinstance(node, Literal):
        return pl.lit(node.value, dtype=None if node.type is None else node.type.polars)
    if node.name == "is_in":
        return _is_in(_built(node.args[0], operators), *node.args[1:])  # type: ignore[arg-type]
    args = [_built(arg, operators) for arg in node.args]
    return operators[node.name](*args, **dict(node.options))


def columns(node: Node) -> tuple[str, ...]:
    """The columns that a node reads, sorted, each once."""
    return tuple(sorted({part.name for part in walk(node) if isinstance(part, Column)}))


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, parents first."""
    yield node
    if isinstance(node, Op):
        for arg in node.args:
            yield from walk(arg)


def to_json(node: Node) -> dict[str, Any]:
    """The stored form: plain JSON values.

    >>> to_json(Op("is_null", (Column("a"),)))
    {'op': 'is_null', 'args': [{'column': 'a'}]}
    """
    if isinstance(node, Column):
        return {"column": node.name}
    if isinstance(node, Literal):
        return {"literal": node.value, "type": None if node.type is None else node.type.name}
    stored: dict[str, Any] = {"op": node.name, "args": [to_json(arg) for arg in node.args]}
    return {**stored, "options": dict(node.options)} if node.options else stored


def from_json(stored: Mapping[str, Any]) -> Node:
    """The node that `to_json` stored."""
    if "column" in stored:
        return Column(stored["column"])
    if "op" in stored:
        options = tuple(sorted(stored.get("options", {}).items()))
        return Op(stored["op"], tuple(map(from_json, stored["args"])), options)
    dtype = None if stored["type"] is None else TYPES[stored["type"]]
    # JSON has one kind of number: 1.0 may have come back as 1.
    value = stored["literal"]
    return Literal(dtype, float(value) if dtype == TYPES["Float64"] else value)


def fingerprint(node: Node) -> str:
    """32 hex digits; the same for the same normal form, in every version of Polars and of ours."""
    return digest(to_json(node))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INFIX: Mapping[str, str] = MappingProxyType(
    {
        "add": "+",
        "subtract": "-",
        "multiply": "*",
        "divide": "/",
        "floor_divide": "//",
        "modulo": "%",
        "eq": "==",
        "ne": "!=",
        "lt": "<",
        "le": "<=",
        "gt": ">",
        "ge": ">=",
        "and": "and",
        "or": "or",
        "xor": "xor",
    }
)


def text(node: Node) -> str:
    """The node for people, as plans print it.

    >>> text(Op("gt", (Column("amount"), Literal(TYPES["Float64"], 0.5))))
    'amount > 0.5'
    """
    if isinstance(node, Column):
        return node.name
    if isinstance(node, Literal):
        if node.type == Timestamp and isinstance(node.value, int):
            return (_EPOCH + timedelta(microseconds=node.value)).isoformat()
        return "null" if node.value is None else repr(node.value)
    if node.name in _INFIX:
        left, right = (f"({text(a)})" if _compound(a) else text(a) for a in node.args)
        return f"{left} {_INFIX[node.name]} {right}"
    options: Sequence[str] = [f"{name}={value!r}" for name, value in node.options]
    return f"{node.name}({', '.join([*map(text, node.args), *options])})"


def _compound(node: Node) -> bool:
    return isinstance(node, Op) and node.name in _INFIX
