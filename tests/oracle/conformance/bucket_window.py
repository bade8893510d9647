"""`bucket_window`: windows of a grid, event-aligned windows and sessions, with late events.

Aligned windows are `tumbling` and `hopping`, read at their end; event-aligned ones are `sliding`,
closed at both sides, read at their end; sessions are `session`, read at their last event.

The case closes each window when stream time has passed its end by the grace; ours judges the
*event*, by how far it is behind the watermark (`allowed_lateness`). The two agree on the arrivals
of a case where some lateness lies between the events that count and those that do not; else it is
a finding. Where an event counts in one window of a grid and is too late for another, that is looked
for window by window, and windows of another lateness are features of another view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tegula import agg

from . import spans, values
from .experiment import (
    MS,
    Arrival,
    Experiment,
    Needs,
    Probe,
    Reading,
    Translation,
    as_ms,
    in_order,
    only,
    rows_of,
    type_of,
)

SEMANTICS = (
    "events tumbling/hopping sliding_event_aligned session expected_final expected_open "
    "dropped_arrivals see"
)
IN_ORDER = ("collect_in_arrival_order", "collect")
PER_WINDOW = "grace by window: an event counts in one window and is too late for another"

Window = tuple[int, int]
"""`(start, end)` in ms."""


@dataclass(frozen=True)
class Lateness:
    """What the grace makes of the arrivals: the lateness of ours that does the same."""

    lateness_us: int | None
    dropped: tuple[int, ...]


def translate(case: Mapping[str, Any], file: Mapping[str, Any]) -> Translation:
    """One experiment for all windows of a case that have the same lateness."""
    only(
        case,
        "id origin window agg events expected_final expected_open expected_sessions "
        "expected_updates dropped_arrivals dropped_window_assignments note",
        "a case",
    )
    done = Translation()
    try:
        only(case["window"], "type size advance gap grace", "a window")
        rows = rows_of(case["events"])
        kind = KINDS.get(case["window"]["type"])
        if kind is None:
            raise Needs(f"a window of type {case['window']['type']}")
        done.experiments += kind(case, rows)
    except Needs as need:
        done.need(str(need))
    return done


def aligned(case: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Experiment]:
    """Tumbling and hopping windows; those that the case does not list must be empty."""
    window = case["window"]
    size = as_ms(window["size"], "a size")
    advance = as_ms(window.get("advance", size), "an advance")
    if size % advance:
        raise Needs("hopping windows that are aligned by their start, of a size that is no "
                    "multiple of the hop")  # fmt: skip
    windows = [windows_of(row["ts"], size, advance) for row in rows]
    expected = {(key, start, end): value for key, start, end, value in listed_of(case)}
    for _, start, end in expected:
        if end - start != size or start % advance:
            raise Needs(f"a window [{start}, {end}) off the grid")
    every = dict.fromkeys([one for many in windows for one in many])
    every |= dict.fromkeys((start, end) for _, start, end in expected)
    judged = lateness_by_window(
        case, rows, windows, every, lateness_of(case, rows, lambda place: windows[place])
    )
    for span, one in judged.items():
        check_order(case, rows, [p for p, many in enumerate(windows) if span in many], one)
    gone = [p for p, many in enumerate(windows) if all(p in judged[one].dropped for one in many)]
    check_dropped(case, gone)
    touched = []
    if "expected_final" in case and "expected_open" in case:
        pairs = zip(rows, windows, strict=True)
        touched = [(row["key"], *one) for row, many in pairs for one in many]
    nothing: Any = 0 if case["agg"] == "count" else [] if case["agg"] in IN_ORDER else None
    probes = [
        Probe(f"{key} [{start}, {end})", "value", (key,), end * MS, len(rows),
              expected.get((key, start, end), nothing))
        for key, start, end in dict.fromkeys([*expected, *touched])
    ]  # fmt: skip
    probes += updates(case, rows, windows, judged)
    reading = reading_of(case, spans.complete_hop(size, advance), len(rows))
    return by_lateness(case, rows, reading, probes, size, judged)


def by_lateness(
    case: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    reading: Reading,
    probes: Sequence[Probe],
    size: int,
    judged: Mapping[Window, Lateness],
) -> list[Experiment]:
    """An experiment for the windows of each lateness; each is probed at its end."""
    return [
        experiment(case, rows, {"value": reading}, mine, one)
        for one in dict.fromkeys(judged.values())
        if (mine := [p for p in probes if judged[p.at_us // MS - size, p.at_us // MS] == one])
    ]


def listed_of(case: Mapping[str, Any]) -> list[Any]:
    """All windows that the case lists, `[key, start, end, value]`, closed or not."""
    names = ("expected_final", "expected_open", "expected_sessions")
    return [one for name in names for one in case.get(name, ())]


def updates(
    case: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    windows: Sequence[Sequence[Window]],
    judged: Mapping[Window, Lateness],
) -> list[Probe]:
    """The value of each window that an arrival changed, read just after it."""
    given = list(case.get("expected_updates", ()))
    probes = []
    for place, row in enumerate(rows):
        changed = [one for one in windows[place] if place not in judged[one].dropped]
        for _ in changed if given else ():
            key, start, end, value = given.pop(0)
            if key != row["key"] or (start, end) not in changed:
                raise Needs(f"the arrival that the update {[key, start, end, value]} belongs to")
            where = f"arrival {place}, {key} [{start}, {end})"
            probes.append(Probe(where, "value", (key,), end * MS, place + 1, value))
    if given and case.get("expected_updates"):
        raise Needs("updates that no arrival makes")
    return probes


def windows_of(at: int, size: int, advance: int) -> list[Window]:
    """The windows of the grid that an instant falls into; none begins before 0."""
    newest = at // advance * advance
    starts = range(newest, at - size, -advance)
    return [(start, start + size) for start in starts if start >= 0 or at < 0]


def event_aligned(case: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Experiment]:
    """Sliding windows closed at both sides, each read at its end."""
    size = as_ms(case["window"]["size"], "a size")
    # Of the windows that an event may fall into, the one that ends first and the one that ends last
    # say whether it counts in all or in none.
    of_all = lateness_of(
        case, rows, lambda place: [(at - size, at) for at in
                                   (rows[place]["ts"], rows[place]["ts"] + size)], closed_at=1
    )  # fmt: skip
    every = dict.fromkeys((start, end) for _, start, end, _ in listed_of(case))
    windows = [[one for one in every if one[0] <= row["ts"] <= one[1]] for row in rows]
    judged = lateness_by_window(case, rows, windows, every, of_all, closed_at=1)
    for span, one in judged.items():
        check_order(case, rows, [p for p, many in enumerate(windows) if span in many], one)
    reading = reading_of(case, spans.between(size, "closed", "closed"), len(rows))
    probes = []
    for key, start, end, value in listed_of(case):
        if end - start != size:
            raise Needs(f"a window [{start}, {end}] of another size")
        where = f"{key} [{start}, {end}]"
        probes.append(Probe(where, "value", (key,), end * MS, len(rows), value))
    return by_lateness(case, rows, reading, probes, size, judged)


def sessions(case: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Experiment]:
    """Sessions with their first and last event, each read at its last event."""
    gap = as_ms(case["window"]["gap"], "a gap")
    made = spans.window("session")
    judged = session_lateness(case, rows, gap)
    # In ours, what is further behind than a view's sessions reach is expired.
    forever_us = (max(row["ts"] for row in rows) - min(row["ts"] for row in rows) + 1) * MS
    lateness_us = forever_us if judged.lateness_us is None else judged.lateness_us
    window = made(f"{gap}ms", lateness=f"{lateness_us}us", include_instant=True)
    check_order(case, rows, range(len(rows)), judged)
    value = reading_of(case, window, len(rows))
    parts = {
        **{f"value_{name}": feature for name, feature in value.features.items()},
        "first": agg.min("event_at").over(window),
        "last": agg.max("event_at").over(window),
    }

    def of(found: Mapping[str, Any]) -> Any:
        if found["first"] is None:
            return None
        inner = {name.removeprefix("value_"): one for name, one in found.items()}
        return found["first"] // MS, found["last"] // MS, value.of(inner)

    probes = [
        Probe(f"{key} [{first}, {last}]", "session", (key,), last * MS, len(rows),
              (first, last, held))
        for key, first, last, held in listed_of(case)
    ]  # fmt: skip
    return [experiment(case, rows, {"session": Reading(parts, of)}, probes, judged)]


KINDS: Mapping[str, Callable[..., list[Experiment]]] = {
    "tumbling": aligned,
    "hopping": aligned,
    "sliding_event_aligned": event_aligned,
    "session": sessions,
}


def lateness_of(
    case: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    windows: Callable[[int], Sequence[Window]],
    closed_at: int = 0,
) -> Lateness | None:
    """The lateness that drops just what the grace drops; `closed_at` 1: an end at the limit is in.

    None where an event counts in one window and is too late for another.
    """
    grace = case["window"].get("grace")
    if grace is None:
        return Lateness(None, ())
    stream_time, counted, dropped = rows[0]["ts"], [0], []
    late: list[int] = []
    for place, row in enumerate(rows):
        stream_time = max(stream_time, row["ts"])
        open_ones = [end + closed_at > stream_time - grace for _, end in windows(place)]
        if any(open_ones) and not all(open_ones):
            return None
        if open_ones and open_ones[0]:
            counted.append(stream_time - row["ts"])
        else:
            dropped.append(place)
            late.append(stream_time - row["ts"])
    return lateness(case, counted, dropped, late)


def lateness_by_window(
    case: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    windows: Sequence[Sequence[Window]],
    every: Iterable[Window],
    of_all: Lateness | None,
    closed_at: int = 0,
) -> dict[Window, Lateness]:
    """The lateness of every window: that of all, where there is one, else each its own.

    `windows`: those that each row falls into. Raises `Needs` where a window has none. (Which
    arrivals change no window at all is not looked at: more windows may be than are listed.)
    """
    if of_all is not None:
        return dict.fromkeys(every, of_all)
    grace, late, stream_time = case["window"]["grace"], [], rows[0]["ts"]
    is_open: list[set[Window]] = []
    for place, row in enumerate(rows):
        stream_time = max(stream_time, row["ts"])
        late.append(stream_time - row["ts"])
        is_open.append({o for o in windows[place] if o[1] + closed_at > stream_time - grace})
    found = {}
    for one in every:
        mine = [place for place, many in enumerate(windows) if one in many]
        counted = [late[place] for place in mine if one in is_open[place]]
        most_us = lateness_between(
            case, counted, [late[place] for place in mine if one not in is_open[place]]
        )
        expired = tuple(place for place, by in enumerate(late) if by * MS > most_us)
        found[one] = Lateness(most_us, expired)
    return found


def session_lateness(
    case: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], gap: int
) -> Lateness:
    """The same for sessions: an arrival is dropped if the session it would join has expired."""
    grace = case["window"].get("grace")
    if grace is None:
        return Lateness(None, ())
    open_ones: dict[Any, list[Window]] = {}
    stream_time, counted, dropped = rows[0]["ts"], [0], []
    late: list[int] = []
    for place, row in enumerate(rows):
        at = row["ts"]
        stream_time = max(stream_time, at)
        mine = open_ones.setdefault(row["key"], [])
        joined = [one for one in mine if one[0] - gap <= at <= one[1] + gap]
        merged = min([at, *(one[0] for one in joined)]), max([at, *(one[1] for one in joined)])
        if merged[1] < stream_time - gap - grace:
            dropped.append(place)
            late.append(stream_time - at)
            continue
        counted.append(stream_time - at)
        open_ones[row["key"]] = [one for one in mine if one not in joined] + [merged]
    return lateness(case, counted, dropped, late)


def lateness(
    case: Mapping[str, Any], counted: Sequence[int], dropped: Sequence[int], late: Sequence[int]
) -> Lateness:
    """The greatest lateness that counts, if none that is dropped lies below it."""
    check_dropped(case, dropped)
    return Lateness(lateness_between(case, counted, late), tuple(dropped))


def check_dropped(case: Mapping[str, Any], dropped: Sequence[int]) -> None:
    """`Needs` where the case says that other arrivals change no window."""
    said = case.get("dropped_arrivals")
    if said is not None and list(said) != list(dropped):
        raise Needs(f"a grace by which the arrivals {said} are dropped, and not {dropped}")


def lateness_between(case: Mapping[str, Any], counted: Sequence[int], late: Sequence[int]) -> int:
    """A lateness in µs that is no less than any that counts, and less than any that does not."""
    window, grace = case["window"], case["window"]["grace"]
    widest = grace + window.get("size", window.get("gap", 0))
    least, most = min(late, default=widest + 1), max(counted, default=0)
    if most >= least:
        raise Needs(PER_WINDOW)
    return int(min(max(widest, most), least - 1)) * MS


def reading_of(case: Mapping[str, Any], window: Any, row_count: int) -> Reading:
    """The case's aggregate over one of our windows; `count` counts events."""
    if case["agg"] == "count":
        return values.reading("count", None, window)
    if case["agg"] not in IN_ORDER:
        return values.reading(case["agg"], "value", window)
    return values.collected("value", window, row_count)


def check_order(
    case: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    places: Iterable[int],
    judged: Lateness,
) -> None:
    """`Needs` where a list of these rows is in the order of arrival, and that is not our order."""
    counted: dict[Any, int] = {}
    for place in places if case["agg"] in IN_ORDER else ():
        row = rows[place]
        if place in judged.dropped:
            continue
        if row["ts"] < counted.get(row["key"], row["ts"]):
            raise Needs("a list in the order of arrival (ours go by event time)")
        counted[row["key"]] = row["ts"]


def experiment(
    case: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    readings: Mapping[str, Reading],
    probes: Sequence[Probe],
    judged: Lateness,
) -> Experiment:
    """The events in the order of their arrival, in one partition: one watermark for all keys."""
    arrivals: list[Arrival] = in_order(rows, "ts")
    values_given = [row["value"] for row in rows]
    return Experiment(
        columns={
            "key": type_of([row["key"] for row in rows], "key"),
            "value": type_of(values_given, "value"),
        },
        keys=("key",),
        arrivals=arrivals,
        readings=readings,
        probes=probes,
        lateness_us=judged.lateness_us,
        expired=judged.dropped,
    )
