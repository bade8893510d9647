"""Where the oracle data lie: real data sets, and results that other engines computed on them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("TEGULA_SHARED", Path(__file__).parents[3] / "shared")) / "oracles"


def oracle(name: str) -> Path:
    """The path of an oracle file. Skips the test where it is not there, but never in CI."""
    path = FOLDER / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing: set TEGULA_SHARED to the folder that has `oracles`")
        pytest.skip(f"{path} is not here")
    return path
