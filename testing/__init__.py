"""For tests of a project: the real engine in process (`driver`), the laws of aggregates (`laws`).

`laws` is imported when it is first used, because it wants the extra `testing`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "laws":
        return import_module("tegula.testing.laws")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
