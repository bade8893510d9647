"""A way to run one command line in process, and projects to run it on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tegula.cli.main import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def tegula(capsys) -> Callable[..., Ran]:
    """`tegula("plan", "--json")` runs the words and gives exit code, stdout, stderr."""

    def run(*words: str | Path) -> Ran:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def project(tmp_path, tegula) -> Path:
    """A project as `init` makes it."""
    folder = tmp_path / "shop"
    assert tegula("init", folder).code == 0
    return folder


def rewrite(project: Path, *pairs: Sequence[str]) -> None:
    """Replace text in the project's example; each text must be there."""
    file = project / "features/example.py"
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
