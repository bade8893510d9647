"""Restoring a checkpoint into a home without state, and making one where no engine runs.

Everything is fetched into a folder beside, with every checksum compared, and put in place by two
renames at the end: the registry, then the state. What is interrupted before is done again; between
the two, an engine would find no state and build it anew from the log, and answer no zeros
meanwhile. The state is a new incarnation, greater than any that this home, or another that was
restored from the same checkpoint, has had: it begins at the clock's µs. So whatever an online store
still holds of before is outdated.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import xxhash

from ...schemas.errors import (
    CheckpointDamaged,
    FingerprintMismatch,
    HomeNotEmpty,
    ShardsFixed,
    StateError,
)
from ...state.checkpoint import REGISTRY_FILE, shard_folder
from ...state.checkpoint_kept import Progress
from ...state.checkpoint_manifest import File, Manifest, ShardPart, require_known
from ...state.checkpoint_store import Store
from ...state.database import Memory
from ...state.durable import sync_file
from ...state.registry import Registry
from ...state.shard import Shard
from ..settings import Settings
from .checkpointing import Made, Maker
from .clock import Clock
from .home import HomeLock, boot_id

_STAGING: Final = "restoring"


@dataclass(slots=True)
class AtRest:
    """A state that no engine runs over, as `Maker` sees it."""

    settings: Settings
    registry: Registry
    shards: Sequence[Shard]
    now_us: Clock


def make_at_rest(
    settings: Settings, store: Store, now_us: Clock, progress: Callable[[int, int], None]
) -> Made:
    """Make a checkpoint where no engine runs; the state stays as it was left.

    Raises `StateHeld` if one runs after all, `StateError` if there is no state, and what making one
    raises.
    """
    with ExitStack() as opened:
        lock = HomeLock(settings.home)
        opened.callback(lock.release)
        registry = opened.enter_context(closing(Registry(settings.registry_url_or_default)))
        shards: list[Shard] = []
        memory = Memory()
        for number in range(registry.shards()):
            folder = shard_folder(settings.state_path, number)
            if not (folder / "CURRENT").exists():
                raise StateError(
                    "there is no state yet", where=str(folder), hint="`tegula run` makes it"
                )
            shards.append(Shard(number, folder, memory, 0))
            opened.callback(shards[-1].abandon)
        maker: Maker
        owner = AtRest(settings, registry, shards, now_us)
        maker = Maker(owner, lambda folder: maker.link(folder))
        return maker.make(store, progress)


def restore(
    settings: Settings, store: Store, manifest: Manifest, now_us: Clock, progress: Progress
) -> list[int]:
    """Make a checkpoint the state of a home that has none; returns the shards' incarnations.

    Raises `StateHeld`, `HomeNotEmpty`, `ShardsFixed`, `FormatUnknown`, `CheckpointDamaged` naming
    the file, `StateError` or `FingerprintMismatch` where the registry lies elsewhere and is not the
    same; nothing is in place then.
    """
    require_known(manifest, f"{store.name}, checkpoint {manifest.id}")
    if len(manifest.shards) != settings.shards:
        raise ShardsFixed(
            where=f"checkpoint {manifest.id}", got=settings.shards, expected=len(manifest.shards)
        )
    staging = settings.home / _STAGING
    with ExitStack() as opened:
        lock = HomeLock(settings.home)
        opened.callback(lock.release)
        registry = opened.enter_context(closing(Registry(settings.registry_url_or_default)))
        target = registry.file if manifest.registry is not None else None
        _require_empty(settings, target, resumed=staging.exists())
        shutil.rmtree(staging, ignore_errors=True)
        _fetch_all(store, manifest, staging, progress)
        if target is not None:
            url = f"sqlite:///{staging / REGISTRY_FILE}"
            registry = opened.enter_context(closing(Registry(url)))
        dropped = _fit(manifest, registry)
        incarnations = _take_over(manifest, staging, registry, dropped, now_us())
        registry.close()
        _put_in_place(settings, staging, target)
    return incarnations


def _require_empty(settings: Settings, registry: Path | None, *, resumed: bool) -> None:
    """Raises `HomeNotEmpty` if something is there that a restore would replace."""
    for folder in (settings.state_path, settings.online_path):
        if folder.exists() and any(folder.iterdir()):
            raise HomeNotEmpty(where=str(folder))
    if registry is not None and registry.exists() and not resumed:
        raise HomeNotEmpty(where=str(registry))


def _fetch_all(store: Store, manifest: Manifest, staging: Path, progress: Progress) -> None:
    done, total = 0, manifest.size_bytes
    places = [
        (shard_folder(staging / "state", shard.number) / file.name, file)
        for shard in manifest.shards
        for file in shard.files
    ]
    if manifest.registry is not None:
        places.append((staging / REGISTRY_FILE, manifest.registry))
    for folder in {place.parent for place, _ in places}:
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(store.lanes) as pool:
        for size in pool.map(lambda one: _fetch(store, one[1], one[0]), places):
            done += size
            progress(done, total)


def _fetch(store: Store, file: File, place: Path) -> int:
    """One file, synced; its size. Raises `CheckpointDamaged` if it is not what was written."""
    digest, size = xxhash.xxh3_128(), 0
    with place.open("wb") as to:
        for chunk in store.chunks(file.path) if file.size else ():
            digest.update(chunk)
            size += len(chunk)
            to.write(chunk)
    where = f"{store.name}/{file.path} ({place.parent.name}/{file.name})"
    if size != file.size:
        raise CheckpointDamaged(where=where, detail=f"{size} bytes of {file.size}")
    if digest.hexdigest() != file.checksum:
        raise CheckpointDamaged(where=where, detail="other content than was written")
    sync_file(place)
    return size


def _fit(manifest: Manifest, registry: Registry) -> set[int]:
    """The builds whose rows are to go, because the registry has gone on without this state.

    That is a registry elsewhere: it may name a build live that was catching up here. The engine
    lets one without state catch up again, through the archive.
    """
    if registry.shards() != len(manifest.shards):
        got, where = registry.shards(), "the registry"
        raise ShardsFixed(where=where, got=got, expected=len(manifest.shards))
    known = {build.id: build for build in registry.builds()}
    dropped = set()
    for build in manifest.builds:
        now = known.get(build.id)
        if now is None or now.view != build.view:
            raise _another_registry(f"build {build.id} of view {build.view!r}")
        if now.structural != build.structural:
            raise FingerprintMismatch(
                view=build.view, got=build.structural, expected=now.structural
            )
        if build.status != "live" and now.status == "live":
            dropped.add(build.id)
    for name, stream in manifest.streams.items():
        if not stream.partitions.items() <= registry.partitions(name).items():
            raise _another_registry(f"partitions of stream {name!r}")
    return dropped


def _another_registry(where: str) -> StateError:
    return StateError(
        "the registry is not the one that this checkpoint was made with",
        where=where,
        hint="set `registry_url` to the database that it was",
    )


def _take_over(
    manifest: Manifest,
    staging: Path,
    registry: Registry,
    dropped: set[int],
    now_us: int,
) -> list[int]:
    """Open each shard once: compare it with the manifest, and make it a new incarnation."""
    boot, memory, incarnations = boot_id(), Memory(), []
    for part in manifest.shards:
        folder = shard_folder(staging / "state", part.number)
        shard = Shard(part.number, folder, memory, 0)
        try:
            _compare(shard, part, manifest.id)
            for build in dropped:
                shard.drop_build(build)
            incarnations.append(registry.next_incarnation(part.number, now_us))
            shard.renew(incarnation=incarnations[-1], boot_id=boot)
        except BaseException:
            shard.abandon()
            raise
        shard.close()
    return incarnations


def _compare(shard: Shard, part: ShardPart, checkpoint: str) -> None:
    applied = {(at.build, at.partition): at for at in part.applied}
    same = (shard.incarnation, shard.commit_number) == (part.incarnation, part.commit)
    positions = {key: at.next_offset for key, at in shard.applied.items()}
    if not same or positions != {key: at.next_offset for key, at in applied.items()}:
        where = f"checkpoint {checkpoint}, shard {part.number}"
        raise CheckpointDamaged(where=where, detail="other positions than the manifest names")


def _put_in_place(settings: Settings, staging: Path, registry: Path | None) -> None:
    for folder in (settings.state_path, settings.online_path):
        if folder.exists():
            folder.rmdir()  # empty, as was seen
    if registry is not None:
        registry.parent.mkdir(parents=True, exist_ok=True)
        sync_file(staging / REGISTRY_FILE)
        if registry.parent.samefile(settings.home):
            (staging / REGISTRY_FILE).replace(registry)
        else:
            beside = registry.with_name(f"{registry.name}.new")
            shutil.copyfile(staging / REGISTRY_FILE, beside)
            sync_file(beside)
            beside.replace(registry)
        sync_file(registry.parent)
    state = staging / "state"
    for folder in (*state.iterdir(), state):
        sync_file(folder)
    state.replace(settings.state_path)
    sync_file(settings.home)
    shutil.rmtree(staging, ignore_errors=True)
