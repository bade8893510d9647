"""The faults of feature services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..definitions import FeatureRef, FeatureView
from ..errors import (
    BadParameter,
    DefinitionFault,
    DuplicateName,
    MixedUp,
    UnknownReference,
    one_of,
    shown,
)
from .checks import did_you_mean, has, name_faults, text_faults


def service_faults(service: Any) -> Iterator[DefinitionFault]:
    """What is wrong with one service, its references among it."""
    place = f"service {shown(service.name)}"
    yield from name_faults(service.name, place)
    yield from text_faults(service, place)
    version = service.version
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version < 2**31:
        yield BadParameter(
            "the version is not one", where=place, got=shown(version), expected="1, 2, 3 and so on"
        )
    share = service.served_share
    if share is not None and (
        not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1
    ):
        yield BadParameter(
            "the share that is kept of what is served is not one",
            where=f"{place}, served_share",
            got=shown(share),
            expected="a number from 0 (nothing is kept) to 1 (all is)",
        )
    if not isinstance(service.features, Sequence) or not service.features:
        yield UnknownReference(
            "a service needs features",
            where=place,
            got=shown(service.features),
            expected="a list of views, and features such as spend['spent_1h']",
        )
        return
    seen: set[str] = set()
    for one in service.features:
        if isinstance(one, FeatureView) and isinstance(one.features, Mapping):
            refs = [FeatureRef(one, name) for name in one.features]
        elif isinstance(one, FeatureRef) and isinstance(one.view.features, Mapping):
            refs = [one]
            yield from _reference_faults(one, place)
        else:
            refs = []
            if not isinstance(one, FeatureView | FeatureRef):
                yield _not_served(one, place)
        for name in map(str, refs):
            if name in seen:
                yield DuplicateName(
                    f"the feature {name} is listed twice", where=place, hint="list it once"
                )
            seen.add(name)


def _reference_faults(ref: Any, place: str) -> Iterator[DefinitionFault]:
    known = [str(name) for name in ref.view.features]
    if not has(ref.view.features, ref.feature):
        yield UnknownReference(
            f"the view {shown(ref.view.name)} has no feature {shown(ref.feature)}",
            where=place,
            got=shown(ref.feature),
            expected=one_of(known),
            hint=did_you_mean(ref.feature, known),
        )


def _not_served(one: Any, place: str) -> DefinitionFault:
    return MixedUp(
        "this is neither a view nor a feature of one",
        where=place,
        got=shown(one),
        expected="a view such as spend, or a feature such as spend['spent_1h']",
        hint="refer to the objects themselves, not to their names" if isinstance(one, str) else "",
    )
