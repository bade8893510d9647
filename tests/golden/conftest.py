"""Golden files: texts that people read, held word for word.

`pytest tests/golden --update-golden` writes them anew; read the diff before committing it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files from what is there now"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("errors/views", text)` holds the text against `tests/golden/errors/views.txt`."""
    # The option is known only to runs that name this folder; all others compare.
    update = bool(request.config.getoption("update_golden", default=False))

    def hold(name: str, text: str) -> None:
        path = HERE / f"{name}.txt"
        text = text.rstrip("\n") + "\n"
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden file {path.name}: run with --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return hold
