"""The example notebook runs from its first cell to its last, and shows what it shows on paper."""

from __future__ import annotations

import os
import re

import nbformat
import pytest

from tests.docs.notebook import NOTEBOOK, environment, execute, shown
from tests.docs.runner import free_port

FLOAT = re.compile(r"-?\d+\.\d+")
NEAR = 0.03
"""Scores of a model may be a little different on another machine; counts may not."""


@pytest.mark.slow
def test_notebook_runs_and_shows_what_is_stored_in_it(tmp_path, monkeypatch):
    stored, notebook = nbformat.read(NOTEBOOK, 4), nbformat.read(NOTEBOOK, 4)
    for name in [name for name in os.environ if name.startswith("TEGULA_")]:
        monkeypatch.delenv(name)
    port = str(free_port())
    for name, value in environment(tmp_path, port).items():
        monkeypatch.setenv(name, value)
    execute(notebook, tmp_path, port)
    for number, (now, before) in enumerate(zip(shown(notebook), shown(stored), strict=True)):
        assert FLOAT.sub("#", now) == FLOAT.sub("#", before), f"cell of code {number}"
        values = zip(FLOAT.findall(now), FLOAT.findall(before), strict=True)
        assert all(abs(float(a) - float(b)) <= NEAR for a, b in values), f"cell of code {number}"


def test_notebook_links_to_pages_that_are_there():
    cells = nbformat.read(NOTEBOOK, 4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    targets = [target for text in texts for target in re.findall(r"\]\(([^)]+)\)", text)]
    assert targets
    assert [one for one in targets if not (NOTEBOOK.parent / one.split("#")[0]).exists()] == []
