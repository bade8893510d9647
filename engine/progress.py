"""Progress on whatever takes longer than two seconds: a bar, a rate, the time that is left.

On a terminal, and in a notebook that has widgets, it is a bar that goes away when the work is done;
elsewhere (a build's log) a line every five seconds. Shorter work shows nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from .amounts import number, span

stderr: Final = Console(stderr=True, highlight=False, soft_wrap=True)
SHOWN_AFTER_S: Final = 2.0
LINE_EVERY_S: Final = 5.0

Report = Callable[[str, int, int | None], None]
"""Is told what goes on, how many units are done, and of how many if that is known."""


@contextmanager
def reporting(
    progress: bool | Report | None,
    what: str,
    *,
    unit: str,
    console: Console = stderr,
    shown_after_s: float = SHOWN_AFTER_S,
) -> Iterator[Report]:
    """What a long call tells of its progress: to the caller's own function, or to people.

    True shows it, False does not; None shows it where somebody is likely to look: on a terminal and
    in a notebook.
    """
    if callable(progress):
        yield progress
        return
    if progress is None:
        progress = console.is_terminal or console.is_jupyter
    if not progress:
        yield lambda what, done, total: None
        return
    with Meter(what, unit=unit, console=console, shown_after_s=shown_after_s) as meter:
        yield lambda what, done, total: meter.update(done, total, what)


class Meter:
    """Counts `unit`s of work done, out of `total` where that is known.

    >>> with Meter("Pushing", unit="events", total=3) as meter:
    ...     meter.advance(3)
    >>> meter.done
    3
    """

    def __init__(
        self,
        what: str,
        *,
        unit: str,
        total: int | None = None,
        console: Console = stderr,
        seconds: Callable[[], float] = time.perf_counter,
        shown_after_s: float = SHOWN_AFTER_S,
    ) -> None:
        self.what, self.unit, self.total, self.done = what, unit, total, 0
        self._console = console
        self._seconds = seconds
        self._started_s = seconds()
        self._show_at_s = self._started_s + shown_after_s
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began."""
        return self._seconds() - self._started_s

    @property
    def rate(self) -> float:
        """Units of work a second, so far."""
        return self.done / max(self.elapsed_s, 1e-9)

    def advance(self, count: int) -> None:
        """So much more is done."""
        self.update(self.done + count)

    def update(self, done: int, total: int | None = None, what: str | None = None) -> None:
        """So much is done in all; `total` and `what` replace what was known before."""
        self.done = done
        self.total = self.total if total is None else total
        self.what = what or self.what
        if self._seconds() < self._show_at_s:
            return
        if not _has_bars(self._console):
            self._show_at_s = self._seconds() + LINE_EVERY_S
            self._console.print(Text(self._line()))
            return
        if self._bar is None or self._task is None:
            self._bar = _bar(self._console)
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total)
        self._bar.update(
            self._task,
            completed=done,
            total=self.total,
            description=self.what,
            facts=self._facts(),
        )

    def _line(self) -> str:
        return f"{self.what}: {self._facts()}"

    def _facts(self) -> str:
        of = f" of {number(self.total)}" if self.total is not None else ""
        facts = f"{number(self.done)}{of} {self.unit}, {number(self.rate)}/s"
        if self.total is not None and self.done:
            facts += f", {span(max(self.total - self.done, 0) / max(self.rate, 1e-9))} left"
        return facts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _has_bars(console: Console) -> bool:
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


class _Facts(ProgressColumn):
    """How far, how fast, how long still."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("facts", "")))


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Facts(),
        console=console,
        transient=True,
        refresh_per_second=8,
    )
