"""Checkpoints: a moment of the state is linked in milliseconds, then copied elsewhere at leisure.

`link` is called between two commits: it makes a folder of links to the shards' files, which never
change once written, and copies the registry. `copy` takes what the store does not yet hold, and at
last the manifest; until that is there, there is no checkpoint. `prune` deletes manifests first and
then the content that none names. Whatever is interrupted leaves content without a manifest, which
the next one uses or deletes.

Each shard is of the same moment, but need not be: it carries its own positions, so a restored state
is one that a crash at that moment would have left, and catches up alike.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import xxhash

from ..schemas.errors import CheckpointPlaceTaken
from .checkpoint_kept import Progress, listed
from .checkpoint_manifest import (
    FORMATS,
    BuildPart,
    File,
    Manifest,
    Position,
    ShardPart,
    StreamPart,
    next_id,
)
from .checkpoint_store import CHUNK_BYTES, Store
from .registry import Registry
from .shard import Shard

REGISTRY_FILE: Final = "registry.db"
_LINKS_AT_ONCE: Final = 8
_IMMUTABLE: Final = ".sst"


class Interrupted(Exception):
    """A copy was asked to stop; what it stored is used by the next one."""


@dataclass(frozen=True, slots=True)
class Moment:
    """All shards as of one moment, linked below `folder`; the shards' parts have no files yet."""

    folder: Path
    created_us: int
    shards: tuple[ShardPart, ...]
    has_registry: bool


def shard_folder(root: Path, number: int) -> Path:
    """Where a shard's database lies below the root of a state."""
    return root / f"shard-{number:02d}"


def flush(shards: Sequence[Shard]) -> None:
    """Write to files what the shards have in memory, beside commits; makes `link` short."""
    with ThreadPoolExecutor(_LINKS_AT_ONCE) as pool:
        for _ in pool.map(lambda shard: shard.flush(), shards):
            pass


def link(shards: Sequence[Shard], registry: Registry, folder: Path, now_us: int) -> Moment:
    """Hold this moment of all shards in a new `folder`; no commit may run beside it.

    The registry is copied after the shards, and nothing gives away ordinals meanwhile: a number
    that a shard knows is never given to something else after a restore.
    """
    empty(folder)
    return moment_of(link_shards(shards, folder), registry, folder, now_us)


def empty(folder: Path) -> None:
    """Make `folder` anew, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def link_shards(shards: Sequence[Shard], folder: Path) -> tuple[ShardPart, ...]:
    """Link the files of some shards below `folder`, as they are now."""
    parts = tuple(_part(shard) for shard in shards)
    with ThreadPoolExecutor(_LINKS_AT_ONCE) as pool:
        for _ in pool.map(lambda one: one.link_to(shard_folder(folder, one.number)), shards):
            pass
    return parts


def moment_of(parts: Iterable[ShardPart], registry: Registry, folder: Path, now_us: int) -> Moment:
    """The moment of shards that are all linked below `folder`, with the registry as it is now."""
    ordered = tuple(sorted(parts, key=lambda part: part.number))
    return Moment(folder, now_us, ordered, registry.copy_to(folder / REGISTRY_FILE))


def _part(shard: Shard) -> ShardPart:
    applied = tuple(
        Position(build, ordinal, at.next_offset, at.running_max_us)
        for (build, ordinal), at in sorted(shard.applied.items())
    )
    return ShardPart(shard.number, shard.incarnation, shard.commit_number, applied, ())


class Copier:
    """Copies moments of one home to a store; remembers checksums of files that never change."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._known: dict[tuple[str, int, int], str] = {}

    def copy(
        self,
        moment: Moment,
        registry: Registry,
        store: Store,
        progress: Progress,
        stopping: Callable[[], bool],
    ) -> Manifest:
        """Store what of the moment is not there yet, then its manifest.

        `registry` is asked for what the manifest tells where the moment has no copy of it. Raises
        `CheckpointStoreFault`, `CheckpointPlaceTaken`, and `Interrupted` if `stopping` said so.
        """
        ids = store.ids()
        self._require_ours(store, ids, moment.shards)
        sources: dict[str, Path] = {}
        shards = tuple(self._with_files(moment.folder, part, sources) for part in moment.shards)
        copied = None
        if moment.has_registry:
            path = moment.folder / REGISTRY_FILE
            with closing(Registry(f"sqlite:///{path}")) as registry:
                catalogue, builds, streams = _registered(registry)
            copied = self._file(path, sources)
        else:
            catalogue, builds, streams = _registered(registry)
        manifest = Manifest(
            id=next_id(moment.created_us, ids),
            home=self._home,
            created_us=moment.created_us,
            formats=FORMATS,
            catalogue=catalogue,
            builds=builds,
            streams=streams,
            shards=shards,
            registry=copied,
        )
        _store_files(manifest, sources, store, progress, stopping)
        self._publish(store, manifest, ids)
        kept = {file.checksum for file in manifest.files}
        self._known = {key: value for key, value in self._known.items() if value in kept}
        return manifest

    def _require_ours(self, store: Store, ids: Sequence[str], shards: Sequence[ShardPart]) -> None:
        """Raises `CheckpointPlaceTaken` if the newest of `ids` is another home's, or a later one's.

        Later is a home that was restored from here, on another machine, while this one ran on.
        """
        newest = next((one.manifest for one in listed(store, reversed(ids)) if one.manifest), None)
        if newest is None:
            return
        where = f"{store.name}, checkpoint {newest.id}"
        if newest.home != self._home:
            raise CheckpointPlaceTaken(where=where, detail=f"home {newest.home}")
        ours = {shard.number: shard.incarnation for shard in shards}
        for shard in newest.shards:
            if shard.incarnation > ours.get(shard.number, 0):
                detail = f"incarnation {shard.incarnation} of shard {shard.number}, restored since"
                raise CheckpointPlaceTaken(where=where, detail=detail)

    def _publish(self, store: Store, manifest: Manifest, ids: Sequence[str]) -> None:
        """Store the manifest; take it back if another home has written here meanwhile.

        That one may have deleted content that we had stored and no manifest named yet.
        """
        store.put(manifest.path, manifest.encode())
        others = sorted(set(store.ids()) - {*ids, manifest.id})
        try:
            self._require_ours(store, others, manifest.shards)
        except CheckpointPlaceTaken:
            store.delete(manifest.path)
            raise

    def _with_files(self, root: Path, part: ShardPart, sources: dict[str, Path]) -> ShardPart:
        paths = sorted(shard_folder(root, part.number).iterdir())
        return replace(part, files=tuple(self._file(path, sources) for path in paths))

    def _file(self, path: Path, sources: dict[str, Path]) -> File:
        stat = path.stat()
        key = f"{path.parent.name}/{path.name}", stat.st_size, stat.st_mtime_ns
        checksum = self._known.get(key)
        if checksum is None:
            checksum = checksum_of(path)
            if path.suffix == _IMMUTABLE:
                self._known[key] = checksum
        sources[checksum] = path
        return File(path.name, stat.st_size, checksum)


def _registered(
    registry: Registry,
) -> tuple[int, tuple[BuildPart, ...], dict[str, StreamPart]]:
    builds = tuple(
        BuildPart(build.id, build.view, build.status, build.structural)
        for build in registry.builds(("catching_up", "live"))
    )
    streams = {
        name: StreamPart(identity, dict(registry.partitions(name)))
        for name, identity in registry.streams().items()
    }
    return registry.catalogue_version(), builds, streams


def _store_files(
    manifest: Manifest,
    sources: dict[str, Path],
    store: Store,
    progress: Progress,
    stopping: Callable[[], bool],
) -> None:
    """Store each content once that is not there in its full length."""
    present = store.sizes()
    unique = {file.checksum: file for file in manifest.files if file.size}
    missing = [one for one in unique.values() if present.get(one.checksum) != one.size]
    done, total = 0, sum(file.size for file in missing)
    progress(done, total)

    def put(file: File) -> int:
        if stopping():
            raise Interrupted
        store.put_file(file.path, sources[file.checksum])
        return file.size

    with ThreadPoolExecutor(store.lanes) as pool:
        for size in pool.map(put, missing):
            done += size
            progress(done, total)


def checksum_of(path: Path) -> str:
    """XXH3 (128 bits, hexadecimal) of a file's bytes."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
