"""The plan: what has to be kept and computed, compiled from validated definitions.

Definitions say what a user wants; a plan says what the engine does for it, with nothing left to
decide: which streams are read, which builds are fed, which states each tile of a build holds (each
once, however many features share it), and how each feature finishes. It is pure data. The dataflow,
the mirror and the servers are all driven by the same plan, which is why they agree.

`Plan.describe()` prints one; the text is stable and held by golden files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from ..schemas.definitions import (
    Definitions,
    Feature,
    FeatureRef,
    FeatureService,
    FeatureView,
    Kafka,
    Stream,
)
from ..schemas.errors import DuplicateName
from ..schemas.expressions import lower
from ..schemas.fingerprints import structural
from ..schemas.inputs import feature_input, input_kind, input_types, stored_params, zone_input
from ..schemas.nodes import Node, fingerprint, text
from ..schemas.time import parse_duration
from ..schemas.types import DataType
from ..windows.aggregates.ordered import LAST
from ..windows.algebra import Monoid
from ..windows.over import OverSession
from ..windows.shape import Shape, Slot, WindowedFeature
from .plan_text import describe
from .plan_windows import aggregate_of, lateness_of, window_of

__all__ = ["Build", "Plan", "ServicePlan", "StreamPlan", "compile", "compile_view"]


Inputs: TypeAlias = Mapping[Node, tuple[DataType, ...]]
"""Distinct inputs with their types: one, or the two of a pair."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """How one stream is read; all spans in µs."""

    name: str
    schema: Mapping[str, DataType]
    event_time: str
    disorder_us: int
    ahead_us: int
    idle_timeout_us: int
    partition_by: str | None
    source: Kafka | None
    unique_by: str | None = None
    unique_within_us: int = 0


@dataclass(frozen=True)
class Build:
    """One structural version of a view: what its events become, and what its tiles hold.

    `inputs` are the distinct columns that aggregates read: a name for people, the expression, the
    kind of its values (of pairs, both: `"float,int"`); `Slot.input` counts in them. `fingerprint`
    is the view's structural one, which state carries and must match. `allowed_lateness_us` is None
    where retention decides.
    """

    id: int
    view: str
    entity: str
    stream: str
    entity_keys: tuple[tuple[str, DataType], ...]
    where: Node | None
    inputs: tuple[tuple[str, Node, str], ...]
    shape: Shape
    fingerprint: str
    disorder_us: int
    allowed_lateness_us: int | None

    @property
    def expiry_us(self) -> int | None:
        """How far behind its watermark an event still counts; None: however far."""
        bounds = (self.shape.retention_us, self.allowed_lateness_us)
        return min((bound for bound in bounds if bound is not None), default=None)

    @property
    def foldable_us(self) -> int | None:
        """How far behind its watermark an event could be and still be folded rightly; None: any.

        Past its lateness too, while retention holds it; but not where sessions were pruned by it.
        """
        features = self.shape.features
        if any(isinstance(feature.aggregate, OverSession) for feature in features):
            return self.expiry_us
        return self.shape.retention_us


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What a service answers: `(view, feature)` pairs in the order of the answer.

    `served_share` is the share of its requests that the served log keeps; None: the settings' own.
    """

    name: str
    version: int
    features: tuple[tuple[str, str], ...]
    served_share: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All streams, builds and services of one set of definitions, in their order."""

    streams: tuple[StreamPlan, ...]
    builds: tuple[Build, ...]
    services: tuple[ServicePlan, ...]

    def stream(self, name: str) -> StreamPlan:
        """The stream of that name; it must be in the plan."""
        return next(stream for stream in self.streams if stream.name == name)

    def build_of(self, view: str) -> Build:
        """The build of the view of that name; it must be in the plan."""
        return next(build for build in self.builds if build.view == view)

    def service(self, name: str, version: int | None = None) -> ServicePlan | None:
        """The service of that name: in that version, else in its newest one; None if unknown."""
        named = [one for one in self.services if one.name == name]
        if version is not None:
            named = [one for one in named if one.version == version]
        return max(named, key=lambda one: one.version, default=None)

    def describe(self) -> str:
        """The plan for people: streams, then builds, then services."""
        return describe(self)


def compile(definitions: Definitions, builds: Mapping[str, int] | None = None) -> Plan:
    """The plan of validated definitions.

    `builds` gives the number of each view's build, as the registry handed it out. Without it
    builds are numbered from 1 in the order of the views, for plans that are only looked at.
    """
    numbers = builds or {view.name: n for n, view in enumerate(definitions.views, start=1)}
    return Plan(
        tuple(map(stream_plan, definitions.streams)),
        tuple(compile_view(view, numbers[view.name]) for view in definitions.views),
        tuple(_service(service) for service in definitions.services),
    )


def compile_view(view: FeatureView, build: int) -> Build:
    """The build of one validated view, under the number `build`.

    Two views with equal structural fingerprints get builds whose tiles hold the same states.
    Raises `OwnAggregateMissing` where an aggregate of the user's own was not looked up, and
    `DuplicateName` where two of them keep different states under one name.
    """
    inputs = _inputs(view)
    slots = _slots(view, inputs)
    places = {(slot.monoid.name, slot.input): number for number, slot in enumerate(slots)}
    disorder_us = parse_duration(view.stream.disorder)
    lateness_us = lateness_of(view)
    return Build(
        id=build,
        view=view.name,
        entity=view.entity.name,
        stream=view.stream.name,
        entity_keys=tuple(view.entity.keys.items()),
        where=None if view.where is None else lower(view.where),
        inputs=tuple((text(node), node, input_kind(types)) for node, types in inputs.items()),
        shape=Shape(
            slots=slots,
            features=tuple(
                _feature(name, feature, inputs, places) for name, feature in view.features.items()
            ),
            depth_us=parse_duration(view.history),
            disorder_us=disorder_us,
            lateness_us=lateness_us,
        ),
        fingerprint=structural(view),
        disorder_us=disorder_us,
        allowed_lateness_us=lateness_us,
    )


def _inputs(view: FeatureView) -> dict[Node, tuple[DataType, ...]]:
    """The distinct inputs with their types, in an order that no order of features decides.

    Slots count in it and stored tiles hold slots by place, so it must not change when features are
    written in another order.
    """
    features = view.features.values()
    given = [*map(feature_input, features), *map(zone_input, features)]
    nodes = {node for node in given if node is not None}
    ordered = sorted(nodes, key=lambda node: (text(node), fingerprint(node)))
    return {node: input_types(node, view.stream.schema) for node in ordered}


def _needs(feature: Feature, inputs: Inputs) -> list[tuple[Monoid, int | None]]:
    """The states that a feature reads: each with the place of its input among all inputs."""
    node = feature_input(feature)
    kind = None if node is None else input_kind(inputs[node])
    needs = aggregate_of(feature, kind).needs(kind, stored_params(feature.aggregate))
    place = None if node is None else list(inputs).index(node)
    return [(need.monoid, place if need.takes_input else None) for need in needs]


def _zone(feature: Feature, inputs: Inputs) -> list[tuple[Monoid, int | None]]:
    """The state that tells a key's own time zone, for a window that goes by it: the last name."""
    node = zone_input(feature)
    if node is None:
        return []
    return [(need.monoid, list(inputs).index(node)) for need in LAST.needs("string", {})]


def _slots(view: FeatureView, inputs: Inputs) -> tuple[Slot, ...]:
    """Each distinct (monoid, input) once, ordered by input and name: the order in stored tiles."""
    found: dict[tuple[int, str], Slot] = {}
    names = [text(node) for node in inputs]
    for feature in view.features.values():
        for monoid, place in (*_needs(feature, inputs), *_zone(feature, inputs)):
            shown = monoid.name if place is None else f"{monoid.name}({names[place]})"
            slot, at = Slot(shown, monoid, place), (-1 if place is None else place, monoid.name)
            if found.setdefault(at, slot) != slot:
                raise DuplicateName(
                    f"there are two different formats of states called {monoid.name!r}",
                    where=f"view {view.name!r}",
                    hint="begin the name of a state with that of your aggregate",
                )
    return tuple(found[key] for key in sorted(found))


def _feature(
    name: str,
    feature: Feature,
    inputs: Inputs,
    places: Mapping[tuple[str, int | None], int],
) -> WindowedFeature:
    spec = feature.aggregate
    node = feature_input(feature)
    kind = None if node is None else input_kind(inputs[node])
    input_type, aggregate = None if node is None else inputs[node][0], aggregate_of(feature, kind)
    params = MappingProxyType(stored_params(spec))
    return WindowedFeature(
        name=name,
        aggregate=aggregate,
        slots=tuple(places[monoid.name, place] for monoid, place in _needs(feature, inputs)),
        window=window_of(
            feature.window,
            *(places[monoid.name, place] for monoid, place in _zone(feature, inputs)),
        ),
        output=aggregate.output(input_type, params),
        default=feature.default,
        params=params,
    )


def stream_plan(stream: Stream) -> StreamPlan:
    """How a validated stream is read."""
    return StreamPlan(
        name=stream.name,
        schema=stream.schema,
        event_time=stream.event_time,
        disorder_us=parse_duration(stream.disorder),
        ahead_us=parse_duration(stream.ahead),
        idle_timeout_us=parse_duration(stream.idle_timeout),
        partition_by=stream.partition_by,
        source=stream.source,
        unique_by=stream.unique_by,
        unique_within_us=parse_duration(stream.unique_within),
    )


def _service(service: FeatureService) -> ServicePlan:
    pairs: list[tuple[str, str]] = []
    for served in service.features:
        if isinstance(served, FeatureRef):
            pairs.append((served.view.name, served.feature))
        else:
            pairs += [(served.name, feature) for feature in served.features]
    return ServicePlan(service.name, service.version, tuple(pairs), service.served_share)
