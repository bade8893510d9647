"""5xx, from 510: the registry, and what its catalogue of builds refuses."""

from __future__ import annotations

from collections.abc import Sequence

from .base import TegulaError, one_of


class RegistryError(TegulaError):
    """The registry refused, or could not be used."""

    code = "TG-510"


class RegistryUnreachable(RegistryError):
    """The registry's database does not answer; the last catalogue goes on to be served."""

    code = "TG-511"
    http_status = 503
    retryable = True

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "the registry's database does not answer",
            where=where,
            got=detail,
            hint="check that the database runs and that `registry_url` in tegula.toml names it",
        )


class RegistryMissing(RegistryError):
    """There is a database, or room for one, but no registry in it."""

    code = "TG-512"

    def __init__(self, *, where: str) -> None:
        super().__init__(
            "there is no registry here yet",
            where=where,
            hint="`tegula apply` or `tegula dev` makes one; or correct `registry_url`",
        )


class ShardsFixed(RegistryError):
    """The number of shards differs from the one that the registry was created with."""

    code = "TG-513"

    def __init__(self, *, where: str, got: int, expected: int) -> None:
        super().__init__(
            "the number of shards is fixed when a registry is created",
            where=where,
            got=str(got),
            expected=str(expected),
            hint=f"set `shards = {expected}`, or start anew in another directory",
        )


class UnknownView(RegistryError):
    """No feature view of that name is applied."""

    code = "TG-514"
    http_status = 404

    def __init__(self, *, view: str, known: Sequence[str] = ()) -> None:
        super().__init__(
            f"there is no feature view {view!r}",
            got=repr(view),
            expected=one_of(known),
            hint="`tegula apply` registers the definitions of a project",
        )


class UnknownBuild(RegistryError):
    """No build of that number, or not one of this view."""

    code = "TG-515"
    http_status = 404

    def __init__(self, *, build: int, view: str = "") -> None:
        super().__init__(
            f"there is no build {build}" + (f" of the view {view!r}" if view else ""),
            hint="`tegula status` lists the builds",
        )


class WrongBuildStatus(RegistryError):
    """A build cannot do this in the status that it has."""

    code = "TG-516"
    http_status = 409

    def __init__(self, *, build: int, action: str, got: str, expected: str, hint: str = "") -> None:
        super().__init__(
            f"this build cannot be {action}",
            where=f"build {build}",
            got=got,
            expected=expected,
            hint=hint,
        )


class BackfillRunning(RegistryError):
    """A build of this view is catching up already; there is one at a time."""

    code = "TG-517"
    http_status = 409

    def __init__(self, *, view: str, build: int) -> None:
        super().__init__(
            "a build of this view is catching up already",
            where=f"view {view!r}",
            got=f"build {build}",
            hint="wait until it is live, or drop it with `tegula backfill retire`",
        )


class NothingApplied(RegistryError):
    """No definitions were ever applied, so there is nothing to run."""

    code = "TG-519"

    def __init__(self, *, where: str) -> None:
        super().__init__(
            "no definitions have been applied yet",
            where=where,
            hint="`tegula apply` stores the definitions in `features/`; `tegula dev` does it too",
        )
