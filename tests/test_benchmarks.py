"""The benchmarks as programs: which there are, how they are asked for, how figures are told.

They are run as users run them, from the root: only there is `benchmarks` a package.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_a_benchmark_that_is_not_there_is_refused_with_those_that_are():
    done = run("-m", "benchmarks", "nothing")
    assert done.returncode == 1
    for name in ("decode", "freshness", "ingest", "memory", "serving"):
        assert name in done.stderr
    assert "load" not in done.stderr


@pytest.mark.parametrize("given", [["ingest", "memory", "--keys"], ["--keys"]])
def test_flags_without_the_one_benchmark_that_they_are_for_are_refused(given):
    done = run("-m", "benchmarks", *given)
    assert (done.returncode, done.stdout) == (1, "")
    assert "name it before them" in done.stderr


def test_every_benchmark_stands_in_the_readme():
    listed = (ROOT / "benchmarks" / "README.md").read_text()
    names = run("-m", "benchmarks", "nothing").stderr.partition("there are: ")[2].strip(".\n")
    assert [name for name in names.split(", ") if f"| `{name}` |" not in listed] == []


def test_figures_keep_the_examples_of_their_module():
    done = run("-m", "doctest", "benchmarks/report.py")
    assert (done.returncode, done.stdout) == (0, "")
