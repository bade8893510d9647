"""Applying definitions: validated, then stored as one new version with the builds it needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..schemas.codec import dump, load, load_streams
from ..schemas.definitions import Definitions, Stream
from ..schemas.errors import (
    ChangedStream,
    DefinitionErrors,
    OwnAggregateChanged,
    OwnAggregateMissing,
)
from ..schemas.fingerprints import operational, structural
from ..schemas.own import LookUp
from ..schemas.validation import validate
from ..state.registry import Registry, Version, ViewPrint
from .own import OwnAggregates, own_aggregates_of
from .plan import compile as compile_plan
from .settings import Settings


def prints_of(definitions: Definitions) -> dict[str, ViewPrint]:
    """Both fingerprints of each view."""
    return {view.name: ViewPrint(structural(view), operational(view)) for view in definitions.views}


def apply_definitions(
    settings: Settings,
    definitions: Definitions,
    *,
    author: str,
    message: str,
    now_us: int,
    embedded: bool = False,
    own: LookUp | None = None,
) -> Version:
    """Store `definitions` as one new version of the project, making its registry if need be.

    `embedded` reads every stream from the embedded log, whatever its source (for tests). `own`
    finds the user's own aggregates; without it they are imported from the project's folder, as
    engines and servers will. Raises `DefinitionErrors` with every fault, `OwnAggregateMissing` for
    an aggregate that these could not find, what compiling raises, and what the registry raises.
    """
    validate(definitions)
    own = own or OwnAggregates(settings.project)
    require_own(definitions, own)
    compile_plan(definitions)  # what cannot be computed is not stored
    if embedded:
        definitions = _embedded(definitions)
    registry = Registry(settings.registry_url_or_default)
    try:
        registry.create(settings.shards)
        _check_streams(definitions, registry)
        _check_builds(registry, own)
        return registry.apply(
            dump(definitions),
            prints_of(definitions),
            author=author,
            message=message,
            now_us=now_us,
        )
    finally:
        registry.close()


def require_own(definitions: Definitions, own: LookUp) -> None:
    """Raise `OwnAggregateMissing` for an own aggregate that other processes could not find."""
    for handle in own_aggregates_of(definitions):
        try:
            own(handle)
        except OwnAggregateChanged:
            raise
        except OwnAggregateMissing as fault:
            raise OwnAggregateMissing(
                name=handle.name,
                version=handle.version,
                module=handle.module,
                got=fault.got,
                hint="what `own_aggregate` returns stands at the top of a module in the project's"
                " folder, or of one that is installed; where its class is defined in another, say"
                " own_aggregate(…, module=__name__)",
            ) from fault


def _check_builds(registry: Registry, own: LookUp) -> None:
    """Raise `OwnAggregateMissing` if a build that runs needs one that the project has no more."""
    for build in registry.builds(("catching_up", "live")):
        load(build.definition, own)


def _check_streams(definitions: Definitions, registry: Registry) -> None:
    """Raise `DefinitionErrors` if a stream now means something else by a name that it had before.

    One reader serves all builds of a stream, those of older definitions too, and one archive holds
    all that ever came, also of columns that have left; either takes new columns, and neither a
    column of two types.
    """
    stored = [*registry.every_definitions()]
    stored += [build.definition for build in registry.builds(("catching_up", "live"))]
    now = {stream.name: stream for stream in definitions.streams}
    found = {}
    for before in [stream for one in stored for stream in load_streams(one)]:
        stream = now.get(before.name)
        if stream is not None:
            found.update({str(fault): fault for fault in _changed(before, stream)})
    if found:
        raise DefinitionErrors(tuple(found.values()))


def _changed(before: Stream, now: Stream) -> Iterator[ChangedStream]:
    if before.event_time != now.event_time:
        yield ChangedStream(
            "the event time of a stream stays the same column",
            where=f"stream {now.name!r}, event_time",
            got=repr(now.event_time),
            expected=repr(before.event_time),
            hint="define a stream of another name beside this one",
        )
    for name in before.schema.keys() & now.schema.keys():
        if before.schema[name].arrow != now.schema[name].arrow:
            yield ChangedStream(
                "a column keeps its type",
                where=f"stream {now.name!r}, column {name!r}",
                got=str(now.schema[name]),
                expected=str(before.schema[name]),
                hint="give the new column another name; the old one may go from the schema",
            )


def _embedded(definitions: Definitions) -> Definitions:
    streams = {stream.name: replace(stream, source=None) for stream in definitions.streams}
    return replace(
        definitions,
        streams=tuple(streams.values()),
        views=tuple(replace(view, stream=streams[view.stream.name]) for view in definitions.views),
    )
