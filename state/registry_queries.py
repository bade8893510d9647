"""What the registry asks of its tables, inside a transaction that the caller has begun."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from ..schemas.errors import FormatUnknown, UnknownBuild
from .registry_rows import STATUSES, BuildRow, BuildStatus, Catalogue, Version, ViewPrint
from .registry_tables import BUILD, CATALOGUE, FORMAT, META, PRINT, STREAM, VERSION


def dump(payload: Mapping[str, Any]) -> str:
    """Canonical JSON: equal payloads are equal texts, whatever the order of their keys."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def next_number(db: sa.Connection, column: sa.Column[Any], first: int) -> int:
    """The greatest number in `column` plus one, or `first`; only inside a write."""
    greatest = db.scalar(sa.select(sa.func.max(column)))
    return first if greatest is None else int(greatest) + 1


def meta(db: sa.Connection, where: str) -> Mapping[str, int]:
    """What was fixed at creation; empty before. Raises `FormatUnknown`."""
    known = {row.name: row.value for row in db.execute(sa.select(META))}
    if known and known["format"] != FORMAT:
        raise FormatUnknown(
            where=where, got=f"registry format {known['format']}", expected=f"format {FORMAT}"
        )
    return known


def head(db: sa.Connection) -> Version | None:
    """The newest version."""
    row = db.execute(sa.select(VERSION).order_by(VERSION.c.number.desc()).limit(1)).first()
    if row is None:
        return None
    definitions = json.loads(row.definitions)
    return Version(row.number, definitions, row.author, row.message, row.created_us)


def every_definitions(db: sa.Connection) -> tuple[Mapping[str, Any], ...]:
    """The definitions of all versions, the oldest first."""
    rows = db.execute(sa.select(VERSION.c.definitions).order_by(VERSION.c.number))
    return tuple(json.loads(row.definitions) for row in rows)


def definitions_at(db: sa.Connection, catalogue: int) -> Version | None:
    """The version of definitions under which a version of the catalogue served."""
    served = sa.select(CATALOGUE.c.definitions).where(CATALOGUE.c.version == catalogue)
    row = db.execute(sa.select(VERSION).where(VERSION.c.number == served.scalar_subquery())).first()
    if row is None:
        return None
    definitions = json.loads(row.definitions)
    return Version(row.number, definitions, row.author, row.message, row.created_us)


def prints(db: sa.Connection, version: int) -> dict[str, ViewPrint]:
    """The fingerprints of each view as of `version`."""
    query = sa.select(PRINT).where(PRINT.c.version == version).order_by(PRINT.c.view)
    return {row.view: ViewPrint(row.structural, row.operational) for row in db.execute(query)}


def add_version(
    db: sa.Connection,
    definitions: str,
    views: Mapping[str, ViewPrint],
    author: str,
    message: str,
    now_us: int,
) -> Version:
    """A new version of `definitions`, canonical JSON; numbers count from 1."""
    number = next_number(db, VERSION.c.number, 1)
    row = {"number": number, "definitions": definitions, "author": author, "message": message}
    db.execute(VERSION.insert().values(**row, created_us=now_us))
    for view, fingerprint in views.items():
        both = {"structural": fingerprint.structural, "operational": fingerprint.operational}
        db.execute(PRINT.insert().values(version=number, view=view, **both))
    return Version(number, json.loads(definitions), author, message, now_us)


def builds(
    db: sa.Connection, *, view: str | None = None, statuses: Iterable[BuildStatus] = STATUSES
) -> tuple[BuildRow, ...]:
    """Builds in order of their numbers."""
    query = (
        sa.select(BUILD, VERSION.c.definitions)
        .join(VERSION, BUILD.c.version == VERSION.c.number)
        .where(BUILD.c.status.in_(tuple(statuses)))
        .order_by(BUILD.c.id)
    )
    if view is not None:
        query = query.where(BUILD.c.view == view)
    return tuple(_build_row(row) for row in db.execute(query))


def build(db: sa.Connection, build_id: int) -> BuildRow:
    """One build. Raises `UnknownBuild`."""
    query = (
        sa.select(BUILD, VERSION.c.definitions)
        .join(VERSION, BUILD.c.version == VERSION.c.number)
        .where(BUILD.c.id == build_id)
    )
    row = db.execute(query).first()
    if row is None:
        raise UnknownBuild(build=build_id)
    return _build_row(row)


def add_build(
    db: sa.Connection, view: str, version: int, structural: str, status: BuildStatus, now_us: int
) -> int:
    """A new build; returns its number, which counts from 1."""
    number = next_number(db, BUILD.c.id, 1)
    db.execute(
        BUILD.insert().values(
            id=number,
            view=view,
            version=version,
            structural=structural,
            status=status,
            created_us=now_us,
        )
    )
    return number


def set_status(db: sa.Connection, build_id: int, status: BuildStatus) -> None:
    """Whether the step is allowed is the caller's to know."""
    db.execute(BUILD.update().where(BUILD.c.id == build_id).values(status=status))


def retire_unwanted(db: sa.Connection, wanted: Mapping[str, ViewPrint]) -> None:
    """Retire builds that have not served yet and that `wanted` no longer asks for."""
    for waiting in builds(db, statuses=("planned", "catching_up")):
        want = wanted.get(waiting.view)
        if want is None or want.structural != waiting.structural:
            set_status(db, waiting.id, "retired")


def note(db: sa.Connection, version: int, view: str | None = None, build: int | None = None) -> int:
    """A new version of the catalogue, under definitions `version`."""
    number = next_number(db, CATALOGUE.c.version, 1)
    db.execute(
        CATALOGUE.insert().values(version=number, definitions=version, view=view, build=build)
    )
    return number


def catalogue(db: sa.Connection) -> Catalogue:
    """The journal read to its end."""
    retired = set(db.scalars(sa.select(BUILD.c.id).where(BUILD.c.status == "retired")))
    history: dict[str, list[int | None]] = {}
    version = definitions = 0
    for row in db.execute(sa.select(CATALOGUE).order_by(CATALOGUE.c.version)):
        version, definitions = row.version, row.definitions
        if row.view is not None:
            history.setdefault(row.view, []).append(row.build)
    active, previous = {}, {}
    for view, served in history.items():
        if served[-1] is not None:
            active[view] = served[-1]
        before = [b for b in served if b is not None and b != served[-1] and b not in retired]
        if before:
            previous[view] = before[-1]
    return Catalogue(version, definitions, MappingProxyType(active), MappingProxyType(previous))


def stream_ordinal(db: sa.Connection, stream: str) -> int:
    """The stream's ordinal, from 0 on; only inside a write."""
    known = db.scalar(sa.select(STREAM.c.ordinal).where(STREAM.c.name == stream))
    if known is not None:
        return int(known)
    ordinal = next_number(db, STREAM.c.ordinal, 0)
    db.execute(STREAM.insert().values(name=stream, ordinal=ordinal))
    return ordinal


def _build_row(row: Any) -> BuildRow:
    return BuildRow(
        row.id,
        row.view,
        row.version,
        row.structural,
        json.loads(row.definitions),
        row.status,
        row.created_us,
    )
