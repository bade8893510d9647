"""A user's project: its definitions, imported from `features/*.py` as Python would.

Files may import each other (`from features.payments import payments`); one whose name begins with
an underscore is imported only so. Whatever such a file raises is a `DefinitionsUnloadable` with the
file and the line of the user's own code.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from ..engine.user_code import first_in_path
from ..schemas.codec import collect
from ..schemas.definitions import Definitions
from ..schemas.errors import BadRequest, DefinitionFault, DefinitionsUnloadable
from ..schemas.validation import validate

PACKAGE: Final = "features"


def load_definitions(project: Path) -> Definitions:
    """All definitions of the project, validated.

    Raises `DefinitionsUnloadable` for the first file that cannot be imported, `DefinitionFault` if
    none defines anything, `DefinitionErrors` for definitions that are wrong.
    """
    definitions, unloadable = import_definitions(project)
    if unloadable:
        raise unloadable[0]
    return validate(definitions)


def import_definitions(project: Path) -> tuple[Definitions, tuple[DefinitionsUnloadable, ...]]:
    """All definitions that can be imported, not validated, and a fault for every file that cannot.

    Raises `DefinitionFault` if there is neither.
    """
    modules: list[ModuleType] = []
    unloadable: list[DefinitionsUnloadable] = []
    with _importable(project):
        for file in sorted((project / PACKAGE).glob("*.py")):
            if file.name.startswith("_"):
                continue
            try:
                modules.append(_import(project, file))
            except DefinitionsUnloadable as fault:
                unloadable.append(fault)
    definitions = collect(*modules)
    if not (definitions.views or definitions.streams or unloadable):
        raise DefinitionFault(
            "the project defines nothing",
            where=str(project / PACKAGE),
            expected="at least one stream and one feature view in a file `*.py`",
            hint="`tegula init` writes an example that works",
        )
    return definitions, tuple(unloadable)


def load_function(project: Path, name: str) -> Callable[..., Any]:
    """The function that `module:function` names, imported from the project's folder.

    Raises `BadRequest` for another form of name, `DefinitionsUnloadable` for what the module raises
    and for one that has no such function.
    """
    module, _, function = name.partition(":")
    if not (module and function):
        raise BadRequest(
            "this names no function",
            where=name,
            expected="module:function",
            hint="features.mend:as_number is `as_number` in features/mend.py",
        )
    with _importable(project):
        try:
            found = getattr(importlib.import_module(module), function)
        except Exception as fault:
            where = _place(fault, project) or name
            said = " ".join(str(fault).split())
            raise DefinitionsUnloadable(
                file=where, detail=f"{type(fault).__name__}: {said}"
            ) from fault
    if not callable(found):
        raise DefinitionsUnloadable(file=name, detail="this is no function")
    return cast("Callable[..., Any]", found)


@contextmanager
def _importable(project: Path) -> Iterator[None]:
    """Let `features` be this project's, read anew: files may have changed since."""
    _forget()
    try:
        with first_in_path(project):
            yield
    finally:
        _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def _import(project: Path, file: Path) -> ModuleType:
    try:
        return importlib.import_module(f"{PACKAGE}.{file.stem}")
    except Exception as fault:
        where = _place(fault, project) or _relative(file, project)
        said = fault.msg if isinstance(fault, SyntaxError) else " ".join(str(fault).split())
        raise DefinitionsUnloadable(file=where, detail=f"{type(fault).__name__}: {said}") from fault


def _place(fault: Exception, project: Path) -> str | None:
    """`features/a.py:12`: the innermost line of the project's own code that led to the fault."""
    if isinstance(fault, SyntaxError) and fault.filename and fault.lineno:
        return f"{_relative(Path(fault.filename), project)}:{fault.lineno}"
    for frame in reversed(traceback.extract_tb(fault.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(project):
            return f"{_relative(path, project)}:{frame.lineno}"
    return None


def _relative(path: Path, project: Path) -> str:
    return str(path.relative_to(project)) if path.is_relative_to(project) else str(path)
