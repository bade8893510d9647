"""From Polars' expressions to our normal form (`nodes`).

`lower` reads `expr.meta.serialize(format="json")` of the installed Polars, which is the one public
way to look inside an expression, and takes over what it knows. All else is refused with a remedy,
never passed through: an expression that looks at other rows (`col("x") > col("x").mean()`) would
give values that depend on how events happened to fall into batches.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import polars as pl

from .errors import NotSeparable, UnsupportedExpression, shown
from .nodes import WIDENED, Column, Literal, Node, Op, Options, columns, to_polars
from .types import (
    TYPES,
    Bool,
    DataType,
    Float64,
    Int64,
    String,
    Timestamp,
    list_of,
    type_of_polars,
)

__all__ = ["lower", "result_type"]

_BINARY: Mapping[str, str] = MappingProxyType(
    {
        "Plus": "add",
        "Minus": "subtract",
        "Multiply": "multiply",
        "TrueDivide": "divide",
        "FloorDivide": "floor_divide",
        "Modulus": "modulo",
        "Eq": "eq",
        "NotEq": "ne",
        "Lt": "lt",
        "LtEq": "le",
        "Gt": "gt",
        "GtEq": "ge",
        "EqValidity": "eq_missing",
        "NotEqValidity": "ne_missing",
        "And": "and",
        "Or": "or",
        "LogicalAnd": "and",
        "LogicalOr": "or",
        "Xor": "xor",
    }
)

# Functions without options: group and name as Polars spells them → our operator.
_FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "Negate": "negate",
        "Abs": "abs",
        "Floor": "floor",
        "Ceil": "ceil",
        "FillNull": "fill_null",
        "Coalesce": "coalesce",
        "Boolean.Not": "not",
        "Boolean.IsNull": "is_null",
        "Boolean.IsNotNull": "is_not_null",
        "Boolean.IsNan": "is_nan",
        "Boolean.IsNotNan": "is_not_nan",
        "Boolean.IsFinite": "is_finite",
        "Boolean.IsInfinite": "is_infinite",
        "StringExpr.Lowercase": "lowercase",
        "StringExpr.Uppercase": "uppercase",
        "StringExpr.LenChars": "len_chars",
        "StringExpr.StartsWith": "starts_with",
        "StringExpr.EndsWith": "ends_with",
        "TemporalExpr.Year": "year",
        "TemporalExpr.Month": "month",
        "TemporalExpr.Day": "day",
        "TemporalExpr.WeekDay": "weekday",
        "TemporalExpr.Hour": "hour",
        "TemporalExpr.Minute": "minute",
        "TemporalExpr.Second": "second",
    }
)

_CLOSED = MappingProxyType({"Both": "both", "Left": "left", "Right": "right", "None": "none"})
_ROUNDING = MappingProxyType(
    {"HalfToEven": "half_to_even", "HalfAwayFromZero": "half_away_from_zero"}
)
_NUMBERS = frozenset({"Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"})
_HINT = (
    "use columns, constants, + - * / // %, comparisons, & | ~, is_null, fill_null, is_in of "
    "constants, cast, when/then/otherwise, abs, floor, ceil, round, plain text and calendar "
    "methods; compute anything else before the event is sent"
)


def lower(expr: pl.Expr | str) -> Node:
    """The normal form of an expression; a text names a column.

    Names given by `alias` fall away. `cast` is lenient whatever the expression says, since one
    row's bad value must not fail its batch.

    Raises `NotSeparable` if a row's value would depend on other rows, `UnsupportedExpression`
    for what has no normal form, Python functions among it.

    >>> from .nodes import text
    >>> text(lower((pl.col("amount") > 0) & pl.col("shop").is_not_null()))
    '(amount > 0) and is_not_null(shop)'
    """
    if isinstance(expr, str):
        return Column(expr)
    if not isinstance(expr, pl.Expr):
        raise UnsupportedExpression(
            "this is not an expression",
            got=shown(expr),
            expected="a Polars expression or a column's name",
        )
    try:
        tree = json.loads(expr.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, ValueError):  # it cannot write a Python function down
        raise _refusal(expr, _PYTHON_FUNCTION) from None
    try:
        return _lower(tree)
    except _UnknownPartError as unknown:
        raise _refusal(expr, unknown) from None


class _UnknownPartError(Exception):
    """A part of Polars' tree that has no normal form: its name, and a remedy of its own."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(name)
        self.name = name
        self.hint = hint


_PYTHON_FUNCTION = _UnknownPartError(
    "a Python function", "use Polars' own operators, or compute it before the event is sent"
)


def _refusal(expr: pl.Expr, unknown: _UnknownPartError) -> NotSeparable | UnsupportedExpression:
    if unknown.hint or _separable(expr):
        return UnsupportedExpression(
            f"{unknown.name} cannot be used in a definition",
            got=shown(expr),
            hint=unknown.hint or _HINT,
        )
    return NotSeparable(
        "the value of a row would depend on other rows, and so on how events fall into batches",
        got=shown(expr),
        expected="an expression over the columns of one event",
        hint="aggregate with agg.…(…).over(window), or compute it before the event is sent",
    )


def _separable(expr: pl.Expr) -> bool:
    # Polars judges an expression's outermost part only: it calls `col("x") > col("x").mean()`
    # separable. So each part is asked for itself.
    try:
        return expr.meta.is_row_separable() and all(map(_separable, expr.meta.pop()))
    except pl.exceptions.PolarsError:
        return True  # it cannot tell for a column that some operators look up


def _lower(tree: Any) -> Node:
    """One node of Polars' tree: `{kind: content}`, or a bare kind."""
    kind, content = _tagged(tree)
    if kind == "Column":
        return Column(content)
    if kind == "Literal":
        return _literal(content)
    if kind == "Alias":
        return _lower(content[0])
    if kind == "BinaryExpr":
        if content["op"] not in _BINARY:
            raise _UnknownPartError(content["op"])
        return Op(_BINARY[content["op"]], (_lower(content["left"]), _lower(content["right"])))
    if kind == "Ternary":
        parts = (content["predicate"], content["truthy"], content["falsy"])
        return Op("when", tuple(map(_lower, parts)))
    if kind == "Cast":
        return _cast(content)
    if kind == "Function":
        return _function(content["input"], content["function"])
    if kind.startswith("Anonymous"):
        raise _PYTHON_FUNCTION
    if kind == "Filter":
        raise _UnknownPartError("filter", "say where=… on the view, or when/then in the expression")
    if kind == "Selector":
        raise _UnknownPartError("a selection of several columns", "name one column, pl.col('…')")
    raise _UnknownPartError(kind)


def _tagged(tree: Any) -> tuple[str, Any]:
    if isinstance(tree, dict) and len(tree) == 1:
        return next(iter(tree.items()))
    return str(tree), None


def _cast(content: Mapping[str, Any]) -> Node:
    dtype = content["dtype"].get("Literal")
    if dtype == {"Datetime": ["Microseconds", {"inner": "UTC"}]}:
        name = "Timestamp"
    else:
        name = {"Boolean": "Bool"}.get(str(dtype), str(dtype))
    if name not in TYPES or content["options"] not in ("Strict", "NonStrict"):
        raise _UnknownPartError(
            f"a cast to {name}",
            "cast to pl.Int64, pl.Float64, pl.String, pl.Boolean or pl.Datetime('us', 'UTC')",
        )
    value = _lower(content["expr"])
    if name == "Int64" and isinstance(value, Op) and value.name in WIDENED:
        return value  # it is an Int64 already: `to_polars` wrote this cast
    return Op("cast", (value,), (("to", name),))


def _function(inputs: list[Any], function: Any) -> Node:
    group, content = _tagged(function)
    options: Any
    name, options = (group, None) if content is None else _tagged(content)
    if group in ("Boolean", "StringExpr", "TemporalExpr") and content is not None:
        spelled = f"{group}.{name}"
    else:
        spelled, options = group, content
    if spelled in _FUNCTIONS and options is None:
        return Op(_FUNCTIONS[spelled], tuple(map(_lower, inputs)))
    if spelled == "Round":
        rounding: Options = (
            ("decimals", options["decimals"]),
            ("mode", _known(_ROUNDING, options["mode"])),
        )
        return Op("round", (_lower(inputs[0]),), rounding)
    if spelled == "Boolean.IsBetween":
        closed = _known(_CLOSED, options["closed"])
        return Op("is_between", tuple(map(_lower, inputs)), (("closed", closed),))
    if spelled == "Boolean.IsIn" and not options["nulls_equal"]:
        return _is_in(*inputs)
    if spelled == "StringExpr.Contains":
        if not options["literal"]:
            raise _UnknownPartError("a regular expression", "use str.contains(…, literal=True)")
        return Op("contains", tuple(map(_lower, inputs)))
    if spelled == "StringExpr.Strptime":
        raise _UnknownPartError("parsing text as time", "declare the column tg.Timestamp instead")
    raise _UnknownPartError(spelled)


def _known(names: Mapping[str, str], name: str) -> str:
    if name not in names:
        raise _UnknownPartError(name)
    return names[name]


def _is_in(value: Any, members: Any) -> Node:
    """Membership in constants: sorted, each once, since their order means nothing."""
    kind, content = _tagged(members)
    if kind == "Literal":
        stored = content.get("Series") or content.get("Scalar", {}).get("List")
        if stored is not None:
            return Op("is_in", (_lower(value), *_members(bytes(stored))))
    raise _UnknownPartError("is_in of something not constant", "give is_in a list of constants")


def _members(stored: bytes) -> list[Literal]:
    """The members of a constant list, which Polars writes as an Arrow stream of one column."""
    series = pl.read_ipc_stream(io.BytesIO(stored)).to_series()
    dtype = String if series.dtype == pl.Null and not len(series) else type_of_polars(series.dtype)
    if dtype is None or series.null_count():
        raise _UnknownPartError(
            "is_in of these constants", "use constants of one plain type, without None"
        )
    if dtype == Timestamp:
        series = series.cast(pl.Int64)
    if dtype == Float64 and not series.is_finite().all():
        raise _UnknownPartError("NaN or an infinity as a constant", "use is_nan() or is_infinite()")
    return [Literal(dtype, value) for value in series.unique().sort().to_list()]


def _literal(content: Any) -> Literal:
    weight, typed = _tagged(content)
    if weight not in ("Dyn", "Scalar"):
        raise _UnknownPartError("a constant of several values", "use one constant")
    name, value = _tagged(typed)
    if name == "Null":
        return Literal(None, None)
    if name in ("Float", "Float32", "Float64"):
        if value is None:
            raise _UnknownPartError(
                "NaN or an infinity as a constant", "use is_nan() or is_infinite()"
            )
        return Literal(Float64, float(value))
    if name == "Int" or name in _NUMBERS:
        if not -(2**63) <= value < 2**63:
            raise _UnknownPartError("a whole number past 64 bits", "use a smaller constant")
        return Literal(Int64, value)
    plain: Mapping[str, DataType] = {"String": String, "Boolean": Bool}
    if name in plain:
        return Literal(plain[name], value)
    if name == "Datetime":
        count, unit, zone = value
        if zone == {"inner": "UTC"} and unit == "Microseconds":
            return Literal(Timestamp, count)
        raise _UnknownPartError("a datetime without the zone UTC", "give it tzinfo=timezone.utc")
    raise _UnknownPartError(f"a constant of type {name}")


_SAMPLES: Mapping[str, Any] = MappingProxyType(
    {"String": "a", "Int64": 1, "Float64": 1.5, "Bool": True, "Timestamp": 0}
)


def _type_of_lists(node: Node, schema: Mapping[str, DataType]) -> DataType | None:
    """The type of a column of lists, also on a condition, as an aggregate's `where` makes it."""
    if isinstance(node, Op) and node.name == "when" and node.args[2] == Literal(None, None):
        test, then, _ = node.args
        lists = _type_of_lists(then, schema)
        return lists if lists is not None and result_type(test, schema) == Bool else None
    if not isinstance(node, Column):
        return None
    item = schema[node.name].item
    return None if item is None else list_of(item)


def result_type(node: Node, schema: Mapping[str, DataType]) -> DataType:
    """The type of the node's values over a stream with this schema (every column must be in it).

    Raises `UnsupportedExpression` if the types do not go together, if the result is none of the
    plain types, or if no column is read (a constant is the same for every event). Columns of lists
    are for aggregates that read lists: they stand alone, or as what is there on a condition.
    """
    lists = _type_of_lists(node, schema)
    if lists is not None:
        return lists
    if any(schema[name].item is not None for name in columns(node)):
        raise UnsupportedExpression(
            "a column of lists can only be aggregated as it is",
            got=shown(to_polars(node)),
            hint="name the column itself, as in agg.union('tags'); events are chosen by where=,"
            " which cannot look into lists",
        )
    if not columns(node):
        raise UnsupportedExpression(
            "the expression reads no column",
            got=shown(to_polars(node)),
            hint="leave it out, or name a column",
        )
    plain = tuple((name, dtype) for name, dtype in schema.items() if dtype.item is None)
    try:
        dtype = _type_by_polars(node, plain)
    except pl.exceptions.PolarsError as cause:
        raise UnsupportedExpression(
            f"the types do not go together: {str(cause).splitlines()[0].rstrip('.')}",
            got=shown(to_polars(node)),
            hint="cast one side, as in pl.col('…').cast(pl.Float64)",
        ) from cause
    result = type_of_polars(dtype)
    if result is None:
        raise UnsupportedExpression(
            f"the result has type {dtype}",
            got=shown(to_polars(node)),
            expected=f"one of {', '.join(TYPES)}",
            hint="cast it, as in (…).cast(pl.Float64)",
        )
    return result


@lru_cache(maxsize=4096)
def _type_by_polars(node: Node, schema: tuple[tuple[str, DataType], ...]) -> pl.DataType:
    """The type that Polars gives it; kept, as views are compiled whenever an engine opens.

    Some types are found not to go together only when there is a value, so one row has them all.
    """
    sample = pl.DataFrame(
        {name: [_SAMPLES[dtype.name], None] for name, dtype in schema},
        schema={name: dtype.polars for name, dtype in schema},
    )
    return sample.select(to_polars(node)).to_series().dtype
