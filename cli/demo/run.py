"""`tegula demo`: the real thing on real data, held against a recomputation of every value.

An engine process and a server process are started over a project of their own. The departures are
pushed over HTTP in the order in which they happened, as fast as they go. At each month's end, when
exactly what happened before it has been pushed and can be read (the request carries the receipts),
every feature of every key is read over HTTP as of that instant, and DuckDB computes it once more
from the raw rows.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl

from ...engine.amounts import number, size, span
from ...engine.progress import Meter
from ...engine.settings import Settings, load_settings
from ...schemas.errors import NotReady, SettingsError
from ..children import Family
from ..define import apply_project
from ..dev import programs, wait_readable
from ..door import NDJSON, Door, open_door
from ..exits import ENVIRONMENT, FAULT, OK
from ..output import add_row, note, say, show, stdout, table, write_json
from ..push import merged
from ..report import engine_report
from ..status import disk_bytes
from .data import Month, events_of, lines, months_of, read_flights
from .features import FILE, TEXT
from .recompute import VIEWS, Comparison, Recomputation, compare

EVENTS_AT_ONCE: Final = 10_000
WAIT_S: Final = 60.0
SHOWN_MAX: Final = 20
"""Differing values that are shown one by one."""

PAGE: Final = """
What to try next

  cd {folder}
  tegula dev                                      # the same engine and server again
  tegula status                                   # positions, lag, outcomes, sizes

  In another terminal, in the same folder:

  tegula get planes:departures_30d planes:last_dest_30d tailnum=N14228 --as-of {instant}
  tegula get delays carrier=UA origin=EWR tailnum=N14228 --as-of {instant} --json

  features/flights.py   says what all this is. Change a window or add a feature, then
  tegula plan                                     # what would change, and what is replayed
  tegula apply -m "what and why"
  tegula backfill planes                          # built beside the old one, then switched
  tegula backfill rollback planes                 # and back

  {url}/docs      every route, while `tegula dev` runs
  {url}/metrics   for Prometheus
  tegula init shop                                # a project of your own; `tegula --help`

  rm -r {folder}   # takes all of it away ({size})
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One month: its events, what was compared, and how fast its events became readable."""

    month: str
    events: int
    result: Comparison
    events_per_second: float


def demo(folder: Path | None, months: int, as_json: bool) -> int:
    """Run it; `FAULT` if a value differs.

    Raises `SettingsError` if the extra `demo` is not installed or the folder is a project already.
    """
    began_s = time.perf_counter()
    raw = read_flights()
    with ExitStack() as running:
        recomputation = Recomputation(raw)
        running.callback(recomputation.close)
        settings = _project(folder)
        apply_project(settings, author="demo", message="The flights of 2013")
        log = settings.project / "demo.log"
        family = Family(programs(settings, log), report=note)
        note(f"Engine and server over {settings.project}, what they say is in {log.name}")
        running.callback(family.stop)
        family.start()
        stop = threading.Event()
        ended = family.wait_ready(stop)
        if ended is not None or not wait_readable(settings, stop, WAIT_S):
            note(log.read_text(encoding="utf-8"), "red")
            return ENVIRONMENT
        door = running.enter_context(open_door(None, settings.url))
        events = events_of(raw)
        parts = months_of(events, months)
        rows = _run(door, family, events, parts, recomputation)
        outcomes = _outcomes(settings, parts[-1].end)
    seconds = time.perf_counter() - began_s
    total = Comparison()
    for row in rows:
        total = total.plus(row.result)
    if as_json:
        write_json(_as_json(rows, total, outcomes, seconds))
    else:
        _print(settings, parts, rows, total, outcomes, seconds)
    return FAULT if total.differing else OK


def _project(folder: Path | None) -> Settings:
    """A project with the demo's definitions, on a port that is free."""
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="tegula-demo-"))
    elif (folder / "tegula.toml").exists():
        raise SettingsError(
            "this folder is a Tegula project already",
            where=str(folder),
            hint="name a new folder, or none: the demo then makes a temporary one",
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(TEXT, encoding="utf-8")
    (folder / "tegula.toml").write_text(f"port = {port}\n", encoding="utf-8")
    (folder / ".gitignore").write_text(".tegula/\ndemo.log\n", encoding="utf-8")
    return load_settings(folder)


def _run(
    door: Door,
    family: Family,
    events: pl.DataFrame,
    months: tuple[Month, ...],
    recomputation: Recomputation,
) -> list[Row]:
    rows = []
    keys = {view: recomputation.keys(view) for view in VIEWS}
    note(
        f"{number(months[-1].end)} events; {number(sum(map(len, keys.values())))} keys are "
        "compared at each month's end"
    )
    with Meter("January", unit="events", total=months[-1].end) as meter:
        for month in months:
            meter.update(meter.done, what=month.name)
            began_s = time.perf_counter()
            receipt = _push(door, events, month, meter)
            _wait(door, family, receipt)
            rate = (month.end - month.begin) / (time.perf_counter() - began_s)
            meter.update(meter.done, what=f"{month.name}, comparing")
            result = Comparison()
            for view in VIEWS:
                result = result.plus(
                    _compared(door, view, keys[view], month.end_us, receipt, recomputation)
                )
            rows.append(Row(month.name, month.end - month.begin, result, rate))
    return rows


def _push(door: Door, events: pl.DataFrame, month: Month, meter: Meter) -> str | None:
    receipts = []
    for count, body in lines(events, month.begin, month.end, EVENTS_AT_ONCE):
        answer = door.post("/v1/streams/flights/events", body, NDJSON)
        receipts.append(answer["receipt"])
        meter.advance(count)
    return merged(receipts)


def _wait(door: Door, family: Family, receipt: str | None) -> None:
    """Return when what the receipt names can be read; raises `NotReady` if it never comes."""
    body = orjson.dumps(
        {"features": ["airports:departures_1h"], "keys": {"origin": ["JFK"]}, "after": receipt}
    )
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            door.post("/v1/features", body)
        except NotReady:
            if family.ended() is not None or time.monotonic() > deadline_s:
                raise
        else:
            return


def _compared(
    door: Door,
    view: str,
    keys: pl.DataFrame,
    at_us: int,
    receipt: str | None,
    recomputation: Recomputation,
) -> Comparison:
    expected = recomputation.features(view, at_us)
    request = {
        "features": [f"{view}:{feature}" for feature in expected.columns],
        "keys": keys.to_dict(as_series=False),
        "as_of": at_us,
        "after": receipt,
    }
    answer = door.post("/v1/features", orjson.dumps(request))
    return compare(view, keys, expected, answer["values"], answer.get("status", {}))


def _outcomes(settings: Settings, read: int) -> Mapping[str, Mapping[str, int]]:
    """What became of the records, by view; the engine reports once a second."""
    found: dict[str, Mapping[str, int]] = {}
    for _ in range(30):
        report = engine_report(settings) or {}
        found = {one["view"]: one["outcomes"] for one in report.get("builds", {}).values()}
        if found and all(counts["read"] == read for counts in found.values()):
            break
        threading.Event().wait(0.1)
    return found


def _as_json(
    rows: list[Row],
    total: Comparison,
    outcomes: Mapping[str, Mapping[str, int]],
    seconds: float,
) -> dict[str, Any]:
    return {
        "months": [
            {
                "month": row.month,
                "events": row.events,
                "compared": row.result.compared,
                "differ": len(row.result.differing),
                "events_per_second": round(row.events_per_second),
            }
            for row in rows
        ],
        "outcomes": outcomes,
        "compared": total.compared,
        "estimates": total.estimates,
        "differ": len(total.differing),
        "differing": total.differing[:SHOWN_MAX],
        "seconds": round(seconds, 1),
    }


def _print(
    settings: Settings,
    months: tuple[Month, ...],
    rows: list[Row],
    total: Comparison,
    outcomes: Mapping[str, Mapping[str, int]],
    seconds: float,
) -> None:
    columns = ("events", "values compared", "differ", "events/s")
    shown = table("month", *columns, numbers=columns)
    for row in rows:
        add_row(
            shown,
            row.month,
            number(row.events),
            number(row.result.compared),
            number(len(row.result.differing)),
            number(row.events_per_second if row.events >= EVENTS_AT_ONCE else None),
        )
    show(shown)
    for view, counts in outcomes.items():
        say(
            f"{view}: {number(counts['read'])} records read, {number(counts['folded'])} folded, "
            f"{number(counts['filtered'])} filtered (cancelled flights), "
            f"{number(counts['expired'])} expired, {number(counts['dead_lettered'])} dead-lettered"
        )
    instant = f"{pl.Series([months[-1].end_us]).cast(pl.Datetime('us'))[0]:%Y-%m-%dT%H:%M:%SZ}"
    stdout.print(
        PAGE.format(
            folder=settings.project,
            url=settings.url,
            instant=instant,
            size=size(disk_bytes(settings.project)),
        ),
        markup=False,
    )
    for difference in total.differing[:SHOWN_MAX]:
        say(difference, "red")
    say(
        f"{number(total.compared)} values compared in {span(seconds)}, of them "
        f"{number(total.estimates)} estimates within their bound; {len(total.differing)} differ.",
        "bold red" if total.differing else "bold green",
    )
