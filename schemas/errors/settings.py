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
