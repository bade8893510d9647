"""What a user defines: entities, streams, feature views, feature services.

Frozen data made by plain calls. A constructor never raises for what its arguments *mean*: a
definition may be wrong in several ways at once, and `validation` finds them all in one report. So
the annotations here say what is right, and only validated definitions are known to hold it.

A definition that others refer to is held by reference (`view.stream` is the stream), so a set of
definitions is whole as soon as its services and views are at hand (`codec.collect`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import polars as pl

from .time import Duration
from .types import DataType
from .windows import WindowSpec

if TYPE_CHECKING:
    from .own import OwnAggregate

CATEGORIES_SHOWN: Final = 100
"""Categories that a map gives apart, where none else is asked for."""


def _frozen(mapping: Any) -> Any:
    """A copy that nobody can change; anything that is no mapping stays, for validation to find."""
    return MappingProxyType(dict(mapping)) if isinstance(mapping, Mapping) else mapping


@dataclass(frozen=True, slots=True)
class Entity:
    """What a feature describes: a card, a driver; its `keys` tell one from another.

    >>> Entity("card", keys={"card_id": DataType("String")}).name
    'card'
    """

    name: str
    keys: Mapping[str, DataType]
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", _frozen(self.keys))


@dataclass(frozen=True, slots=True)
class Kafka:
    """A stream's source: one Kafka topic. Without `bootstrap` the settings' brokers are used."""

    topic: str
    format: str = "json"
    bootstrap: str | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """Events of one kind, with a schema and the column that holds their event time.

    `disorder`: how far out of order events may come; an event further behind is *late*.
    `ahead`: how far an event may be dated past its log timestamp; further is dead-lettered.
    `idle_timeout`: a partition silent for this long no longer holds the watermark back.
    `partition_by`: the column by which the embedded log spreads events (in turn without it).
    `unique_by`: the column by which a copy of an event is known; of events with one value of it, no
    further apart in event time than `unique_within`, the one that is read first counts.
    `source`: `Kafka(…)`, or None for the embedded log.
    """

    name: str
    schema: Mapping[str, DataType] = field(kw_only=True)
    event_time: str = field(kw_only=True)
    disorder: Duration = field(default="0s", kw_only=True)
    ahead: Duration = field(default="10m", kw_only=True)
    idle_timeout: Duration = field(default="1m", kw_only=True)
    partition_by: str | None = field(default=None, kw_only=True)
    unique_by: str | None = field(default=None, kw_only=True)
    unique_within: Duration = field(default="1d", kw_only=True)
    source: Kafka | None = field(default=None, kw_only=True)
    owner: str = field(default="", kw_only=True)
    description: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", _frozen(self.schema))


@dataclass(frozen=True, slots=True, eq=False)
class AggregateSpec:
    """An aggregate over a column or expression, not yet a feature: say `.over(window)`.

    `input` is a column's name, a Polars expression over one event's columns, several of these where
    the aggregate reads pairs or vectors, or None where events themselves are counted. `where`: only
    events for which it is true are looked at. `by`: a second column or expression, the category of
    an event; then the value is a map, of at most `cap` categories and the rest. `own`: the user's
    own aggregate of that name, where it is not one of Tegula's.
    """

    name: str
    input: pl.Expr | str | tuple[pl.Expr | str, ...] | None
    params: Mapping[str, Any] = field(default_factory=dict)
    where: pl.Expr | str | None = None
    by: pl.Expr | str | None = None
    cap: int = CATEGORIES_SHOWN
    own: OwnAggregate | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", _frozen(self.params))

    def over(self, window: WindowSpec, *, default: Any = None, description: str = "") -> Feature:
        """The feature that this aggregate has over a window.

        `default` is served instead of null, where the window holds no value.
        """
        return Feature(self, window, default=default, description=description)


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """One named, typed value of a key at an instant; its name is given by the view."""

    aggregate: AggregateSpec
    window: WindowSpec
    default: Any = None
    description: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureView:
    """Features of one entity, aggregated from one stream.

    `where`: only events for which it is true are aggregated.
    `history`: how far back reading with `as_of` stays exact.
    `allowed_lateness`: an event further behind its watermark is expired; without it, as late as
    retention can still hold it.
    """

    name: str
    entity: Entity = field(kw_only=True)
    stream: Stream = field(kw_only=True)
    features: Mapping[str, Feature] = field(kw_only=True)
    where: pl.Expr | None = field(default=None, kw_only=True)
    history: Duration = field(default="15m", kw_only=True)
    allowed_lateness: Duration | None = field(default=None, kw_only=True)
    owner: str = field(default="", kw_only=True)
    description: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", _frozen(self.features))

    def __getitem__(self, feature: str) -> FeatureRef:
        """A reference to one feature, for a service; validation finds those that do not exist."""
        return FeatureRef(self, feature)

    def __iter__(self) -> Iterator[FeatureRef]:
        """References to all features, in order. (Without it, Python would ask for `view[0]` …)"""
        return (FeatureRef(self, feature) for feature in self.features)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRef:
    """One feature of a view. As text it reads `view:feature`."""

    view: FeatureView
    feature: str

    def __str__(self) -> str:
        return f"{self.view.name}:{self.feature}"


Served: TypeAlias = FeatureView | FeatureRef


@dataclass(frozen=True, slots=True, eq=False)
class FeatureService:
    """The set of features that a model asks for, under one name and version (1, 2, …).

    A view stands for all of its features, in their order. `served_share`: the share of its requests
    whose answers the served log keeps, from 0 (none) to 1 (all); None: as the settings say.
    """

    name: str
    version: int = field(kw_only=True)
    features: Sequence[Served] = field(kw_only=True)
    served_share: float | None = field(default=None, kw_only=True)
    owner: str = field(default="", kw_only=True)
    description: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        given: Any = self.features
        if isinstance(given, Sequence) and not isinstance(given, str):
            object.__setattr__(self, "features", tuple(given))


@dataclass(frozen=True, slots=True)
class Definitions:
    """A whole set: every definition that any of them refers to is in it, each once."""

    entities: tuple[Entity, ...] = ()
    streams: tuple[Stream, ...] = ()
    views: tuple[FeatureView, ...] = ()
    services: tuple[FeatureService, ...] = ()
