"""6xx: settings, ports and the user's project."""

from __future__ import annotations

from .base import TegulaError


class SettingsError(TegulaError):
    """A setting that is missing, unknown or out of range."""

    code = "TG-601"


class PortInUse(TegulaError):
    """The address to listen on is taken."""

    code = "TG-602"

    def __init__(self, *, host: str, port: int) -> None:
        super().__init__(
            f"the port {port} is in use",
            where=f"{host}:{port}",
            hint="stop what listens there, or choose another with `--port`",
        )


class ProjectMissing(TegulaError):
    """A command that needs a project was run outside of one."""

    code = "TG-603"

    def __init__(self, *, directory: str) -> None:
        super().__init__(
            "this directory is not a Tegula project",
            where=directory,
            expected="a file tegula.toml",
            hint="`tegula init` makes one",
        )


class DefinitionsUnloadable(TegulaError):
    """A definitions file raised when it was imported."""

    code = "TG-604"

    def __init__(self, *, file: str, detail: str) -> None:
        super().__init__("the definitions cannot be imported", where=file, got=detail)


class OwnAggregateMissing(TegulaError):
    """Applied definitions name an aggregate of the project's own that this process cannot find."""

    code = "TG-605"

    def __init__(self, *, name: str, version: int, module: str, got: str, hint: str = "") -> None:
        super().__init__(
            f"version {version} of the aggregate {name!r} is not in its module",
            where=f"module {module}",
            got=got,
            expected=f"own_aggregate(…, version={version}) at the top of the module",
            hint=hint
            or "put the module back into the project's folder, or into what is installed, wherever"
            " an engine or a server runs; keep an older version beside the new one until its build"
            " is retired",
        )


class OwnAggregateChanged(OwnAggregateMissing):
    """An aggregate of the project's own keeps other states than when it was applied."""

    code = "TG-606"

    def __init__(self, *, name: str, version: int, module: str, got: str, expected: str) -> None:
        TegulaError.__init__(
            self,
            f"version {version} of the aggregate {name!r} keeps other states than when it was"
            " applied",
            where=f"module {module}",
            got=f"format {got}",
            expected=f"format {expected}",
            hint="give what was changed a new `version=`, and keep the one before beside it until"
            " its build is retired",
        )


class OwnAggregateFailed(TegulaError):
    """The code of an aggregate of the project's own raised while events were taken in."""

    code = "TG-607"

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "an aggregate of the project's own raised",
            where=where,
            got=detail,
            hint="mend it and start again: no event is lost, and none counts twice;"
            " `tegula.testing.laws` finds such faults before events do",
        )
