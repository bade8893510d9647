"""Every fault of a set of definitions, found in one go.

Each fault names its place and its remedy. Validation is the gate: what passes it compiles to a
plan, and everything after it may rely on what the annotations in `definitions` promise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..definitions import Definitions
from ..errors import DefinitionErrors, DefinitionFault, DuplicateName, shown
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
    yield from _duplicates("entity", definitions.entities)
    yield from _duplicates("stream", definitions.streams)
    yield from _duplicates("view", definitions.views)
    yield from _duplicates("service", definitions.services)


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
