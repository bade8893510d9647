"""The faults of aggregates `by=` a second column.

Arguments are `Any` where nothing about them is known yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ..definitions import CATEGORIES_SHOWN, AggregateSpec
from ..errors import BadParameter, BadWindow, DefinitionFault, UnsupportedInput, shown
from ..params import Whole
from ..signatures import Signature
from ..types import DataType, Kind
from ..windows import OrderedSpec, SeriesSpec

CAP: Final = Whole(1024, CATEGORIES_SHOWN)
"""Categories that a map may give apart; a state holds no more."""

CATEGORY_KINDS: Final[tuple[Kind, ...]] = ("string", "int", "bool")
"""The kinds of column that can be a category."""


def cap_faults(spec: AggregateSpec, place: str) -> Iterator[DefinitionFault]:
    """A cap that cannot be, or of no map."""
    if spec.by is None and spec.cap != CATEGORIES_SHOWN:
        yield BadParameter(
            "cap= says how many categories of by= are given apart, and there is no by=",
            where=place,
            got=shown(spec.cap),
            expected="by= beside it",
            hint="name the column of the categories, as in by='merchant', or leave out cap=",
        )
    elif not CAP.accepts(spec.cap):
        yield BadParameter(
            f"{spec.name} cannot have cap={shown(spec.cap)}",
            where=place,
            got=shown(spec.cap),
            expected=CAP.expected,
        )


def map_faults(
    window: Any,
    spec: AggregateSpec,
    signature: Signature,
    dtype: DataType | None,
    category: DataType | None,
    place: str,
) -> Iterator[DefinitionFault]:
    """What is wrong with an aggregate of `dtype` by a category of a type, each if it is known."""
    if category is not None and category.kind not in CATEGORY_KINDS:
        yield UnsupportedInput(
            f"a {category.name} cannot be a category",
            where=f"{place}, by",
            got=f"an expression of type {category}",
            expected=f"one of kind {', '.join(CATEGORY_KINDS)}",
            hint="send the one that matters in a column of its own"
            if category.item is not None
            else "make classes of it, as in pl.col('x').floor().cast(pl.Int64)",
        )
    if isinstance(window, SeriesSpec | OrderedSpec):
        yield BadWindow(
            f"{spec.name} by a category cannot be taken over such a window",
            where=f"{place}, window",
            got=shown(window),
            expected="sliding(…), tumbling(…), hopping(…), calendar(…) or lifetime()",
            hint="or leave out by=, and give each category that matters a feature with where=",
        )
    if signature.second is not None:
        yield UnsupportedInput(
            f"{spec.name} reads two columns, and cannot be taken by a third",
            where=place,
            expected="an aggregate of one column, such as count, sum, mean or max",
            hint="or leave out by=, and give each category that matters a feature with where=",
        )
    elif dtype is not None and dtype.kind in signature.varying:
        yield UnsupportedInput(
            f"{spec.name} of a {dtype.name} cannot be kept for each category",
            where=place,
            got="a state without a fixed size",
            expected="an aggregate of numbers or instants, such as count, sum, min or last",
            hint=f"leave out by=, and give each category that matters a feature {spec.name} with"
            " where=",
        )
