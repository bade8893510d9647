"""Recommendations: definitions that are right, and that their author may still want to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..engine.settings import Settings
from ..schemas.definitions import Definitions, FeatureRef, FeatureView, Stream
from ..schemas.time import parse_duration
from ..schemas.windows import EXACT, LifetimeSpec, SlidingSpec, ZonedCalendarSpec


@dataclass(frozen=True, slots=True)
class Advice:
    """One recommendation: where, and what with its reason."""

    where: str
    text: str


def advise(definitions: Definitions, settings: Settings) -> tuple[Advice, ...]:
    """All recommendations for validated definitions, in their order."""
    return tuple(_all(definitions, settings))


def _all(definitions: Definitions, settings: Settings) -> Iterator[Advice]:
    for stream in definitions.streams:
        source = stream.source
        if source is not None and not (source.bootstrap or settings.kafka_bootstrap):
            yield Advice(
                f"stream {stream.name!r}",
                "no brokers are named for its topic here: set `kafka.bootstrap` in tegula.toml or "
                "TEGULA_KAFKA_BOOTSTRAP where the engine runs",
            )
        yield from _of_stream(stream)
    served = {
        (one.view if isinstance(one, FeatureRef) else one).name
        for service in definitions.services
        for one in service.features
    }
    for view in definitions.views:
        yield from _of_view(view)
        if view.name not in served:
            yield Advice(
                f"view {view.name!r}",
                "no service names it: a FeatureService gives a model one stable set to ask for",
            )


def _of_stream(stream: Stream) -> Iterator[Advice]:
    where = f"stream {stream.name!r}"
    if stream.source is not None:
        yield Advice(
            where,
            "set `message.timestamp.type=LogAppendTime` on the topic: with CreateTime a producer's "
            "clock decides what counts as late or as future",
        )
        if parse_duration(stream.disorder) == 0:
            yield Advice(
                where,
                "disorder is 0s: producers that share a partition are rarely in order; say how far "
                'out of order they may be (`disorder="30s"`), late events are counted either way',
            )
    elif stream.partition_by is None:
        yield Advice(
            where,
            "without `partition_by` events are spread in turn: `first` and `last` of events at the "
            "same instant follow partitions, not the order in which they were pushed",
        )


def _of_view(view: FeatureView) -> Iterator[Advice]:
    where = f"view {view.name!r}"
    windows = [feature.window for feature in view.features.values()]
    if any(isinstance(window, LifetimeSpec) for window in windows):
        yield Advice(where, "a lifetime window keeps every key for ever; state grows with the keys")
    elif any(isinstance(window, ZonedCalendarSpec) for window in windows):
        yield Advice(
            where,
            "the time zone that a key named last is kept for ever; state grows with the keys",
        )
    exact = [
        parse_duration(window.offset) + parse_duration(window.length)
        for window in windows
        if isinstance(window, SlidingSpec) and window.resolution == EXACT
    ]
    if exact and max(exact) > parse_duration("1d"):
        yield Advice(
            where,
            'resolution="exact" over more than a day keeps every instant of it; "auto" is off by '
            "at most 4.2 % of the length, at the older edge only",
        )
    if not view.owner:
        yield Advice(where, "it has no owner: nobody is told when it breaks")
