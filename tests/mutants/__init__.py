"""Mutants: Tegula with one edge or instant moved by a microsecond, or one event more or less.

Each kind of window has some, found by introspection where the geometry is a class with `bounds`. A
run of the tests under `TEGULA_MUTANT=<name>` must fail; `python -m tests.mutants` (`make mutate`)
runs them all and says which test noticed each. A mutant that nothing notices is a gap in the tests.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tests.mutants.leaks import of_training_sets

Apply = Callable[[], None]

ORDERED = {
    "last: one event more": ("rows", "newer >= self.cap", "newer >= self.cap + 1"),
    "last: one event less": ("rows", "newer >= self.cap", "newer >= self.cap - 1"),
    "last: within a span 1 µs longer": (
        "over",
        "reading.end_us - self.within_us",
        "reading.end_us - self.within_us - 1",
    ),
    "last: within a span 1 µs shorter": (
        "over",
        "reading.end_us - self.within_us",
        "reading.end_us - self.within_us + 1",
    ),
    "last: one event more is skipped": ("over", "newer >= self.skip", "newer >= self.skip + 1"),
    "last: one event less is skipped": ("over", "newer >= self.skip", "newer >= self.skip - 1"),
    "since: the match counts, the event after it not": (
        "rows",
        "alive = place >= mark[ids]",
        "alive = place >= mark[ids] + 2",
    ),
    "since: the event before the match counts": (
        "rows",
        "alive = place >= mark[ids]",
        "alive = place >= mark[ids] - 1",
    ),
    "session: a gap 1 µs longer, lifting": (
        "sessions",
        "np.diff(order.event_us) > self.gap_us",
        "np.diff(order.event_us) > self.gap_us + 1",
    ),
    "session: a gap 1 µs shorter, lifting": (
        "sessions",
        "np.diff(order.event_us) > self.gap_us",
        "np.diff(order.event_us) > self.gap_us - 1",
    ),
    "session: a gap 1 µs longer, merging": (
        "sessions",
        "latest[:-1] > gap_us",
        "latest[:-1] > gap_us + 1",
    ),
    "session: a gap 1 µs shorter, merging": (
        "sessions",
        "latest[:-1] > gap_us",
        "latest[:-1] > gap_us - 1",
    ),
    "session: cut 1 µs too late": (
        "sessions",
        "first_us - self.gap_us <= np.asarray(states[-1])",
        "first_us - self.gap_us < np.asarray(states[-1])",
    ),
    "session: cut 1 µs too early": (
        "sessions",
        "first_us - self.gap_us <= np.asarray(states[-1])",
        "first_us - self.gap_us - 1 <= np.asarray(states[-1])",
    ),
    "session: pruned 1 µs too early": (
        "sessions",
        "self.gap_us >= before_us[owner]",
        "self.gap_us > before_us[owner]",
    ),
}
"""Mutants of text: the module of `windows`, what stands there once, and what does instead."""


def mutants() -> Mapping[str, Apply]:
    """Every mutant by name; calling it changes the modules as they are loaded."""
    geometry: Any = importlib.import_module("tegula.windows.geometry")
    found: dict[str, Apply] = {}
    for name, kind in vars(geometry).items():
        if not inspect.isclass(kind) or kind.__module__ != geometry.__name__ or name == "Window":
            continue
        for edge, (older, newer) in {"older": (1, 0), "newer": (0, 1)}.items():
            for step in (-1, 1):
                if name == "Lifetime" and edge == "older":
                    continue  # before it there is nothing
                move = partial(_move, kind, step * older, step * newer)
                found[f"{name}: {edge} edge {step:+d} µs"] = move
    found |= {name: partial(_rewrite, *change) for name, change in ORDERED.items()}
    return found | _by_own_clock() | _of_civil_days() | of_training_sets()


def _by_own_clock() -> dict[str, Apply]:
    """Mutants of windows that go by each key's own clock."""
    found: dict[str, Apply] = {}
    kind: Any = importlib.import_module("tegula.windows.zoned").ZonedCalendar
    for step in (-1, 1):
        for edge, (older, newer) in {"older": (step, 0), "newer": (0, step)}.items():
            move = partial(_move, kind, older, newer, "bounds_in")
            found[f"ZonedCalendar, one key: {edge} edge {step:+d} µs"] = move
        found[f"ZonedCalendar: until {step:+d} µs"] = partial(_delay, kind, step)
        found[f"ZonedCalendar: all edges {step:+d} µs"] = partial(_shift, kind, step)
    return found


def _of_civil_days() -> dict[str, Apply]:
    """Mutants of tiles of civil days: formed too early, or where they are not."""
    kind: Any = importlib.import_module("tegula.windows.civil_days").CivilDays
    coarsened = kind.coarsened

    def change(**changes: Any) -> None:
        def changed(self: Any, start_us: Any, end_us: Any, horizon_us: Any) -> Any:
            nearer = replace(self, distance_us=changes.get("distance_us", self.distance_us))
            horizon_us = horizon_us + changes.get("later_us", 0)
            fits, begin_us, rung = coarsened(nearer, start_us, end_us, horizon_us)
            return fits, begin_us + changes.get("by_us", 0), rung + changes.get("quarters", 0)

        kind.coarsened = changed

    return {
        "civil days: within the reach of other windows": partial(change, distance_us=0),
        "civil days: a second too early": partial(change, later_us=10**6),
        "civil days: 1 µs before midnight": partial(change, by_us=-1),
        "civil days: 1 µs after midnight": partial(change, by_us=1),
        "civil days: a quarter of an hour too long": partial(change, quarters=1),
    }


def _delay(kind: Any, by_us: int) -> None:
    until = kind.until
    kind.until = lambda self, at_us: until(self, at_us) + by_us


def _shift(kind: Any, by_us: int) -> None:
    calendar = kind.calendar

    def shifted(self: Any, *named: Any) -> Any:
        found = calendar(self, *named)
        if found is None:
            return None
        table = replace(found.periods, starts_us=found.periods.starts_us + by_us)
        return replace(found, periods=table)

    kind.calendar = shifted


def _move(kind: Any, older_us: int, newer_us: int, method: str = "bounds") -> None:
    bounds = getattr(kind, method)

    def moved(self: Any, *given: Any) -> tuple[Any, Any] | None:
        found = bounds(self, *given)
        return None if found is None else (found[0] + older_us, found[1] + newer_us)

    setattr(kind, method, moved)


def _rewrite(module_name: str, before: str, after: str) -> None:
    module = importlib.import_module(f"tegula.windows.{module_name}")
    source = inspect.getsource(module)
    assert source.count(before) == 1, f"{before!r} stands {source.count(before)} times"
    exec(compile(source.replace(before, after), module.__file__ or "", "exec"), vars(module))
