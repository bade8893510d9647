"""What an aggregate is lifted from: its columns and its `where` as one normal form.

- A `where` becomes part of the input: `when(where, x, null)`. A row for which it is false *or null*
  has no value, and what has no value is not counted. So nothing below needs to know of it, and two
  features with the same `where` over the same column share their states.
- An aggregate over events with a `where` reads `when(where, true, null)`; `count()` becomes
  `count_if(where)`.
- An aggregate over two columns reads `pair(x, y)`: one input whose values are both. One over more
  columns reads `vector(x, y, z)`.
- An aggregate `by=` a second column reads `pair(x, category)`; where events are counted, x is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .definitions import AggregateSpec, Feature
from .expressions import lower, result_type
from .nodes import Literal, Node, Op
from .ordered_windows import SinceSpec
from .own import signature_of
from .types import Bool, DataType
from .windows import ZonedCalendarSpec

PAIR: Final = "pair"
VECTOR: Final = "vector"
_NULL: Final = Literal(None, None)


def input_node(spec: AggregateSpec) -> Node | None:
    """What is evaluated for each event; None where the events themselves are counted.

    >>> from .nodes import text
    >>> text(input_node(AggregateSpec("mean", "x", where="ok")))
    'when(ok, x, null)'
    >>> text(input_node(AggregateSpec("covariance", ("x", "y"))))
    'pair(x, y)'
    >>> text(input_node(AggregateSpec("vector_sum", ("x", "y", "z"))))
    'vector(x, y, z)'
    >>> text(input_node(AggregateSpec("count", None, by="shop")))
    'pair(True, shop)'
    """
    parts = input_parts(spec)
    if spec.where is not None:
        where = lower(spec.where)
        if aggregate_name(spec) != spec.name:
            return where
        first = parts[0] if parts else Literal(Bool, True)
        parts = (Op("when", (where, first, _NULL)), *parts[1:])
    if spec.by is not None:
        return Op(PAIR, (parts[0] if parts else Literal(Bool, True), lower(spec.by)))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Op(PAIR if len(parts) == 2 else VECTOR, parts)


def feature_input(feature: Feature) -> Node | None:
    """What is evaluated for a feature: its aggregate's input, and for `since` the match beside it.

    Where events are counted since a match, the match itself stands for the value.
    """
    node = input_node(feature.aggregate)
    if not isinstance(feature.window, SinceSpec):
        return node
    matches = Op("fill_null", (lower(feature.window.predicate), Literal(Bool, False)))
    return Op(PAIR, (matches if node is None else node, matches))


def zone_input(feature: Feature) -> Node | None:
    """What names a key's own time zone, for a window that goes by it; None for other windows."""
    window = feature.window
    return lower(window.tz) if isinstance(window, ZonedCalendarSpec) else None


def aggregate_name(spec: AggregateSpec) -> str:
    """The aggregate that is computed: counting events where something is true is `count_if`.

    By category it is not: one without such an event has no count.
    """
    counted = spec.name == "count" and spec.input is None and spec.by is None
    if counted and spec.where is not None:
        return "count_if"
    return spec.name


def stored_params(spec: AggregateSpec) -> dict[str, Any]:
    """The parameters of a validated aggregate, each in its one spelling, as plain JSON.

    >>> stored_params(AggregateSpec("rate", None, {"per": "60s"}))
    {'per': '1m'}
    """
    signature = signature_of(spec)
    if signature is None:  # a user's own that is not looked up: it was stored, and so spelled
        return dict(spec.params)
    known = signature.params
    return {name: known[name].stored(value) for name, value in spec.params.items()}


def input_parts(spec: AggregateSpec) -> tuple[Node, ...]:
    """The normal forms of the columns as they were given, without `where`."""
    if spec.input is None:
        return ()
    return tuple(map(lower, spec.input if isinstance(spec.input, tuple) else (spec.input,)))


def input_types(node: Node, schema: Mapping[str, DataType]) -> tuple[DataType, ...]:
    """The type of an input, or of all of a pair or vector. Raises as `result_type` does."""
    parts = node.args if isinstance(node, Op) and node.name in (PAIR, VECTOR) else (node,)
    return tuple(
        part.type if isinstance(part, Literal) and part.type else result_type(part, schema)
        for part in parts
    )


def input_kind(types: tuple[DataType, ...]) -> str:
    """The kind of an input as aggregates are asked for it; of several columns, with commas between.

    >>> from .types import Float64, Int64, List
    >>> input_kind((Float64, Int64)), input_kind((List(Int64),))
    ('float,int', 'list[int]')
    """
    return ",".join(
        dtype.kind if dtype.item is None else f"{dtype.kind}[{dtype.item.kind}]" for dtype in types
    )
