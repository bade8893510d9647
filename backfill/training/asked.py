"""What a training set is asked for: features and labels, and the builds whose values they are.

Features may come as definitions, which need not be applied anywhere, or as names of what is
applied. Either way they are compiled as `tegula apply` would compile them, so events count for them
as they would count for a build of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...engine.plan import Build, Plan, StreamPlan
from ...engine.plan import compile as compile_plan
from ...schemas.codec import collect
from ...schemas.definitions import Definitions, FeatureRef, FeatureService, FeatureView
from ...schemas.errors import BadDataset, UnknownFeature, UnknownService
from ...schemas.time import Duration, format_duration, parse_duration
from ...schemas.types import DataType
from ...schemas.validation import validate
from ...windows.shape import WindowedFeature

Wanted = FeatureService | FeatureView | FeatureRef | str
"""A service, a view, a feature, or the name of one: `fraud@1`, `spend`, `spend:spent_1h`."""

Keys = tuple[tuple[str, DataType], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Features of one build that are read at the spine's instants, or `delay_us` after them.

    `columns` are their names in the set, in the order of `features`.
    """

    build: Build
    features: tuple[WindowedFeature, ...]
    columns: tuple[str, ...]
    delay_us: int = 0

    @property
    def keys(self) -> Keys:
        """The key columns of its entity."""
        return self.build.entity_keys


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for. `labels` gives, for columns of the spine, when each is known: µs later.

    `definitions` are those that the features need, `columns` the features' and labels' names in the
    order of the set.
    """

    definitions: Definitions
    plan: Plan
    parts: tuple[Part, ...]
    columns: tuple[str, ...]
    labels: Mapping[str, int] = field(default_factory=dict)

    @property
    def streams(self) -> tuple[StreamPlan, ...]:
        """The streams whose events are needed."""
        names = dict.fromkeys(part.build.stream for part in self.parts)
        return tuple(self.plan.stream(name) for name in names)

    @property
    def entities(self) -> tuple[Keys, ...]:
        """The different key columns, in order."""
        return tuple(dict.fromkeys(part.keys for part in self.parts))

    @property
    def outcome_us(self) -> int:
        """The longest that a label takes to be known."""
        delays = [part.delay_us for part in self.parts]
        return max([*self.labels.values(), *delays], default=0)

    @property
    def longest_us(self) -> int:
        """The longest reach of all windows that have one; 0 if none has."""
        windows = [one.window for part in self.parts for one in part.features]
        return max((one.reach_us for one in windows if one.reach_us is not None), default=0)


def resolve(
    features: Wanted | Sequence[Wanted],
    labels: Mapping[Any, Duration] | None,
    applied: Definitions | None,
) -> Asked:
    """What the words mean; `applied` are the definitions that names are looked up in.

    Raises `UnknownFeature` or `UnknownService` for a name, `DefinitionErrors` for a definition that
    is wrong, `BadDataset` where nothing is asked for or one thing twice.
    """
    given = [features] if isinstance(features, Wanted) else list(features)
    # A name means a view that was given beside it, before it means what is applied.
    views = collect(given, [name for name in labels or () if not isinstance(name, str)]).views
    names = {view.name for view in views}
    more = applied or Definitions()
    known = replace(more, views=(*views, *(one for one in more.views if one.name not in names)))
    found = [_found(one, known) for one in given]
    in_spine = {n: parse_duration(d) for n, d in (labels or {}).items() if _is_column(n)}
    of_label = [
        (ref, parse_duration(delay))
        for name, delay in (labels or {}).items()
        if not _is_column(name)
        for ref in _refs(_found(name, known))
    ]
    refs = [(ref, 0) for one in found for ref in _refs(one)]
    if not refs:
        raise BadDataset("no feature is asked for", expected="features, views or services")
    definitions = validate(collect([ref.view for ref, _ in refs], [r.view for r, _ in of_label]))
    plan = compile_plan(definitions)
    parts: dict[tuple[str, int], list[FeatureRef]] = {}
    columns: dict[str, None] = {}
    for ref, delay_us in (*refs, *of_label):
        name = column_of(ref, delay_us)
        if name not in columns:
            columns[name] = None
            parts.setdefault((ref.view.name, delay_us), []).append(ref)
    return Asked(
        definitions,
        plan,
        tuple(_part(plan, view, delay_us, mine) for (view, delay_us), mine in parts.items()),
        tuple(columns),
        in_spine,
    )


def column_of(ref: FeatureRef, delay_us: int) -> str:
    """A feature's column: `spend:spent_1h`; as a label of 30 days later `spend:spent_1h+30d`."""
    return f"{ref}+{format_duration(delay_us)}" if delay_us else str(ref)


def _is_column(name: Any) -> bool:
    return isinstance(name, str) and ":" not in name


def _part(plan: Plan, view: str, delay_us: int, refs: Sequence[FeatureRef]) -> Part:
    build = plan.build_of(view)
    known = {one.name: one for one in build.shape.features}
    for ref in refs:
        if ref.feature not in known:
            raise UnknownFeature(feature=str(ref), known=[f"{view}:{name}" for name in known])
    return Part(
        build,
        tuple(known[ref.feature] for ref in refs),
        tuple(column_of(ref, delay_us) for ref in refs),
        delay_us,
    )


def _refs(one: FeatureService | FeatureView | FeatureRef) -> list[FeatureRef]:
    if isinstance(one, FeatureRef):
        return [one]
    if isinstance(one, FeatureView):
        return list(one)
    return [ref for served in one.features for ref in _refs(served)]


def _found(one: Any, known: Definitions) -> FeatureService | FeatureView | FeatureRef:
    if isinstance(one, FeatureService | FeatureView | FeatureRef):
        return one
    if not isinstance(one, str):
        raise BadDataset(
            "this is no feature", got=repr(one), expected="a service, a view, a feature, or a name"
        )
    views = {view.name: view for view in known.views}
    view, colon, feature = one.partition(":")
    if colon:
        if view not in views or feature not in views[view].features:
            raise UnknownFeature(feature=one, known=[str(r) for v in known.views for r in v])
        return views[view][feature]
    if one in views:
        return views[one]
    return _service(one, known)


def _service(name: str, known: Definitions) -> FeatureService:
    """By `name`, its newest version, or by `name@version`."""
    plain, _, version = name.partition("@")
    named = [one for one in known.services if one.name == plain]
    if version:
        named = [one for one in named if str(one.version) == version]
    if not named:
        services = [f"{one.name}@{one.version}" for one in known.services]
        raise UnknownService(service=name, known=[*services, *(v.name for v in known.views)])
    return max(named, key=lambda one: one.version)
