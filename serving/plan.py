"""What a request needs, resolved once: which builds, which keys, which features.

`Resolved` is everything that one version of the catalogue serves. A request takes the current one
and is answered from it alone, start to end, so that no answer mixes two builds of a view. Services
are compiled when the catalogue changes, lists of features when they are first asked for.

A view keeps being served by the build that is active, also while its changed definition is still
being built: features that only the new definition has are *unready*, and their status is `ERROR`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from ..engine.deployed import build_of
from ..engine.plan import Build, ServicePlan, StreamPlan
from ..engine.plan import compile as compile_plan
from ..schemas import codec
from ..schemas.errors import UnknownFeature, UnknownService
from ..schemas.own import LookUp
from ..state.registry import BuildRow
from ..windows.shape import Shape, WindowedFeature
from .keys import KeyColumns
from .protocol import FeatureRequest
from .single_code import AnswerOne
from .single_series import answer_one

_LISTS_MAX: Final = 1_024
"""Compiled lists of features that are remembered."""


@dataclass(frozen=True, slots=True)
class ServedView:
    """A view as it is served: the features that may be asked for, and the build that has them.

    `build` is None before any build of the view is active. `known` are the names that the applied
    definitions give it; `features`, what the build can answer, may lack some of them while it is
    the one before.
    """

    name: str
    keys: KeyColumns
    known: tuple[str, ...]
    build: Build | None
    features: Mapping[str, WindowedFeature]


@dataclass(frozen=True, slots=True)
class Part:
    """The features of one view that a plan asks for. `entity` counts in the plan's `entities`."""

    view: str
    build: int
    shape: Shape
    entity: int
    names: tuple[str, ...]
    features: tuple[WindowedFeature, ...]
    single: AnswerOne
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """How a service, or a list of features, is answered.

    `names` are the features as `view:feature`, in the order of the answer; `unready` those that no
    active build has; `instants` those whose values are instants. `columns` are the key columns.
    `service` is the one that the plan is for; None: a list of features.
    """

    names: tuple[str, ...]
    entities: tuple[KeyColumns, ...]
    parts: tuple[Part, ...]
    unready: tuple[str, ...]
    instants: tuple[str, ...]
    columns: frozenset[str]
    service: ServicePlan | None = None


@dataclass(frozen=True)
class Resolved:
    """All that one version of the catalogue serves; the key space has `shards` slices."""

    version: int
    shards: int
    views: Mapping[str, ServedView] = field(default_factory=dict)
    services: Mapping[str, FeaturePlan] = field(default_factory=dict)
    streams: Mapping[str, StreamPlan] = field(default_factory=dict)
    _lists: dict[tuple[str, ...], FeaturePlan] = field(default_factory=dict, repr=False)

    def plan_of(self, request: FeatureRequest) -> FeaturePlan:
        """The plan that answers `request`.

        Raises `UnknownService` or `UnknownFeature`.
        """
        if request.service is not None:
            plan = self.services.get(request.service)
            if plan is None:
                raise UnknownService(service=request.service, known=tuple(self.services))
            return plan
        names = request.features or ()
        plan = self._lists.get(names)
        if plan is None:
            plan = compile_features(self.views, [self._split(name) for name in names])
            if len(self._lists) >= _LISTS_MAX:
                self._lists.clear()
            self._lists[names] = plan
        return plan

    def builds(self) -> tuple[Build, ...]:
        """The active builds."""
        return tuple(view.build for view in self.views.values() if view.build is not None)

    def _split(self, name: str) -> tuple[str, str]:
        view_name, _, feature = name.partition(":")
        view = self.views.get(view_name)
        if view is None:
            raise UnknownFeature(feature=name, known=[f"{one}:…" for one in self.views])
        if feature not in view.known:
            raise UnknownFeature(feature=name, known=[f"{view_name}:{one}" for one in view.known])
        return view_name, feature


def resolve(
    version: int,
    shards: int,
    definitions: Mapping[str, Any],
    active: Mapping[str, int],
    builds: Iterable[BuildRow],
    own: LookUp | None = None,
) -> Resolved:
    """Compile what a version of the catalogue serves, from rows of the registry.

    `definitions` are those applied last, in stored form; `active` names the build of each view;
    `own` finds the user's own aggregates.
    """
    applied = codec.load(dict(definitions), own)
    plan = compile_plan(applied)
    rows = {row.id: row for row in builds}
    views = {}
    for wanted in plan.builds:
        row = rows.get(active.get(wanted.view, 0))
        build = None if row is None else build_of(row, applied, own)
        # The applied definition names the features, as long as it means the same state.
        same = build is not None and build.fingerprint == wanted.fingerprint
        answers = wanted if same or build is None else build
        views[wanted.view] = ServedView(
            wanted.view,
            KeyColumns(
                answers.entity, tuple((name, type_.kind) for name, type_ in answers.entity_keys)
            ),
            tuple(feature.name for feature in wanted.shape.features),
            build,
            {} if build is None else {one.name: one for one in answers.shape.features},
        )
    return Resolved(
        version,
        shards,
        MappingProxyType(views),
        MappingProxyType(_services(views, plan.services)),
        MappingProxyType({stream.name: stream for stream in plan.streams}),
    )


def compile_features(
    views: Mapping[str, ServedView], features: Sequence[tuple[str, str]]
) -> FeaturePlan:
    """The plan for `(view, feature)` pairs of known views; a pair that stands twice counts once."""
    pairs = tuple(dict.fromkeys(features))
    by_view: dict[str, list[str]] = {}
    for view_name, feature in pairs:
        by_view.setdefault(view_name, []).append(feature)
    entities = tuple(dict.fromkeys(views[name].keys for name in by_view))
    parts, unready = [], []
    for name, wanted in by_view.items():
        view = views[name]
        unready += [f"{name}:{one}" for one in wanted if one not in view.features]
        chosen = tuple(view.features[one] for one in wanted if one in view.features)
        if view.build is None or not chosen:
            continue
        shape = view.build.shape
        parts.append(
            Part(
                view=name,
                build=view.build.id,
                shape=shape,
                entity=entities.index(view.keys),
                names=tuple(f"{name}:{one.name}" for one in chosen),
                features=chosen,
                single=answer_one(shape, chosen),
                fingerprint=view.build.fingerprint,
            )
        )
    return FeaturePlan(
        names=tuple(f"{view_name}:{feature}" for view_name, feature in pairs),
        entities=entities,
        parts=tuple(parts),
        unready=tuple(unready),
        instants=tuple(
            name
            for part in parts
            for name, one in zip(part.names, part.features, strict=True)
            if (one.output.item or one.output).kind == "time"
        ),
        columns=frozenset(column for entity in entities for column, _ in entity.columns),
    )


def _services(
    views: Mapping[str, ServedView], services: Sequence[ServicePlan]
) -> dict[str, FeaturePlan]:
    """Plans by `name@version`, and by `name` for the newest version."""
    plans: dict[str, FeaturePlan] = {}
    for service in sorted(services, key=lambda one: one.version):
        plan = replace(compile_features(views, service.features), service=service)
        plans[f"{service.name}@{service.version}"] = plan
        plans[service.name] = plan
    return plans
