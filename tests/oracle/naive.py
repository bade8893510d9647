"""The naive recomputation: every feature from the raw log, in plain Python.

Shares no code with what it checks: no tiles, no state, no arrays; windows, lateness and statuses
are written out again from their definition in the design (half-open, floor toward minus infinity,
one outcome a record, watermarks from the partition's own prefix).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.oracle import naive_calendar
from tests.oracle.naive_values import OVER_NOTHING, VALUES, Held, Near, text_or_number

Window = Mapping[str, Any]
"""A window as plain facts: `kind`; `length`, `resolution` and `offset`, or `size`, `hop` and
`current`, or `unit`, `zone` and `current` (where the kind is `zoned`, the zone is that of the
newest event that names one); and `include`, whether events at the instant count.
Cut by order: `count`, and perhaps `skip` and `within`; `cap`; `gap` and `lateness`."""

BY_ORDER = ("last", "since", "session")


@dataclass(frozen=True)
class Event:
    """One event of a key: its time, place in the log, and the value of the input column.

    `matches`: what the predicate of a `since` window says of it. `category`: what it counts under
    where a map is asked for. `zone`: the time zone that it names.
    """

    at_us: int
    partition: float
    offset: int
    value: Any
    matches: bool = False
    category: Any = None
    zone: str | None = None


@dataclass(frozen=True)
class Record:
    """One record of the log; `at_us` None if it cannot be read, `key` None if the key is null."""

    partition: float
    offset: int
    log_us: int
    key: Any
    at_us: int | None
    row: Mapping[str, Any] = field(default_factory=dict)
    is_past_clock: bool = False
    """Whether the wall clock turned it away when it was first read."""
    origin: Record | None = None
    """The record that is driven again by this one."""
    was_good: bool = False
    """Whether that was an event already."""
    is_copy: bool = False
    """Whether another event with its id was read before it."""


@dataclass(frozen=True)
class Rules:
    """What decides over a record; `expiry_us` None where events never expire.

    `foldable_us` is the bound for one that is driven again for having been expired.
    """

    disorder_us: int
    ahead_us: int
    expiry_us: int | None
    where: Callable[[Mapping[str, Any]], bool | None] = lambda row: True
    foldable_us: int | None = None


def is_dead(record: Record, ahead_us: int) -> bool:
    """Whether a record cannot become an event."""
    if record.at_us is None or record.is_past_clock:
        return True
    return record.at_us > record.log_us + ahead_us


def original(record: Record) -> tuple[float, int]:
    """The position of a record, or of what it is that is driven again by it."""
    return (record.partition, record.offset) if record.origin is None else original(record.origin)


def is_behind(at_us: int, watermark_us: float, bound_us: int | None) -> bool:
    """Whether an event is further behind a watermark than a bound allows."""
    return bound_us is not None and at_us < watermark_us - bound_us


def watermarks(records: Sequence[Record], rules: Rules) -> dict[tuple[float, int], float]:
    """The watermark at every record of the log, by its position."""
    newest_us: dict[float, float] = {}
    found: dict[tuple[float, int], float] = {}
    for record in sorted(records, key=lambda r: (r.partition, r.offset)):
        if record.origin is not None:
            continue  # what is driven again moves no watermark
        newest = newest_us.get(record.partition, -math.inf)
        if not is_dead(record, rules.ahead_us):
            newest = max(newest, min(record.at_us or 0, record.log_us))
        newest_us[record.partition] = newest
        found[record.partition, record.offset] = newest - rules.disorder_us
    return found


def judge(records: Sequence[Record], rules: Rules) -> tuple[list[Record], Counter[str]]:
    """The records that are folded, and how many had which outcome."""
    folded: list[Record] = []
    outcomes: Counter[str] = Counter()
    watermarks_us = watermarks(records, rules)
    for record in sorted(records, key=lambda r: (r.partition, r.offset)):
        outcomes["read"] += 1
        if is_dead(record, rules.ahead_us):
            outcomes["dead_lettered"] += 1
            continue
        assert record.at_us is not None
        watermark_us = watermarks_us[original(record)]
        expired = is_behind(record.at_us, watermark_us, rules.expiry_us)
        if record.is_copy or (record.was_good and not expired):
            outcomes["duplicate"] += 1
            continue
        if record.was_good:
            expired = is_behind(record.at_us, watermark_us, rules.foldable_us)
        if expired:
            outcomes["expired"] += 1
        elif record.key is None or not rules.where(record.row):
            outcomes["filtered"] += 1
        else:
            outcomes["folded"] += 1
            outcomes["late"] += record.at_us < watermark_us
            folded.append(record)
    return folded, outcomes


def bounds(window: Window, at_us: int) -> tuple[float, int]:
    """`[start, end)` of a window at an instant."""
    if window.get("include"):
        at_us += 1
    if window.get("within"):
        return at_us - window["within"], at_us
    if window["kind"] in ("lifetime", *BY_ORDER):
        return -math.inf, at_us
    if window["kind"] == "sliding":
        offset = window.get("offset", 0)
        start = floor(at_us - offset - window["length"], window["resolution"])
        return start, floor(at_us - offset, window["resolution"]) if offset else at_us
    if window["kind"] == "nowhere":
        return at_us, at_us
    if window["kind"] == "calendar":
        return naive_calendar.bounds(window, at_us)
    if window["kind"] == "hopping":
        first = floor(at_us, window["hop"])
        if window["current"]:
            return first + window["hop"] - window["size"], at_us
        return first - window["size"], first
    edge = floor(at_us, window["size"])
    if window["current"]:
        return edge, at_us
    return edge - window["size"], edge


def by_own_clock(window: Window, events: Sequence[Event], at_us: int) -> Window:
    """A window by the clock of the key's own zone as one by that zone; any other as it is."""
    if window["kind"] != "zoned":
        return window
    until_us = at_us + bool(window.get("include"))
    naming = [e for e in events if e.at_us < until_us and e.zone is not None]
    newest = max(naming, key=lambda e: (e.at_us, e.partition, e.offset), default=None)
    if newest is None or newest.zone not in naive_calendar.zone_names():
        return {"kind": "nowhere", "include": window.get("include")}
    return {**window, "kind": "calendar", "zone": newest.zone}


def is_lost(window: Window, events: Sequence[Event], at_us: int) -> bool:
    """Whether a key has events, and none of them names the zone that its window needs."""
    return window["kind"] == "nowhere" and any(e.at_us < at_us for e in events)


def by_order(window: Window, before: Sequence[Event]) -> list[Event]:
    """Which of the events within its bounds count in a window that is cut by their order."""
    ordered = sorted(before, key=lambda e: (e.at_us, e.partition, e.offset))
    if window["kind"] == "last":
        older = ordered[: max(len(ordered) - window.get("skip", 0), 0)]
        return older[-window["count"] :]
    if window["kind"] == "since":
        while any(e.matches for e in ordered):
            ordered.pop(0)
        return ordered
    newest: list[Event] = []
    for event in reversed(ordered):
        if newest and newest[-1].at_us - event.at_us > window["gap"]:
            break
        newest.append(event)
    return newest[::-1]


def floor(at_us: int, step_us: int) -> int:
    """The last multiple of a step at or before an instant."""
    return math.floor(Fraction(at_us, step_us)) * step_us


def passes(window: Window) -> list[int]:
    """How long after an event an edge of the window may pass over it."""
    if window["kind"] == "sliding":
        offset: int = window.get("offset", 0)
        return [offset, offset + window["length"]]
    return [window[name] for name in ("size", "hop", "gap", "within") if name in window]


def elements(window: Window) -> list[Window]:
    """The windows that a series is of; any other window alone."""
    return list(window["windows"]) if window["kind"] == "series" else [window]


def retention_us(windows: Sequence[Window], depth_us: int, disorder_us: int) -> float:
    """The greatest distance back that any window may read, and what is kept beyond it."""
    plain = [one for window in windows for one in elements(window)]
    reaches = {
        **{kind: lambda w: math.inf for kind in ("lifetime", "zoned", *BY_ORDER)},
        "last": lambda w: w.get("within", math.inf),
        "sliding": lambda w: w.get("offset", 0) + w["length"] + w["resolution"] - 1,
        "calendar": naive_calendar.reach_us,
        "hopping": lambda w: w["size"] + (0 if w["current"] else w["hop"]) - 1,
        "tumbling": lambda w: w["size"] * (1 if w["current"] else 2),
    }
    reach_us: float = max(reaches[w["kind"]](w) - bool(w.get("include")) for w in plain)
    return reach_us + depth_us + disorder_us


def value(
    aggregate: str,
    window: Window,
    events: Sequence[Event],
    at_us: int,
    params: Mapping[str, Any] | None = None,
) -> Any:
    """The value of one feature of one key at an instant; `count` counts rows."""
    window = by_own_clock(window, events, at_us)
    if is_lost(window, events, at_us):
        return None
    inside = within(window, events, at_us)
    if overflows(window, inside):
        return None
    if aggregate == "count":
        return len(inside)
    aggregate = aggregate.removesuffix("_values")
    inside = [e for e in inside if usable(e.value)]
    inside.sort(key=lambda e: (e.at_us, e.partition, e.offset))
    if not inside and aggregate not in OVER_NOTHING:
        return None
    values, times_us = [e.value for e in inside], [e.at_us for e in inside]
    return VALUES[aggregate](
        Held(values, times_us, params or {}, at_us, *bounds(window, at_us)),
    )


def by_category(
    aggregate: str,
    window: Window,
    events: Sequence[Event],
    at_us: int,
    params: Mapping[str, Any] | None,
    cap: int,
) -> dict[str, Any] | None:
    """The map of one key: the value over the events of each category, and of the rest."""
    window = by_own_clock(window, events, at_us)
    inside = [e for e in within(window, events, at_us) if usable(e.value) and usable(e.category)]
    often = Counter(e.category for e in inside if e.category != "__other__")
    apart = sorted(often, key=lambda one: (-often[one], text_or_number(one)))[:cap]
    under = {spelled(one): [e for e in inside if e.category == one] for one in apart}
    under["__other__"] = [e for e in inside if e.category not in apart]
    found = {name: value(aggregate, window, of, at_us, params) for name, of in under.items() if of}
    return found or None


def spelled(category: Any) -> str:
    """A category as the name of an entry."""
    return str(category).lower() if isinstance(category, bool) else str(category)


def status(
    answer: Any, window: Window, events: Sequence[Event], at_us: int, retained_us: float
) -> str:
    """`NOT_FOUND`, `EMPTY` or `PRESENT`: how the answer `answer` of `value` is to be taken."""
    window = by_own_clock(window, events, at_us)
    if is_lost(window, events, at_us):
        return "NO_ZONE"
    inside = within(window, events, at_us)
    if not inside and not any(at_us - retained_us <= e.at_us < at_us for e in events):
        return "NOT_FOUND"
    if overflows(window, inside):
        return "OVERFLOW"
    return "PRESENT" if inside and answer is not None else "EMPTY"


def within(window: Window, events: Sequence[Event], at_us: int) -> list[Event]:
    """The events that a window counts at an instant."""
    if window["kind"] == "calendar":
        until_us = at_us + bool(window.get("include"))
        return [e for e in events if naive_calendar.holds(window, e.at_us, until_us)]
    start, end = bounds(window, at_us)
    inside = [e for e in events if start <= e.at_us < end]
    return by_order(window, inside) if window["kind"] in BY_ORDER else inside


def overflows(window: Window, inside: Sequence[Event]) -> bool:
    """Whether more has happened since the match than the window keeps."""
    return window["kind"] == "since" and len(inside) > window["cap"]


def usable(value: Any) -> bool:
    """Nulls, NaN and infinities are skipped, and pairs with one of them."""
    if isinstance(value, tuple):
        return all(map(usable, value))
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def same(one: Any, other: Any) -> bool:
    """Equality as promised: exact, but for the last bit of a derived float."""
    if isinstance(other, dict):
        # The order of a map tells which category comes most often.
        return (
            isinstance(one, dict)
            and [*one] == [*other]
            and all(same(one[name], other[name]) for name in other)
        )
    if isinstance(other, list):
        return isinstance(one, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(other, Near):
        return isinstance(one, float) and abs(one - other.value) <= other.within
    if isinstance(one, float) and isinstance(other, float):
        return one == other or abs(one - other) <= 4e-16 * max(abs(one), abs(other))
    return (bool(one == other) and type(one) is type(other)) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )
