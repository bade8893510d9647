"""Markdown for the generated pages: tables, paragraphs, whole pages, and people's words."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).resolve().parent
WORDS: Final = tomllib.loads((DOCS / "words.toml").read_text("utf-8"))
"""What cannot be read from code: remedies, meanings of columns, introductions."""

MADE: Final = "<!-- Made by docs/generate.py. Change the code or docs/words.toml, then run it. -->"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are escaped where they must be."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: object) -> str:
    """The text as code."""
    return f"`{text}`"


def paragraphs(docstring: str | None) -> str:
    """A docstring as Markdown: paragraphs on lines of their own, doctests as blocks."""
    parts = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(f"```pycon\n{one}\n```" if one.startswith(">>>") else one for one in parts)


def page(title: str, *parts: str) -> str:
    """A whole page."""
    return "\n\n".join([f"# {title}", MADE, *(part for part in parts if part)]) + "\n"
