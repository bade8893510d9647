"""What commands write: data to stdout, everything said beside it to stderr.

So a pipe holds data and nothing else, whatever a command reports meanwhile. Text that came from a
user is never read as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..engine.progress import stderr
from ..schemas.errors import DefinitionErrors, TegulaError

stdout: Final = Console(highlight=False, soft_wrap=True)
_WIDE: Final = 240


def say(text: str = "", style: str = "") -> None:
    """One line for people, on stdout."""
    stdout.print(Text(text, style=style))


def note(text: str, style: str = "dim") -> None:
    """One line beside the data, on stderr."""
    stderr.print(Text(text, style=style))


def write_json(data: Any) -> None:
    """One JSON document on stdout, indented."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(data, option=option).decode())
    sys.stdout.flush()


def table(*columns: str, numbers: Iterable[str] = (), title: str | None = None) -> Table:
    """An empty table; the columns in `numbers` are aligned to the right."""
    right = set(numbers)
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def add_row(to: Table, *cells: object) -> None:
    """A row of plain text; None is shown as a dash."""
    to.add_row(*(Text("-" if cell is None else str(cell)) for cell in cells))


def show(made: Table) -> None:
    """Print a table on stdout; where nobody sets a width (a pipe, a log) it takes what it needs."""
    wide = Console(file=stdout.file, width=_WIDE, highlight=False)
    (stdout if stdout.is_terminal else wide).print(made)


def write_error(error: TegulaError, as_json: bool = False) -> None:
    """The error on stderr: one block for each fault, in the grammar that all errors share."""
    if as_json:
        sys.stderr.write(orjson.dumps({"error": error.as_dict()}).decode() + "\n")
        return
    faults: Sequence[TegulaError] = (error,)
    if isinstance(error, DefinitionErrors):
        faults = error.faults
    for fault in faults:
        stderr.print(error_block(fault))
    if len(faults) > 1:
        stderr.print(Text(f"{len(faults)} faults", style="bold red"))


def error_block(error: TegulaError) -> Text:
    """Code, place and sentence on one line; under it what was got, expected, and the hint."""
    place = f" at {error.where}" if error.where else ""
    block = Text.assemble((error.code, "bold red"), (place, "bold"), f": {error.message}.")
    facts: Mapping[str, str] = {
        "got": error.got,
        "expected": error.expected,
        "hint": error.hint,
    }
    for name, fact in facts.items():
        if fact:
            block.append(f"\n  {name:<9} ", style="dim")
            block.append(fact)
    return block
