"""Run published cases of other engines through ours: `python -m tests.oracle.run FILE…`.

Prints a line a case and path, with every difference below it, a line for each finding, and the
counts. Exits with 1 if a value differs, with 2 if nothing differs but there are findings.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson

from tests.oracle.conformance import (
    asof_join,
    bucket_window,
    calendar_window,
    current_values,
    lookup_asof,
    pit_over_mutable_rows,
    row_window,
    trailing_feed,
)
from tests.oracle.conformance.experiment import Needs, Translation
from tests.oracle.conformance.judge import Result, judge

KINDS: Mapping[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        asof_join,
        bucket_window,
        calendar_window,
        current_values,
        lookup_asof,
        pit_over_mutable_rows,
        row_window,
        trailing_feed,
    )
}


def results(path: Path, part: slice = slice(None)) -> Iterator[Result]:
    """The result of each case of a file, or of a part of them."""
    file: dict[str, Any] = orjson.loads(path.read_bytes())
    kind = KINDS.get(file.get("kind", ""))
    for number, case in enumerate(file["cases"][part]):
        yield judge(case.get("id", f"case {number}"), translated(kind, case, file))


def translated(
    kind: ModuleType | None, case: Mapping[str, Any], file: Mapping[str, Any]
) -> Translation:
    """The experiments of a case; a need where the kind or a field is not known."""
    if kind is None:
        return Translation(needs=[f"the kind {file.get('kind')!r}"])
    try:
        done: Translation = kind.translate(case, file)
    except Needs as need:
        return Translation(needs=[str(need)])
    except (LookupError, TypeError, ValueError) as fault:
        return Translation(needs=[f"a form of the case that can be read: {fault!r}"])
    return done


def notes(path: Path) -> Iterator[str]:
    """The rules of a file that its kind's module does not know: read them before you trust it."""
    file: dict[str, Any] = orjson.loads(path.read_bytes())
    kind = KINDS.get(file.get("kind", ""))
    for name, text in file.get("semantics", {}).items():
        if kind is not None and name not in (*kind.SEMANTICS.split(), "see"):
            yield f"NOTE {path.name}: unknown semantics {name!r}: {text}"


def main(names: Sequence[str]) -> int:
    """Run the files named; the exit code."""
    counts: Counter[str] = Counter()
    if not names:
        sys.stderr.write("usage: python -m tests.oracle.run FILE…\n")
        return 64
    for name in names:
        for line in notes(Path(name)):
            sys.stdout.write(f"{line}\n")
        for result in results(Path(name)):
            counts[result.verdict] += 1
            counts["findings"] += len(result.needs)
            for line in result.lines():
                sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    passed, differ, found = counts["pass"], counts["differs"], counts["finding"]
    sys.stdout.write(
        f"{passed + differ + found} cases: {passed} pass, {differ} differ, "
        f"{found} with findings only ({counts['findings']} findings)\n"
    )
    if counts["differs"]:
        return 1
    return 2 if counts["findings"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
