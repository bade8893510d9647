"""Run the tests of windows, or of training sets, against every mutant; say which one noticed it.

    python -m tests.mutants [--sample N --seed S] [NAME …]

Exit code 1 if a mutant survives, or if the tests fail without one.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys

from tests.mutants import mutants
from tests.mutants.leaks import TESTS as TRAINING

WINDOWS = tuple(
    f"tests/unit/windows/test_{name}.py"
    for name in ("geometry", "rows", "over", "sessions", "coarsen", "finish", "zoned", "civil_days")
)
_FAILED = re.compile(r"^FAILED (\S+)", re.MULTILINE)


def noticed_by(name: str) -> str | None:
    """The first test that fails under the mutant (under none, if the name is empty)."""
    is_leak = name.startswith("training:")
    tests = TRAINING if is_leak else WINDOWS if name else (*TRAINING, *WINDOWS)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, *tests],
        env=os.environ | {"TEGULA_MUTANT": name, "CI": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode == 0:
        return None
    found = _FAILED.search(ran.stdout)
    # Tests that cannot even be collected have noticed nothing.
    assert ran.returncode == 1, f"{name!r}: exit code {ran.returncode}: {ran.stdout}{ran.stderr}"
    assert found is not None, ran.stdout
    return found[1]


def say(line: str) -> None:
    """Print a line at once: each mutant takes seconds."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen mutants; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="mutants by name; without: all")
    parser.add_argument("--sample", type=int, help="so many of them, by the seed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chosen = options.names or list(mutants())
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, options.sample)
    if (broken := noticed_by("")) is not None:
        say(f"without a mutant {broken} fails")
        return 1
    survivors = 0
    for name in chosen:
        test = noticed_by(name)
        survivors += test is None
        say(f"{'SURVIVES' if test is None else 'noticed '}  {name:<52} {test or ''}")
    say(f"{len(chosen)} mutants, {survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
