"""Whether a value is the expected one, and a case's result in lines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import paths
from .experiment import Experiment, Needs, Translation
from .history import asked_for, imported

HISTORY = "history"


@dataclass
class Result:
    """What a case came to: differences by path, what it needs, how many values each path gave."""

    case: str
    needs: list[str] = field(default_factory=list)
    differences: dict[str, list[str]] = field(default_factory=dict)
    value_counts: dict[str, int] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`differs`, `finding` or `pass`."""
        if any(self.differences.values()):
            return "differs"
        return "finding" if self.needs else "pass"

    def lines(self) -> Iterator[str]:
        """One line a path (the differences of it indented below), and one a finding."""
        for path, differences in self.differences.items():
            count = self.value_counts[path]
            if differences:
                yield f"DIFFERS {self.case} [{path}]: {len(differences)} of {count} values"
                yield from (f"    {line}" for line in differences)
            elif self.needs:
                yield f"partly {self.case} [{path}]: {count} values agree, not all can be asked for"
            else:
                yield f"pass {self.case} [{path}]: {count} values"
        for need in self.needs:
            yield f"FINDING {self.case}: needs {need}"


def judge(case: str, translation: Translation) -> Result:
    """Run all experiments of a case through all paths."""
    result = Result(case, list(translation.needs))
    for number, experiment in enumerate(translation.experiments):
        try:
            found = paths.run(experiment)
            if experiment.of_history:
                found[HISTORY] = imported(experiment)
        except Needs as need:
            result.needs.append(str(need))
            continue
        except Exception as fault:  # noqa: BLE001 - whatever fails is a difference, with its words
            for path in paths.PATHS:
                result.value_counts[path] = result.value_counts.get(path, 0) + 1
                where = f"experiment {number}"
                result.differences.setdefault(path, []).append(f"{where}: {fault!r}")
            continue
        for path in filter(found.__contains__, (*paths.PATHS, HISTORY)):
            differences = result.differences.setdefault(path, [])
            differences += compare(experiment, found[path], path)
            count = len(found[path].got) + (found[path].expired is not None)
            result.value_counts[path] = result.value_counts.get(path, 0) + count
    if not result.differences and not result.needs:
        result.needs.append("values that can be read: the case has none")
    return result


def compare(experiment: Experiment, found: paths.Found, path: str) -> Iterator[str]:
    """Every difference: expected, got, where."""
    asked, got = len(experiment.probes), len(found.got)
    if path == HISTORY:
        asked = asked_for(experiment)
    if asked != got:
        yield f"{asked} values asked for, {got} got"
    for one in found.got:
        expected = one.probe.expected
        if one.fault:
            yield f"{one.probe.place}: expected {expected!r}, got {one.fault}"
        elif not same(expected, one.value, experiment.rel_tol, experiment.abs_tol):
            yield f"{one.probe.place}: expected {expected!r}, got {one.value!r}"
    if found.expired is not None:
        wanted: Any = experiment.expired
        if isinstance(found.expired, int):
            wanted = len(wanted)
        if wanted != found.expired:
            yield f"expired arrivals: expected {wanted!r}, got {found.expired!r}"


def same(expected: Any, got: Any, rel_tol: float, abs_tol: float) -> bool:
    """Equality of values: numbers within the tolerances, lists and tuples item by item.

    >>> same([1, 2.0], (1, 2), 0.0, 0.0), same(None, 0, 1.0, 1.0), same(True, 1, 0.0, 0.0)
    (True, False, False)
    """
    if isinstance(expected, list | tuple) or isinstance(got, list | tuple):
        return (
            isinstance(expected, list | tuple)
            and isinstance(got, list | tuple)
            and len(expected) == len(got)
            and all(same(e, g, rel_tol, abs_tol) for e, g in zip(expected, got, strict=True))
        )
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if isinstance(expected, int) and isinstance(got, int):
        return expected == got
    if isinstance(expected, int | float) and isinstance(got, int | float):
        return math.isclose(expected, got, rel_tol=rel_tol, abs_tol=abs_tol)
    return type(expected) is type(got) and bool(expected == got)
