"""Figures: one measured number each, as a table for people and as JSON lines for machines.

A figure names the least that it must reach (`floor`) and what is aimed at (`goal`). Where less is
better (a latency, bytes, µs an event) both are upper bounds, and `better` says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `name` is the benchmark's, a dot, and what was measured."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    goal: float | None = None
    better: Literal["more", "less"] = "more"

    def reaches(self, bound: float | None) -> bool:
        """Whether the value is at least as good as `bound`; anything is as good as None."""
        if bound is None:
            return True
        return self.value >= bound if self.better == "more" else self.value <= bound

    @property
    def verdict(self) -> str:
        """How the value stands to its bounds, in a word or two.

        >>> Figure("ingest.zipf", 600_000, "events/s", 500_000, 1_000_000).verdict
        'above floor'
        >>> Figure("freshness.p99", 600, "ms", 500, 300, better="less").verdict
        'BELOW FLOOR'
        >>> Figure("decode.clean", 0.4, "µs", goal=0.5, better="less").verdict
        'goal'
        """
        if self.floor is None and self.goal is None:
            return ""
        if not self.reaches(self.floor):
            return "BELOW FLOOR"
        if self.goal is not None and self.reaches(self.goal):
            return "goal"
        return "above floor" if self.floor is not None else "below goal"

    def line(self) -> str:
        """The figure as one line of JSON."""
        return json.dumps(asdict(self) | {"value": _rounded(self.value)}, ensure_ascii=False)


def show(figures: Sequence[Figure], *, json_only: bool = False) -> None:
    """Print a table, unless only machines read; then a JSON line a figure."""
    if not json_only:
        sys.stdout.write(table(figures) + "\n\n")
    for figure in figures:
        sys.stdout.write(figure.line() + "\n")
    sys.stdout.flush()


def table(figures: Iterable[Figure]) -> str:
    """The figures as text, a row each."""
    rows = [("figure", "value", "unit", "floor", "goal", "")]
    for f in figures:
        floor, goal = _short(f.floor), _short(f.goal)
        rows.append((f.name, _short(f.value), f.unit, floor, goal, f.verdict))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for name, value, unit, floor, goal, verdict in rows:
        cells = (
            name.ljust(widths[0]),
            value.rjust(widths[1]),
            unit.ljust(widths[2]),
            floor.rjust(widths[3]),
            goal.rjust(widths[4]),
            verdict,
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def read(lines: Iterable[str]) -> list[Figure]:
    """The figures among lines of output; whatever is not a figure is passed over.

    >>> read([" a table", Figure("archive.write", 0.5, "rows/s").line()])[0].value
    0.5
    """
    known = Figure.__dataclass_fields__
    figures = []
    for line in lines:
        if not line.startswith('{"name"'):
            continue
        fields = json.loads(line)
        figures.append(Figure(**{name: fields[name] for name in known if name in fields}))
    return figures


def _rounded(value: float) -> float:
    return round(value) if abs(value) >= 1_000 else round(value, 3)


def _short(value: float | None) -> str:
    """A number as people read it.

    >>> _short(523_456.7), _short(0.12345), _short(None)
    ('523,457', '0.123', '')
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3f}".rstrip("0").rstrip(".")
