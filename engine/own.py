"""Where processes find the user's own aggregates that applied definitions name.

Definitions come from the registry, code cannot: so every process imports the module of such an
aggregate when it first meets it, from the project's folder or from what is installed, and finds the
handle in it by name, version and format. What was found once stays, so that a running process goes
on with the version that it began with while the file already holds the next one. What cannot be
found is an error with a code; there is no value without the code that computes it.
"""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ..schemas.definitions import Definitions, Feature
from ..schemas.errors import (
    OwnAggregateChanged,
    OwnAggregateFailed,
    OwnAggregateMissing,
    TegulaError,
)
from ..schemas.own import OwnAggregate
from .user_code import first_in_path

_IMPORTING: Final = threading.RLock()

_Stamp = tuple[tuple[str, int, int], ...]
"""The files of a module's package: name, time of change, size."""


class OwnAggregates:
    """Gives the handle of an own aggregate with its implementation: a `LookUp`.

    `project` is the folder whose modules may be imported, beside what is installed; `known` are
    handles that are at hand already. Safe to be called from several threads.
    """

    def __init__(self, project: Path | None = None, known: Iterable[OwnAggregate] = ()) -> None:
        self._project = project
        self._known = {handle: handle for handle in known}
        self._failed: dict[OwnAggregate, tuple[_Stamp, OwnAggregateMissing]] = {}

    def add(self, known: Iterable[OwnAggregate]) -> None:
        """More handles that are at hand."""
        self._known |= {handle: handle for handle in known}

    def __call__(self, wanted: OwnAggregate) -> OwnAggregate:
        """The handle that `wanted` names.

        Raises `OwnAggregateMissing` if its module cannot be imported or does not hold it, and
        `OwnAggregateChanged` if it holds one of that version whose states have another format.
        """
        with _IMPORTING:
            if wanted not in self._known:
                self._known[wanted] = self._find(wanted)
            return self._known[wanted]

    def blamed(self, fault: BaseException) -> OwnAggregateFailed | None:
        """The error to tell if `fault` came out of a module of own aggregates; else None."""
        if isinstance(fault, TegulaError):
            return None
        modules = {handle.module for handle in self._known}
        for frame, line in reversed(list(traceback.walk_tb(fault.__traceback__))):
            module = frame.f_globals.get("__name__")
            if module in modules:
                said = f"{type(fault).__name__}: {' '.join(str(fault).split())}"
                return OwnAggregateFailed(where=f"module {module}, line {line}", detail=said)
        return None

    def _find(self, wanted: OwnAggregate) -> OwnAggregate:
        stamp = self._stamp(wanted.module)
        before = self._failed.get(wanted)
        if before is not None and before[0] == stamp:
            raise before[1]  # nothing has changed: a module is not run again ten times a second
        try:
            return self._imported(wanted)
        except OwnAggregateMissing as fault:
            self._failed[wanted] = stamp, fault
            raise

    def _imported(self, wanted: OwnAggregate) -> OwnAggregate:
        try:
            module = self._import(wanted.module)
        except Exception as fault:
            said = f"{type(fault).__name__}: {' '.join(str(fault).split())}"
            raise _missing(wanted, said) from fault
        found = [one for one in vars(module).values() if isinstance(one, OwnAggregate)]
        named = [one for one in found if one.name == wanted.name]
        for one in named:
            if one == wanted:
                return one
        for one in named:
            if one.version == wanted.version and one.module == wanted.module:
                raise OwnAggregateChanged(
                    name=wanted.name,
                    version=wanted.version,
                    module=wanted.module,
                    got=one.format,
                    expected=wanted.format,
                )
        versions = sorted({f"version {one.version}" for one in named})
        raise _missing(wanted, ", ".join(versions) or "no aggregate of that name")

    def _import(self, name: str) -> ModuleType:
        top = name.partition(".")[0]
        if self._project is None or not self._files(top):
            return importlib.import_module(name)
        with first_in_path(self._project):
            # Read anew: the file may have changed, and another project may have such a module.
            for known in [one for one in sys.modules if one.partition(".")[0] == top]:
                del sys.modules[known]
            return importlib.import_module(name)

    def _files(self, top: str) -> list[Path]:
        """The files of the project's own package or module of that name; none if it has none."""
        if self._project is None:
            return []
        folder, file = self._project / top, self._project / f"{top}.py"
        return sorted(folder.rglob("*.py")) if folder.is_dir() else [file] * file.is_file()

    def _stamp(self, name: str) -> _Stamp:
        files = [(file, file.stat()) for file in self._files(name.partition(".")[0])]
        return tuple((str(file), stat.st_mtime_ns, stat.st_size) for file, stat in files)


def own_aggregates_of(definitions: Definitions) -> tuple[OwnAggregate, ...]:
    """The handles that definitions hold, each once."""
    # Also of definitions that nobody has validated yet.
    features: list[Any] = [one for view in definitions.views for one in view.features.values()]
    specs = [one.aggregate for one in features if isinstance(one, Feature)]
    return tuple(dict.fromkeys(spec.own for spec in specs if spec.own is not None))


def _missing(wanted: OwnAggregate, got: str) -> OwnAggregateMissing:
    return OwnAggregateMissing(
        name=wanted.name, version=wanted.version, module=wanted.module, got=got
    )
