"""`tegula get`: features of some keys, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from ..engine.settings import load_settings
from ..schemas.codec import load
from ..schemas.errors import BadRequest, TegulaError
from ..state.registry import Registry
from .door import open_door
from .exits import OK
from .key_words import key_columns
from .output import add_row, show, table, write_json

COLUMNS_MAX: Final = 6
"""Keys that are shown side by side; more are rows."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the words of the command line ask for."""

    service: str | None
    features: tuple[str, ...]
    keys: Mapping[str, list[Any]]

    @property
    def key_count(self) -> int:
        """How many keys are asked for."""
        return len(next(iter(self.keys.values()), ()))


def get(
    project: Path | None,
    server: str | None,
    words: Sequence[str],
    as_of: str | None,
    after: str | None,
    as_json: bool,
) -> int:
    """Ask for features and print them."""
    wanted = parse(words, key_kinds(project))
    request: dict[str, Any] = {"keys": wanted.keys, "include": ["status"]}
    if wanted.service is None:
        request["features"] = wanted.features
    else:
        request["service"] = wanted.service
    request |= {} if as_of is None else {"as_of": as_of}
    request |= {} if after is None else {"after": after}
    with open_door(project, server) as door:
        answer = door.post("/v1/features", orjson.dumps(request))
    if as_json:
        write_json(answer)
    else:
        _print(wanted, answer)
    return OK


def parse(words: Sequence[str], kinds: Mapping[str, str]) -> Wanted:
    """Read the words: `fraud card_id=c1,c2`, `spend:spent_1h card_id=c1`, `card_id:='[1, 2]'`.

    `kinds` says of which kind the values of a key column are; what it does not name is text, and
    `:=` takes JSON as it stands. Raises `BadRequest`.
    """
    names = [word for word in words if "=" not in word]
    keys = key_columns([word for word in words if "=" in word], kinds)
    features = tuple(name for name in names if ":" in name)
    services = [name for name in names if ":" not in name]
    if not keys or not names or len(services) > 1 or (services and features):
        raise BadRequest(
            "this does not say what to get",
            where=" ".join(words),
            expected="a service, or features `view:feature`, and then every key column",
            hint="tegula get fraud card_id=c1,c2",
        )
    return Wanted(services[0] if services else None, features, keys)


def key_kinds(project: Path | None) -> dict[str, str]:
    """The kind of every key column that the project's registry knows; empty without one."""
    try:
        registry = Registry(load_settings(project).registry_url_or_default)
    except TegulaError:
        return {}
    try:
        head = registry.head()
    except TegulaError:
        return {}
    finally:
        registry.close()
    entities = () if head is None else load(head.definitions).entities
    return {name: dtype.kind for entity in entities for name, dtype in entity.keys.items()}


def _print(wanted: Wanted, answer: Mapping[str, Any]) -> None:
    values, statuses = answer["values"], answer.get("status", {})
    titles = [
        ", ".join(f"{name}={column[row]}" for name, column in wanted.keys.items())
        for row in range(wanted.key_count)
    ]

    def cell(feature: str, row: int) -> str:
        value = values[feature][row]
        status = statuses.get(feature, {row: "PRESENT"})[row]
        shown = "-" if value is None else str(value)
        return shown if status == "PRESENT" else f"{shown}  {status.lower()}"

    if len(titles) <= COLUMNS_MAX:
        shown = table("feature", *titles)
        for feature in values:
            add_row(shown, feature, *(cell(feature, row) for row in range(len(titles))))
    else:
        shown = table("key", *values)
        for row, title in enumerate(titles):
            add_row(shown, title, *(cell(feature, row) for feature in values))
    show(shown)
