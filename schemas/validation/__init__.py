"""Every fault of a set of definitions, found in one go.

Each fault names its place and its remedy. Validation is the gate: what passes it compiles to a
plan, and everything after it may rely on what the annotations in `definitions` promise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..definitions import Definitions
from ..errors import DefinitionErrors, DefinitionFault, DuplicateName, shown
from ..own import OwnAggregate
from .services import service_faults
from .streams import entity_faults, stream_faults
from .views import view_faults

__all__ = ["faults", "validate"]


def validate(definitions: Definitions) -> Definitions:
    """The definitions, if nothing is wrong with them; else `DefinitionErrors` with every fault."""
    found = faults(definitions)
    if found:
        raise DefinitionErrors(found)
    return definitions


def faults(definitions: Definitions) -> tuple[DefinitionFault, ...]:
    """All faults, in the order entities, streams, views, services; empty if there are none."""
    return tuple(_all_faults(definitions))


def _all_faults(definitions: Definitions) -> Iterator[DefinitionFault]:
    for entity in definitions.entities:
        yield from entity_faults(entity)
    for stream in definitions.streams:
        yield from stream_faults(stream)
    for view in definitions.views:
        yield from view_faults(view)
    for service in definitions.services:
        yield from service_faults(service)
    yield from _two_of_a_name(definitions)
    yield from _duplicates("entity", definitions.entities)
    yield from _duplicates("stream", definitions.streams)
    yield from _duplicates("view", definitions.views)
    yield from _duplicates("service", definitions.services)


def _two_of_a_name(definitions: Definitions) -> Iterator[DefinitionFault]:
    """Different aggregates of the user's own under one name."""
    seen: dict[str, OwnAggregate] = {}
    for view in definitions.views:
        given: Any = view.features
        features = given.values() if isinstance(given, Mapping) else ()
        for own in (getattr(getattr(one, "aggregate", None), "own", None) for one in features):
            if own is not None and seen.setdefault(own.name, own) != own:
                yield DuplicateName(
                    f"there are two different aggregates called {own.name!r}",
                    where=f"view {shown(view.name)}",
                    got=f"version {own.version} of module {own.module}",
                    expected=f"version {seen[own.name].version} of module {seen[own.name].module}",
                    hint="use one version of it everywhere; give another aggregate another name",
                )


def _duplicates(kind: str, definitions: Sequence[Any]) -> Iterator[DefinitionFault]:
    seen: set[str] = set()
    for one in definitions:
        named = f"{kind} {shown(one.name)}"
        if kind == "service":
            named += f" version {shown(one.version)}"
        if named in seen:
            yield DuplicateName(
                f"there are two different definitions of {named}",
                where=f"{kind} {shown(one.name)}",
                hint="rename one, or define it in one place and import it",
            )
        seen.add(named)
