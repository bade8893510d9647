"""Which build serves a view: asking for a new one, going back, giving up what no longer serves.

Everything here is a change of the registry, so it takes effect for every process of a project; the
engine does the replaying, and lets the new build take over when it is whole (`engine.runtime`).
"""

from __future__ import annotations

from ..schemas.errors import BackfillRunning, WrongBuildStatus
from ..state.registry import BuildRow, Registry


def start(registry: Registry, view: str, now_us: int) -> BuildRow:
    """Ask for a view to be built anew; the build that is catching up already, if there is one."""
    try:
        return registry.start_backfill(view, now_us)
    except BackfillRunning:
        builds = registry.builds(("catching_up",))
        return next(build for build in builds if build.view == view)


def roll_back(registry: Registry, view: str) -> tuple[int, int]:
    """Let the build that served before serve again; returns it and the catalogue's version.

    Raises `WrongBuildStatus` if there is none that was not retired.
    """
    catalogue = registry.catalogue()
    build = catalogue.previous.get(view)
    if build is None:
        raise WrongBuildStatus(
            build=catalogue.active.get(view, 0),
            action="rolled back",
            got="no build that served before",
            expected="a build that was replaced and not retired",
        )
    return build, registry.activate(view, build)


def retire_others(registry: Registry, view: str) -> tuple[list[int], int | None]:
    """Give up every build of a view that does not serve it, and with them their state.

    Returns those given up and the one that serves.
    """
    active = registry.catalogue().active.get(view)
    builds = registry.builds(("planned", "catching_up", "live"))
    gone = [build.id for build in builds if build.view == view and build.id != active]
    for build in gone:
        registry.retire(build)
    return gone, active
