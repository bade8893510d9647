"""A plan as text: what people read in `tegula plan`, and what golden files hold.

Nothing here decides anything; it only says what a plan holds, in words of the glossary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..schemas.nodes import text
from ..schemas.time import SECOND_US, format_duration
from ..windows.geometry import (
    Calendar,
    Hopping,
    IncludingInstant,
    Newest,
    Series,
    Sliding,
    Tumbling,
    Window,
)
from ..windows.ladder import RUNG_US, SECOND
from ..windows.maps import ByCategory
from ..windows.over import OverRows, OverSession
from ..windows.shape import Shape, Slot, WindowedFeature
from ..windows.zoned import ZonedCalendar

if TYPE_CHECKING:
    from .plan import Build, Plan, ServicePlan, StreamPlan


def describe(plan: Plan) -> str:
    """The whole plan, one block a stream, build and service, ending with a newline."""
    blocks = [
        *(_stream(stream) for stream in plan.streams),
        *(_build(build) for build in plan.builds),
        *(_service(service) for service in plan.services),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _stream(stream: StreamPlan) -> Iterator[str]:
    yield f"stream {stream.name}"
    source = stream.source
    if source is None:
        spread = f"by {stream.partition_by}" if stream.partition_by else "in turn"
        yield f"  source      the embedded log, events spread {spread}"
    else:
        broker = f" at {source.bootstrap}" if source.bootstrap else ""
        yield f"  source      Kafka topic {source.topic}{broker}, {source.format}"
    yield f"  columns     {', '.join(f'{name} {dtype}' for name, dtype in stream.schema.items())}"
    yield f"  event time  {stream.event_time}"
    yield f"  disorder    {format_duration(stream.disorder_us)}"
    yield f"  ahead       at most {format_duration(stream.ahead_us)} of the log"
    yield f"  idle        after {format_duration(stream.idle_timeout_us)}"
    if stream.unique_by is not None:
        within = format_duration(stream.unique_within_us)
        yield f"  unique      by {stream.unique_by} within {within}; state is read for every event"


def _build(build: Build) -> Iterator[str]:
    shape = build.shape
    keys = ", ".join(f"{name} {dtype}" for name, dtype in build.entity_keys)
    yield f"build {build.id} of view {build.view}"
    yield f"  stream      {build.stream}"
    yield f"  entity      {build.entity} ({keys})"
    yield f"  where       {'every event' if build.where is None else text(build.where)}"
    yield f"  lateness    {_lateness(build)}"
    yield f"  fingerprint {build.fingerprint}"
    yield f"  tiles       {_rungs(shape)}"
    kept = "for ever" if shape.retention_us is None else _rounded(shape.retention_us)
    yield f"  kept        {kept}, exact as of the last {format_duration(shape.depth_us)}"
    yield f"  states      {_weight(shape.slots)}"
    yield from _table([(str(i), slot.name, _fields(slot)) for i, slot in enumerate(shape.slots)])
    yield f"  features    {len(shape.features)}"
    yield from _table([_feature(feature) for feature in shape.features])


def _lateness(build: Build) -> str:
    if build.allowed_lateness_us is None:
        return "as late as retention can hold"
    return f"at most {format_duration(build.allowed_lateness_us)} behind the watermark"


def _rungs(shape: Shape) -> str:
    """The rungs from fine to coarse, each with how far before the horizon it begins."""
    told = [_width(SECOND)]
    for rung, distance_us in reversed(shape.coarsening):
        before = f"{_rounded(distance_us)} before " if distance_us else ""
        told.append(f"{_width(rung)} from {before}the horizon")
    if (days := shape.civil_days) is not None:
        before = f"{_rounded(days.distance_us)} before " if days.distance_us else ""
        told.append(f"days of {days.zone} from {before}the horizon")
    if shape.segment_reach_us is not None:
        told.append(f"instants beside them for {_rounded(shape.segment_reach_us)}")
    return ", ".join(told)


def _rounded(span_us: int) -> str:
    """A span up to the next second: reaches end one µs short of a full step."""
    return format_duration(-(-span_us // SECOND_US) * SECOND_US)


def _width(rung: int) -> str:
    return format_duration(RUNG_US[rung])


def _weight(slots: Sequence[Slot]) -> str:
    """What one tile weighs: fixed bytes, and how many fields vary."""
    fields = [field for slot in slots for field in slot.monoid.fields]
    varying = sum(field.dtype == "bytes" for field in fields)
    fixed = f"{8 * (len(fields) - varying)} bytes a tile"
    return fixed if not varying else f"{fixed} and {varying} of varying size"


def _fields(slot: Slot) -> str:
    return " ".join(f"{field.name}:{field.dtype}" for field in slot.monoid.fields)


def _feature(feature: WindowedFeature) -> tuple[str, ...]:
    params = "".join(f", {name}={value}" for name, value in sorted(feature.params.items()))
    states = ", ".join(map(str, feature.slots))
    default = "" if feature.default is None else f"default {feature.default!r}"
    by = f", by category, cap={cap}" if (cap := _cap(feature)) else ""
    computed = f"{feature.aggregate.name} of states {states}{params}{by}"
    output = f"list of {feature.output}" if isinstance(feature.window, Series) else feature.output
    return (feature.name, str(output), computed, _over(feature), default)


def _cap(feature: WindowedFeature) -> int | None:
    """How many categories a map gives apart; None of what is no map."""
    return feature.aggregate.cap if isinstance(feature.aggregate, ByCategory) else None


def _over(feature: WindowedFeature) -> str:
    """The feature's window in words, also where order cuts it."""
    aggregate, window = feature.aggregate, window_text(feature.window)
    if isinstance(aggregate, OverRows):
        cut = "events since a match, at most" if aggregate.marked else "last"
        rows = f"{cut} {aggregate.cap - aggregate.skip}"
        rows += f" before the newest {aggregate.skip}" if aggregate.skip else ""
        return window.replace("lifetime", rows) if "lifetime" in window else f"{rows} {window}"
    if isinstance(aggregate, OverSession):
        gap = format_duration(aggregate.gap_us)
        return window.replace("lifetime", f"newest session, gap {gap}")
    return window


def window_text(window: Window) -> str:
    """A window in words.

    >>> window_text(Sliding(3_600_000_000, 60_000_000))
    'sliding 1h, older edge on 1m'
    """
    if isinstance(window, IncludingInstant):
        return f"{window_text(window.window)}, the instant included"
    if isinstance(window, Sliding):
        exact = window.resolution_us == 1
        grid = "exact" if exact else f"on {format_duration(window.resolution_us)}"
        length = format_duration(window.length_us)
        if not window.offset_us:
            return f"sliding {length}, older edge {grid}"
        return f"sliding {length}, {format_duration(window.offset_us)} before, both edges {grid}"
    if isinstance(window, Hopping):
        hop = format_duration(window.hop_us)
        return f"hopping {format_duration(window.size_us)} by {hop}, {_which(window.current)}"
    if isinstance(window, Tumbling):
        return f"tumbling {format_duration(window.size_us)}, {_which(window.current)}"
    if isinstance(window, Series):
        newest, count = window_text(window.windows[0]), len(window.windows)
        if count == 1:
            return f"series of {newest}"
        second = window.windows[1]
        plain = second.window if isinstance(second, IncludingInstant) else second
        assert isinstance(plain, Sliding), "a series is of sliding windows"
        return f"series of {count}, {format_duration(plain.offset_us)} apart, of {newest}"
    if isinstance(window, Calendar):
        table = window.periods
        return f"calendar {table.unit} in {table.zone}, {_which(window.current)}"
    if isinstance(window, ZonedCalendar):
        text = f"calendar {window.unit} in the zone of state {window.zone_slot}"
        included = ", the instant included" if window.later_us else ""
        return f"{text}, {_which(window.current)}{included}"
    if isinstance(window, Newest):
        return f"within {format_duration(window.within_us)}"
    return "lifetime"


def _which(current: bool) -> str:
    return "running" if current else "last complete"


def _service(service: ServicePlan) -> Iterator[str]:
    kept = "" if service.served_share is None else f", {service.served_share:.6g} of answers kept"
    yield f"service {service.name} version {service.version}{kept}"
    for view, feature in service.features:
        yield f"  {view}:{feature}"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows indented by four, columns aligned, two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"    {'  '.join(cells)}".rstrip()
