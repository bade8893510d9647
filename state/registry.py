"""The registry: what was applied, which builds exist, which of them serve.

Definitions are stored as whole, numbered versions. A **build** is one structural version of a view
and owns state; the **catalogue** says which build of each view serves, and is itself versioned, so
that a request is answered from one version of it. The registry also gives away every number that
must never repeat: builds, ordinals of streams and partitions, incarnations of shards.

Promises: every write is one transaction, alone among all processes that share the database;
numbers only grow; the life of a build is planned → catching_up → live → retired, never back.
Each read sees one state. A database that does not answer is `RegistryUnreachable`, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ..schemas.errors import (
    BackfillRunning,
    RegistryMissing,
    ShardsFixed,
    UnknownBuild,
    UnknownView,
    WrongBuildStatus,
)
from . import registry_queries as ask
from .registry_rows import (
    STATUSES,
    USABLE,
    BuildRow,
    BuildStatus,
    Catalogue,
    Progress,
    Version,
    ViewPrint,
)
from .registry_tables import (
    CATALOGUE,
    FORMAT,
    INCARNATION,
    META,
    PARTITION,
    PROGRESS,
    STREAM,
    TABLES,
    Database,
)

__all__ = [
    "BuildRow",
    "BuildStatus",
    "Catalogue",
    "Progress",
    "Registry",
    "Version",
    "ViewPrint",
]


class Registry:
    """The registry in the database at `url`, such as `sqlite:///.tegula/registry.db`.

    Connects when first used. Every method but `create` raises `RegistryMissing` where there is no
    registry yet, and `FormatUnknown` where a newer version of Tegula made it.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._checked = False

    def create(self, shards: int) -> None:
        """Make the tables where they are missing, and fix the number of shards.

        Doing it again is harmless. Raises `ShardsFixed` if another number was fixed before.
        """
        self._database.make_room()
        with self._database.write() as db:
            TABLES.create_all(db)
            known = ask.meta(db, self._database.name)
            if not known:
                db.execute(
                    META.insert(),
                    [{"name": "format", "value": FORMAT}, {"name": "shards", "value": shards}],
                )
        if known and known["shards"] != shards:
            raise ShardsFixed(where=self._database.name, got=shards, expected=known["shards"])

    def close(self) -> None:
        """Give back all connections."""
        self._database.close()

    @property
    def replaced(self) -> int:
        """How often another registry was found in the place of this one: one that was restored."""
        return self._database.replaced

    def shards(self) -> int:
        """The number of shards, fixed at creation."""
        with self._read() as db:
            return ask.meta(db, self._database.name)["shards"]

    # Definitions

    def head(self) -> Version | None:
        """The newest version, or None before the first `apply`."""
        with self._read() as db:
            return ask.head(db)

    def every_definitions(self) -> tuple[Mapping[str, Any], ...]:
        """The definitions of every version that there was, the oldest first. O(versions)."""
        with self._read() as db:
            return ask.every_definitions(db)

    def prints(self, version: int) -> dict[str, ViewPrint]:
        """The fingerprints of each view as of `version`; empty if there is no such version."""
        with self._read() as db:
            return ask.prints(db, version)

    def apply(
        self,
        definitions: dict[str, Any],
        views: Mapping[str, ViewPrint],
        *,
        author: str,
        message: str,
        now_us: int,
    ) -> Version:
        """Store `definitions` as one new version, with the builds that it needs.

        A view whose structural print no build has gets one: `catching_up` if nothing serves the
        view yet, else `planned`, to be started by `start_backfill`. Builds that were planned or
        catching up for a print that is no longer wanted are retired, they would replay for nobody.
        Returns the head unchanged, and writes nothing, where nothing changed.
        """
        text = ask.dump(definitions)
        with self._write() as db:
            head = ask.head(db)
            known = ask.prints(db, head.number) if head else {}
            if head and ask.dump(head.definitions) == text and known == dict(views):
                return head
            applied = ask.add_version(db, text, views, author, message, now_us)
            active = ask.catalogue(db).active
            ask.retire_unwanted(db, views)
            for view, wanted in views.items():
                made = ask.builds(db, view=view, statuses=USABLE)
                if not any(build.structural == wanted.structural for build in made):
                    status: BuildStatus = "planned" if view in active else "catching_up"
                    ask.add_build(db, view, applied.number, wanted.structural, status, now_us)
            ask.note(db, applied.number)
            return applied

    # Builds

    def builds(self, statuses: Iterable[BuildStatus] | None = None) -> tuple[BuildRow, ...]:
        """All builds in order of their numbers, or those with one of `statuses`."""
        wanted = STATUSES if statuses is None else tuple(statuses)
        with self._read() as db:
            return ask.builds(db, statuses=wanted)

    def start_backfill(self, view: str, now_us: int) -> BuildRow:
        """Let the view's planned build catch up, or a new one: a rebuild of the same definition.

        Raises `UnknownView` if the head does not define `view`, `BackfillRunning` if one of its
        builds is catching up already.
        """
        with self._write() as db:
            head = ask.head(db)
            prints = ask.prints(db, head.number) if head else {}
            if head is None or view not in prints:
                raise UnknownView(view=view, known=tuple(prints))
            usable = ask.builds(db, view=view, statuses=USABLE)
            by_status = {build.status: build for build in usable}
            if "catching_up" in by_status:
                raise BackfillRunning(view=view, build=by_status["catching_up"].id)
            if "planned" in by_status:
                chosen = by_status["planned"].id
                ask.set_status(db, chosen, "catching_up")
            else:
                structural = prints[view].structural
                chosen = ask.add_build(db, view, head.number, structural, "catching_up", now_us)
            return ask.build(db, chosen)

    def mark_live(self, build_id: int) -> None:
        """Note that the build has joined live ingest; noting it again is harmless.

        Raises `WrongBuildStatus` if it was not catching up: it may have been retired meanwhile.
        """
        with self._write() as db:
            status = ask.build(db, build_id).status
            if status == "live":
                return
            if status != "catching_up":
                raise WrongBuildStatus(
                    build=build_id, action="made live", got=status, expected="catching_up"
                )
            ask.set_status(db, build_id, "live")

    def activate(self, view: str, build_id: int) -> int:
        """Let `build_id` serve the view from now on; returns the catalogue's version then.

        Going back to the build before is the same call. Activating what is active changes nothing.
        Raises `UnknownBuild` if the view has no such build, `WrongBuildStatus` if it is not live.
        """
        with self._write() as db:
            build = ask.build(db, build_id)
            if build.view != view:
                raise UnknownBuild(build=build_id, view=view)
            if build.status != "live":
                raise WrongBuildStatus(
                    build=build_id,
                    action="activated",
                    got=build.status,
                    expected="live",
                    hint="wait until it has caught up; a retired build needs a new backfill",
                )
            catalogue = ask.catalogue(db)
            if catalogue.active.get(view) == build_id:
                return catalogue.version
            return ask.note(db, catalogue.definitions, view, build_id)

    def take_over(self, view: str, build_id: int) -> int:
        """`mark_live` and `activate` in one transaction, so that a crash finds both or neither.

        Returns the catalogue's version; raises what the two raise.
        """
        with self._write() as db:
            build = ask.build(db, build_id)
            if build.view != view:
                raise UnknownBuild(build=build_id, view=view)
            if build.status not in ("catching_up", "live"):
                raise WrongBuildStatus(
                    build=build_id, action="activated", got=build.status, expected="catching_up"
                )
            ask.set_status(db, build_id, "live")
            catalogue = ask.catalogue(db)
            if catalogue.active.get(view) == build_id:
                return catalogue.version
            return ask.note(db, catalogue.definitions, view, build_id)

    def retire(self, build_id: int) -> None:
        """Give the build up: its state may be dropped. Retiring again is harmless.

        Raises `WrongBuildStatus` if it serves a view that the head still defines. One that serves a
        removed view may go: the view leaves the catalogue with it.
        """
        with self._write() as db:
            build = ask.build(db, build_id)
            catalogue = ask.catalogue(db)
            if catalogue.active.get(build.view) == build_id:
                if build.view in ask.prints(db, catalogue.definitions):
                    raise WrongBuildStatus(
                        build=build_id,
                        action="retired",
                        got=f"the build that serves the view {build.view!r}",
                        expected="a build that does not serve",
                        hint="activate another build first, or remove the view and apply",
                    )
                ask.note(db, catalogue.definitions, build.view)
            ask.set_status(db, build_id, "retired")

    # Catalogue

    def catalogue(self) -> Catalogue:
        """What serves now."""
        with self._read() as db:
            return ask.catalogue(db)

    def definitions_at(self, catalogue: int) -> Version | None:
        """The definitions under which a version of the catalogue served; None if it never was."""
        with self._read() as db:
            return ask.definitions_at(db, catalogue)

    def catalogue_version(self) -> int:
        """The catalogue's version alone: cheap enough to be asked ten times a second."""
        with self._read() as db:
            return ask.next_number(db, CATALOGUE.c.version, 1) - 1

    # Streams

    def stream_ordinal(self, stream: str) -> int:
        """The stream's place in the total order of events; given at the first call, for good."""
        with self._write() as db:
            return ask.stream_ordinal(db, stream)

    def partition_ordinal(self, stream: str, partition: str) -> int:
        """The partition's place in the total order; unique over all streams, below 2**32.

        Given at the first call, for good, and never to another partition.
        """
        key = (PARTITION.c.stream == stream) & (PARTITION.c.name == partition)
        with self._write() as db:
            known = db.scalar(sa.select(PARTITION.c.ordinal).where(key))
            if known is not None:
                return int(known)
            ordinal = ask.next_number(db, PARTITION.c.ordinal, 0)
            db.execute(PARTITION.insert().values(stream=stream, name=partition, ordinal=ordinal))
            return ordinal

    def partitions(self, stream: str) -> Mapping[str, int]:
        """Ordinals of the stream's partitions that have one, in the order in which they got it."""
        query = sa.select(PARTITION.c.name, PARTITION.c.ordinal).where(PARTITION.c.stream == stream)
        with self._read() as db:
            return {row.name: row.ordinal for row in db.execute(query.order_by("ordinal"))}

    def log_identity(self, stream: str) -> str | None:
        """The identity of the log that the stream's positions belong to, if one is known."""
        query = sa.select(STREAM.c.identity).where(STREAM.c.name == stream)
        with self._read() as db:
            return db.scalar(query)

    def streams(self) -> Mapping[str, str | None]:
        """All streams in order of their ordinals, each with the identity of its log."""
        query = sa.select(STREAM.c.name, STREAM.c.identity).order_by(STREAM.c.ordinal)
        with self._read() as db:
            return {row.name: row.identity for row in db.execute(query)}

    def set_log_identity(self, stream: str, identity: str) -> None:
        """Bind the stream's positions to a log; replaces what was known."""
        with self._write() as db:
            ask.stream_ordinal(db, stream)
            db.execute(STREAM.update().where(STREAM.c.name == stream).values(identity=identity))

    # Incarnations and progress

    def next_incarnation(self, shard: int, at_least: int = 1) -> int:
        """A number for the shard that was never given before; only growing, from `at_least` on."""
        key = INCARNATION.c.shard == shard
        with self._write() as db:
            last = db.scalar(sa.select(INCARNATION.c.number).where(key))
            if last is None:
                db.execute(INCARNATION.insert().values(shard=shard, number=at_least))
                return at_least
            number = max(int(last) + 1, at_least)
            db.execute(INCARNATION.update().where(key).values(number=number))
            return number

    def put_progress(self, name: str, payload: dict[str, Any], now_us: int) -> None:
        """Replace what is noted under `name`."""
        row = {"name": name, "payload": ask.dump(payload), "updated_us": now_us}
        with self._write() as db:
            db.execute(PROGRESS.delete().where(PROGRESS.c.name == name))
            db.execute(PROGRESS.insert().values(row))

    def progress(self, name: str) -> Progress | None:
        """What was last noted under `name`."""
        with self._read() as db:
            row = db.execute(sa.select(PROGRESS).where(PROGRESS.c.name == name)).first()
        return None if row is None else Progress(json.loads(row.payload), row.updated_us)

    # Copies

    @property
    def file(self) -> Path | None:
        """The SQLite file that the registry is, if it is one."""
        return self._database.file

    def copy_to(self, path: Path) -> bool:
        """Copy the registry as of one moment to a new file; False if it is not a file itself."""
        self._require_file()
        return self._database.copy_to(path)

    # Access

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        self._require_file()
        with self._database.read() as db:
            self._check(db)
            yield db

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        self._require_file()
        with self._database.write() as db:
            self._check(db)
            yield db

    def _require_file(self) -> None:
        if self._database.absent:
            raise RegistryMissing(where=self._database.name)

    def _check(self, db: sa.Connection) -> None:
        """Look once whether there is a registry, in a format that is known."""
        if self._checked:
            return
        made = sa.inspect(db).has_table(META.name) and ask.meta(db, self._database.name)
        if not made:
            raise RegistryMissing(where=self._database.name)
        self._checked = True
