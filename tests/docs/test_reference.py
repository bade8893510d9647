"""The reference is what the software says: made anew, no page differs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_reference_is_what_the_software_says():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), (
        f"out of date: {done.stdout}{done.stderr}run `python docs/generate.py`, read what changes"
    )


def test_reference_has_no_page_that_nothing_makes():
    made = subprocess.run(
        [sys.executable, "-c", "from tegula.docs.generate import PAGES; print(*PAGES)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {path.name for path in (ROOT / "docs/reference").iterdir()} == set(made.stdout.split())
