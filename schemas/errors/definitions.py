"""1xx: faults of definitions, and the report that holds all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import TegulaError


class DefinitionFault(TegulaError):
    """One fault of a definition; subclasses say which kind. Validation collects them all."""

    code = "TG-100"
    http_status = 422


class BadName(DefinitionFault):
    """A name that is not `[a-z][a-z0-9_]*`, or longer than 64 characters."""

    code = "TG-101"


class DuplicateName(DefinitionFault):
    """Two different things have the same name."""

    code = "TG-102"


class UnknownColumn(DefinitionFault):
    """A column that the stream's schema does not have."""

    code = "TG-103"


class UnsupportedInput(DefinitionFault):
    """An aggregate over a column whose type it cannot take."""

    code = "TG-104"


class BadEventTime(DefinitionFault):
    """The event time column is missing or not a `Timestamp`."""

    code = "TG-105"


class BadDuration(DefinitionFault):
    """A duration that cannot be parsed, or lies outside what its use allows."""

    code = "TG-106"


class BadKey(DefinitionFault):
    """An entity key that the stream does not carry, or of a type that cannot be a key."""

    code = "TG-107"


class NotSeparable(DefinitionFault):
    """An expression whose value for a row depends on other rows (and so on batch cuts)."""

    code = "TG-108"


class UnsupportedExpression(DefinitionFault):
    """An expression with an operator that has no normal form."""

    code = "TG-109"


class NotBoolean(DefinitionFault):
    """A `where` that is not a true/false expression."""

    code = "TG-110"


class BadWindow(DefinitionFault):
    """A window that cannot exist: over 100 years, coarser than its length, hopping past it."""

    code = "TG-111"


class UnknownReference(DefinitionFault):
    """A view or feature that is named but not defined."""

    code = "TG-112"


class BadDefault(DefinitionFault):
    """A default that does not have the feature's type."""

    code = "TG-113"


class NotAFeature(DefinitionFault):
    """Something other than `agg.<name>(…).over(<window>)` where a feature belongs."""

    code = "TG-114"


class BadSource(DefinitionFault):
    """A source that names no topic, or a format that cannot be read."""

    code = "TG-115"


class BadParameter(DefinitionFault):
    """An aggregate's parameter, or another plain argument, outside what it may be."""

    code = "TG-116"


class BadType(DefinitionFault):
    """Something that is no type of a column, or that cannot be it there."""

    code = "TG-117"


class MixedUp(DefinitionFault):
    """An object of the wrong kind, such as an entity where a stream belongs."""

    code = "TG-118"


class ChangedStream(DefinitionFault):
    """A column of another type than before, or another event time, under a stream's old name."""

    code = "TG-119"


class NotAnAggregate(DefinitionFault):
    """An aggregate of a user's own that does not keep the protocol of `windows.algebra`."""

    code = "TG-120"


class DefinitionErrors(TegulaError):
    """The report: every fault of a set of definitions, in the order of the definitions."""

    code = "TG-199"
    http_status = 422

    def __init__(self, faults: Sequence[DefinitionFault]) -> None:
        many = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"the definitions have {many}")
        self.faults: tuple[DefinitionFault, ...] = tuple(faults)

    def as_dict(self) -> dict[str, Any]:
        """The fields, and under `faults` those of each fault."""
        return {**super().as_dict(), "faults": [fault.as_dict() for fault in self.faults]}

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  {fault}" for fault in self.faults)])
