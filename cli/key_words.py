"""Keys as people write them on a command line: `card_id=c1,c2`, `card_id:='[1, 2]'`, or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ..engine.plan import Build
from ..schemas.errors import BadRequest
from ..serving.keys import KeyColumns


def key_columns(words: Sequence[str], kinds: Mapping[str, str]) -> dict[str, list[Any]]:
    """The key columns that words `name=value,value` or `name:=JSON` give, as lists of one length.

    `kinds` says of which kind the values of a column are; what it does not name is text. One value
    stands for all rows where another column has several. Raises `BadRequest`.

    >>> key_columns(["card_id=c1,c2", "n=7"], {"n": "int"})
    {'card_id': ['c1', 'c2'], 'n': [7, 7]}
    """
    keys: dict[str, list[Any]] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name.endswith(":"):
            keys[name[:-1]] = _json_values(name[:-1], text)
        else:
            keys[name] = [_value(name, one, kinds.get(name, "string")) for one in text.split(",")]
    count = max(map(len, keys.values()), default=0)
    return {name: v * count if len(v) == 1 else v for name, v in keys.items()}


def _json_values(name: str, text: str) -> list[Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise BadRequest("this is not JSON", where=f"{name}:={text}", got=str(fault)) from None
    return value if isinstance(value, list) else [value]


def _value(name: str, text: str, kind: str) -> Any:
    if kind == "int" and text.lstrip("-").isdigit():
        return int(text)
    if kind == "bool" and text in ("true", "false"):
        return text == "true"
    if kind in ("int", "bool"):
        raise BadRequest(
            f"a value of the key column {name!r} has the wrong type",
            where=f"{name}={text}",
            expected="an integer" if kind == "int" else "true or false",
        )
    return text


def keys_for(builds: Sequence[Build], words: Sequence[str]) -> dict[int, list[bytes]]:
    """The encoded keys that words name, for each of the builds whose entity has just these columns.

    A word without `=` is a file of JSON objects, one key a line. Raises `BadRequest` if no build
    has such a key, and what a key that is none raises.
    """
    kinds = {name: type_.kind for build in builds for name, type_ in build.entity_keys}
    pairs = [word for word in words if "=" in word]
    tables = [key_columns(pairs, kinds)] if pairs else []
    tables += [_of_file(Path(word)) for word in words if "=" not in word]
    found: dict[int, list[bytes]] = {}
    for build in builds:
        columns = tuple((name, type_.kind) for name, type_ in build.entity_keys)
        for keys in tables:
            if set(keys) != {name for name, _ in columns}:
                continue
            counts = {len(values) for values in keys.values()}
            if len(counts) > 1:
                raise BadRequest(
                    "the key columns have another number of values each",
                    where=" ".join(words),
                    got=", ".join(f"{len(v)} of {name}" for name, v in keys.items()),
                )
            encoded = KeyColumns(build.entity, columns).encode(keys, counts.pop())
            found.setdefault(build.id, []).extend(key for key in encoded if key is not None)
    if not any(found.values()):
        known = {", ".join(name for name, _ in build.entity_keys) for build in builds}
        raise BadRequest(
            "this names no key",
            where=" ".join(words) or "no key",
            expected=f"every key column of an entity ({' | '.join(sorted(known))}), or a file with "
            "a JSON object a line",
            hint="card_id=c1,c2",
        )
    return found


def _of_file(path: Path) -> dict[str, list[Any]]:
    """A file's keys by column. Raises `BadRequest`."""
    try:
        rows = [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    except (OSError, orjson.JSONDecodeError) as fault:
        raise BadRequest(
            "this file of keys cannot be read", where=str(path), got=str(fault)
        ) from None
    if not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        raise BadRequest(
            "these are no keys", where=str(path), expected="JSON objects with the same key columns"
        )
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
