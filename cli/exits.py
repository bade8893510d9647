"""Exit codes, and which error ends a command with which.

| code | meaning |
|---|---|
| 0 | done |
| 1 | something that you wrote is wrong: definitions, settings, a request, a record |
| 2 | the command line is wrong, or there is no project here |
| 3 | the surroundings do not play along: a port, a broker, a held directory, a server, a disk |
| 4 | a fault of Tegula itself |
| 75 | another worker of the engine has ended: start again |
| 130 | interrupted with Ctrl-C |
"""

from __future__ import annotations

from typing import Final

from ..schemas.errors import (
    FingerprintMismatch,
    NotReady,
    PortInUse,
    ProjectMissing,
    RegistryMissing,
    RegistryUnreachable,
    SinkError,
    SourceError,
    StateError,
    TegulaError,
    WorkerLost,
)

OK: Final = 0
FAULT: Final = 1
USAGE: Final = 2
ENVIRONMENT: Final = 3
INTERNAL: Final = 4
AGAIN: Final = 75
INTERRUPTED: Final = 130

_ENVIRONMENT: Final = (
    NotReady,
    PortInUse,
    RegistryMissing,
    RegistryUnreachable,
    SinkError,
    SourceError,
    StateError,
)


def exit_code(error: TegulaError) -> int:
    """The exit code of a command that ends with `error`.

    >>> exit_code(PortInUse(host="127.0.0.1", port=6180))
    3
    """
    if isinstance(error, ProjectMissing):
        return USAGE
    if isinstance(error, WorkerLost):
        return AGAIN
    if isinstance(error, FingerprintMismatch):
        return FAULT
    if isinstance(error, _ENVIRONMENT):
        return ENVIRONMENT
    return INTERNAL if type(error) is TegulaError else FAULT
