"""Progress for people: a bar, lines, or nothing, and only of what takes long."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tegula.engine.amounts import size, span
from tegula.engine.progress import Meter, reporting


@pytest.mark.parametrize(("seconds", "text"), [(59.94, "59.9 s"), (3600, "1 h 0 min")])
def test_span_reads_as_people_say_it(seconds, text):
    assert span(seconds) == text


def test_size_goes_up_to_terabytes():
    assert size(3.2e15) == "3200.0 TB"


def metered(terminal, ticks):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    clock = iter(ticks)
    return console.file, Meter(
        "Pushing", unit="events", total=100, console=console, seconds=lambda: next(clock)
    )


def test_meter_shows_nothing_within_two_seconds():
    file, meter = metered(True, [0.0, 1.0, 1.9])
    with meter:
        meter.advance(10)
        meter.advance(10)
    assert file.getvalue() == ""


def test_meter_writes_lines_where_there_is_no_terminal():
    file, meter = metered(False, [0.0, 2.5, *[2.5] * 3, 3.0, 8.0, *[8.0] * 3])
    with meter:
        meter.advance(25)
        meter.advance(25)
        meter.advance(25)
    lines = file.getvalue().splitlines()
    assert lines[0] == "Pushing: 25 of 100 events, 10/s, 7.5 s left"
    assert len(lines) == 2


def test_meter_shows_a_bar_on_a_terminal():
    file, meter = metered(True, [0.0, *[2.5] * 9])
    with meter:
        meter.advance(25)
    assert "25 of 100 events" in file.getvalue()


@pytest.mark.parametrize(
    ("progress", "terminal", "shown"),
    [
        (None, True, True),
        (None, False, False),
        (True, False, True),
        (True, True, True),
        (False, True, False),
    ],
)
def test_progress_of_a_long_call_is_shown_where_somebody_looks(progress, terminal, shown):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with reporting(progress, "Reading", unit="rows", console=console, shown_after_s=0) as report:
        report("Computing", 25, 100)
    assert ("25 of 100 rows" in console.file.getvalue()) is shown


def test_progress_of_a_long_call_is_told_to_a_function():
    told = []
    with reporting(lambda *of: told.append(of), "Reading", unit="rows") as report:
        report("Computing", 25, None)
    assert told == [("Computing", 25, None)]


def test_progress_in_a_notebook_without_widgets_is_lines(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=False, width=120)
    monkeypatch.setattr(console, "is_jupyter", True)
    monkeypatch.setattr("tegula.engine.progress.find_spec", lambda name: None)
    monkeypatch.setattr(console, "print", lambda text: console.file.write(f"{text}\n"))
    with reporting(None, "Reading", unit="rows", console=console, shown_after_s=0) as report:
        report("Computing", 25, 100)
    assert console.file.getvalue().startswith("Computing: 25 of 100 rows")
