"""What applying a set of definitions would change, and what that costs.

Compares what a project defines with what the registry holds. A view is *new*; *changed*, so that
its state has to be built anew from history; *changed in place*, from the next event on; *unchanged*
or *removed*. A view under another name is another view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..schemas.codec import dump, load
from ..schemas.definitions import Definitions, FeatureView
from ..schemas.fingerprints import operational, structural, structure
from ..state.registry import Registry, Version

Change = Literal["new", "changed", "changed in place", "unchanged", "removed"]


@dataclass(frozen=True, slots=True)
class Item:
    """One definition: what becomes of it, and why; `replays` if a build has to read history."""

    kind: Literal["entity", "stream", "view", "service"]
    name: str
    change: Change
    detail: str = ""
    replays: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that applying would do, against version `since` (0: nothing was applied yet)."""

    since: int
    items: tuple[Item, ...]

    @property
    def any(self) -> bool:
        """Whether applying would make a new version."""
        return any(item.change != "unchanged" for item in self.items)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "since": self.since,
            "changes": self.any,
            "items": [asdict(item) for item in self.items],
        }


def compare(definitions: Definitions, head: Version | None, built: Iterable[str] = ()) -> Changes:
    """What would change against `head`. `built` are structural prints that usable builds have."""
    now = dump(definitions)
    then = dump(Definitions()) if head is None else head.definitions
    old = () if head is None else load(head.definitions).views
    items: list[Item] = []
    items += _plain("entity", now["entities"], then["entities"])
    items += _plain("stream", now["streams"], then["streams"])
    items += _views(definitions.views, {view.name: view for view in old}, frozenset(built))
    items += _plain("service", now["services"], then["services"])
    return Changes(0 if head is None else head.number, tuple(items))


def against_registry(definitions: Definitions, registry: Registry) -> Changes:
    """`compare` with what the registry holds, which must exist."""
    usable = registry.builds(("planned", "catching_up", "live"))
    return compare(definitions, registry.head(), (build.structural for build in usable))


def _plain(
    kind: Literal["entity", "stream", "service"],
    now: list[dict[str, Any]],
    then: list[dict[str, Any]],
) -> list[Item]:
    before = {_title(kind, one): one for one in then}
    after = {_title(kind, one): one for one in now}
    items = []
    for name, one in after.items():
        if name not in before:
            items.append(Item(kind, name, "new"))
        elif one == before[name]:
            items.append(Item(kind, name, "unchanged"))
        else:
            items.append(Item(kind, name, "changed in place", _differing(before[name], one)))
    return items + [Item(kind, name, "removed") for name in before if name not in after]


def _title(kind: str, one: Mapping[str, Any]) -> str:
    return f"{one['name']} version {one['version']}" if kind == "service" else str(one["name"])


def _views(
    now: Iterable[FeatureView], then: Mapping[str, FeatureView], built: frozenset[str]
) -> list[Item]:
    items, names = [], set()
    for view in now:
        names.add(view.name)
        replays = structural(view) not in built
        old = then.get(view.name)
        if old is None:
            items.append(Item("view", view.name, "new", _cost(replays), replays))
        elif structural(old) != structural(view):
            parts = _differing(structure(old), structure(view))
            detail = f"{parts}; {_cost(replays)}"
            items.append(Item("view", view.name, "changed", detail, replays))
        elif operational(old) != operational(view):
            items.append(Item("view", view.name, "changed in place", "state is reused"))
        else:
            items.append(Item("view", view.name, "unchanged"))
    return items + [
        Item("view", name, "removed", "served until its build is retired")
        for name in then
        if name not in names
    ]


def _cost(replays: bool) -> str:
    return "replays its stream's history" if replays else "a build of it exists already"


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = {**old, **new}
    return ", ".join(name.replace("_", " ") for name in names if old.get(name) != new.get(name))
