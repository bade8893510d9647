"""Aggregates of a user's own: as a definition holds one, and as it is stored.

A definition holds the *handle* that `own_aggregate` returned, and by it the implementation. What is
stored names it: name, version, module, and a checksum of the format of its states. A process that
reads stored definitions imports the module and finds the handle in it (`engine.own`). Until then
the handle has no implementation, which is enough to compare definitions, and never enough to
compute: whoever compiles it says which one is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import polars as pl

from .definitions import CATEGORIES_SHOWN, AggregateSpec
from .errors import DefinitionFault, OwnAggregateMissing
from .signatures import SIGNATURES, Signature

RESERVED: Final = frozenset({"where", "by", "cap"})
"""What every aggregate takes beside its own parameters, which so cannot be called that."""

Input: TypeAlias = pl.Expr | str


@dataclass(frozen=True, slots=True)
class OwnAggregate:
    """An aggregate of a user's own. Call it with a column, as those in `agg` are called.

    Made by `own_aggregate`, at the top of the module `module`. Two are the same where name,
    `version`, `module` and `format` are. `faults` are what is wrong with it, for validation.
    """

    name: str
    version: int
    module: str
    format: str
    implementation: Any = field(default=None, compare=False, repr=False)
    signature: Signature | None = field(default=None, compare=False, repr=False)
    faults: tuple[DefinitionFault, ...] = field(default=(), compare=False, repr=False)

    def __call__(
        self,
        column: Input | None = None,
        other: Input | None = None,
        /,
        *,
        where: Input | None = None,
        by: Input | None = None,
        cap: int = CATEGORIES_SHOWN,
        **params: Any,
    ) -> AggregateSpec:
        """The aggregate over a column, or over two: say `.over(window)`. `where`, `by` and `cap` as
        in `agg`; a parameter that is not given has the value of its example."""
        known = {} if self.signature is None else self.signature.params
        given: Any = column if other is None else (column, other)  # judged when it is validated
        return AggregateSpec(
            self.name,
            given,
            {name: one.example for name, one in known.items()} | params,
            where,
            by,
            cap,
            self,
        )

    def resolved(self) -> Any:
        """The implementation. Raises `OwnAggregateMissing` if it was not looked up."""
        if self.implementation is None:
            raise OwnAggregateMissing(
                name=self.name, version=self.version, module=self.module, got="no implementation"
            )
        return self.implementation


LookUp: TypeAlias = Callable[[OwnAggregate], OwnAggregate]
"""Gives the handle with an implementation for one without."""


def signature_of(spec: AggregateSpec) -> Signature | None:
    """What the aggregate of that name takes and gives; None if there is none, or it is not known.

    >>> signature_of(AggregateSpec("sum", "x")) is SIGNATURES["sum"]
    True
    """
    if spec.own is not None:
        return spec.own.signature
    name: Any = spec.name  # not validated yet: it may be of a type that cannot be looked up
    return SIGNATURES.get(name) if isinstance(name, str) else None
