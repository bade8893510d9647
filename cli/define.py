"""`check`, `plan`, `apply`: from a project's files to a version in the registry."""

from __future__ import annotations

import getpass
from pathlib import Path

from ..engine.apply import apply_definitions, require_own
from ..engine.own import OwnAggregates
from ..engine.plan import compile as compile_plan
from ..engine.progress import stderr
from ..engine.runtime.clock import now_us
from ..engine.settings import Settings, find_project, load_settings
from ..schemas.definitions import Definitions
from ..schemas.errors import (
    DefinitionFault,
    OwnAggregateMissing,
    RegistryMissing,
    SettingsError,
    TegulaError,
)
from ..schemas.validation import faults as faults_of
from ..state.registry import Registry, Version
from .advice import Advice, advise
from .changes import Changes, Item, against_registry, compare
from .exits import FAULT, OK
from .output import add_row, error_block, say, show, stdout, table, write_json
from .project import import_definitions, load_definitions

_MARKS = {
    "new": ("+", "green"),
    "changed": ("~", "yellow"),
    "changed in place": ("~", "cyan"),
    "unchanged": ("=", "dim"),
    "removed": ("-", "red"),
}


def check(project: Path | None, as_json: bool) -> int:
    """Report every fault of settings and definitions, and recommendations; the exit code."""
    found, definitions, settings = _faults(project)
    advice = () if found or settings is None else advise(definitions, settings)
    if as_json:
        write_json(
            {
                "ok": not found,
                "faults": [fault.as_dict() for fault in found],
                "advice": [{"where": one.where, "text": one.text} for one in advice],
                "defined": _counts(definitions),
            }
        )
    else:
        _print_check(found, advice, definitions)
    return FAULT if found else OK


def _faults(project: Path | None) -> tuple[list[TegulaError], Definitions, Settings | None]:
    """Every fault, the definitions as far as they can be imported, the settings if right."""
    found: list[TegulaError] = []
    settings: Settings | None = None
    try:
        settings = load_settings(project)
        folder = settings.project
    except SettingsError as fault:
        found.append(fault)
        folder = find_project() if project is None else project.expanduser().resolve()
    try:
        definitions, unloadable = import_definitions(folder)
    except DefinitionFault as fault:
        return [*found, fault], Definitions(), settings
    found += [*unloadable, *faults_of(definitions)]
    if not found:
        try:
            require_own(definitions, OwnAggregates(folder))
        except OwnAggregateMissing as missing:
            found.append(missing)
    return found, definitions, settings


def _counts(definitions: Definitions) -> dict[str, int]:
    return {
        "streams": len(definitions.streams),
        "entities": len(definitions.entities),
        "views": len(definitions.views),
        "features": sum(len(view.features) for view in definitions.views),
        "services": len(definitions.services),
    }


def _print_check(
    found: list[TegulaError], advice: tuple[Advice, ...], definitions: Definitions
) -> None:
    for fault in found:
        stderr.print(error_block(fault))
    if found:
        stderr.print(f"{len(found)} fault{'s' if len(found) > 1 else ''}", style="bold red")
        return
    for one in advice:
        say(f"advice at {one.where}: {one.text}", style="yellow")
    counts = ", ".join(f"{kind} {count}" for kind, count in _counts(definitions).items())
    say(f"No faults ({counts}).", style="green")


def plan(project: Path | None, as_json: bool) -> int:
    """Print the compiled plan and what applying it would change."""
    settings = load_settings(project)
    definitions = load_definitions(settings.project)
    require_own(definitions, OwnAggregates(settings.project))
    changes = changes_of(definitions, settings)
    text = compile_plan(definitions).describe()
    if as_json:
        write_json({"plan": text, **changes.as_dict()})
        return OK
    stdout.print(text, markup=False)
    print_changes(changes)
    say("\n`tegula apply` does it." if changes.any else "\nNothing to apply.")
    return OK


def changes_of(definitions: Definitions, settings: Settings) -> Changes:
    """What applying would change; where there is no registry yet, everything is new."""
    registry = Registry(settings.registry_url_or_default)
    try:
        return against_registry(definitions, registry)
    except RegistryMissing:
        return compare(definitions, None)
    finally:
        registry.close()


def print_changes(changes: Changes) -> None:
    """The changes as a table, and what they mean for history."""
    since = f"version {changes.since}" if changes.since else "nothing, for nothing was applied yet"
    shown = table("", "kind", "name", "change", "detail", title=f"Compared with {since}")
    for item in changes.items:
        mark, style = _MARKS[item.change]
        add_row(shown, mark, item.kind, item.name, item.change, item.detail)
        shown.rows[-1].style = style
    show(shown)
    for item in changes.items:
        if item.replays:
            say(_replay_line(item))


def _replay_line(item: Item) -> str:
    if item.change == "new":
        return f"{item.name}: read from the start of its stream by the next `tegula run` or `dev`."
    return f"{item.name}: goes on being served as it is, until `tegula backfill {item.name}`."


def apply(project: Path | None, author: str | None, message: str, as_json: bool) -> int:
    """Store the project's definitions as one new version."""
    settings = load_settings(project)
    changes, version = apply_project(settings, author=author, message=message)
    if as_json:
        write_json({"version": version.number, "author": version.author, **changes.as_dict()})
        return OK
    if not changes.any:
        say(f"Nothing changed: version {version.number} stands.")
        return OK
    print_changes(changes)
    say(f"Applied as version {version.number} by {version.author}.", style="green")
    return OK


def apply_project(
    settings: Settings, *, author: str | None, message: str
) -> tuple[Changes, Version]:
    """Apply what the project defines, in one transaction; what changed, and the head.

    Raises what loading and applying raise: `DefinitionErrors`, `ShardsFixed`, ….
    """
    definitions = load_definitions(settings.project)
    changes = changes_of(definitions, settings)
    version = apply_definitions(
        settings, definitions, author=author or _user(), message=message, now_us=now_us()
    )
    return changes, version


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
