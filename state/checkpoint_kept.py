"""The checkpoints that a store keeps: reading, listing, verifying, and deleting the oldest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import xxhash

from ..schemas.errors import (
    CheckpointDamaged,
    CheckpointMissing,
    CheckpointStoreFault,
    TegulaError,
)
from .checkpoint_manifest import File, Manifest, decode, manifest_path
from .checkpoint_store import FILES, Store

LATEST: Final = "latest"

Progress = Callable[[int, int], None]
"""Is told the bytes done, and those of all."""


def prune(store: Store, keep: int) -> int:
    """Delete all but the `keep` newest checkpoints, then content that no manifest names.

    Returns how many checkpoints went. Raises `CheckpointDamaged`, with no content deleted, if one
    that stays cannot be read: what it names is not known.
    """
    ids = store.ids()
    gone = ids[:-keep]
    for old in gone:
        store.delete(manifest_path(old))
    named = {file.checksum for left in ids[-keep:] for file in read_manifest(store, left).files}
    for name in store.sizes():
        if name not in named:
            store.delete(f"{FILES}/{name}")
    return len(gone)


def read_manifest(store: Store, wanted: str) -> Manifest:
    """The manifest of a checkpoint, or of the `latest`.

    Raises `CheckpointMissing`, `CheckpointDamaged`, `FormatUnknown`, `CheckpointStoreFault`.
    """
    found = wanted
    if wanted == LATEST:
        ids = store.ids()
        if not ids:
            raise CheckpointMissing(where=store.name, got="no checkpoint at all")
        found = ids[-1]
    content = store.get(manifest_path(found)) if _is_name(found) else None
    if content is None:
        newest = store.ids()[-3:]
        raise CheckpointMissing(where=store.name, got=found, expected=", ".join(newest))
    where = f"{store.name}/{manifest_path(found)}"
    manifest = decode(content, where)
    if manifest.id != found:
        raise CheckpointDamaged(where=where, detail=f"the manifest of {manifest.id}")
    return manifest


def _is_name(text: str) -> bool:
    return bool(text) and "/" not in text and text not in (".", "..")


@dataclass(frozen=True, slots=True)
class Listed:
    """A checkpoint in a list; `fault` says why its manifest cannot be read, if it cannot."""

    id: str
    manifest: Manifest | None
    fault: TegulaError | None = None


def listed(store: Store, ids: Iterable[str]) -> Iterator[Listed]:
    """The checkpoints `ids`, read one by one; raises `CheckpointStoreFault` alone."""
    for one in ids:
        try:
            yield Listed(one, read_manifest(store, one))
        except CheckpointStoreFault:
            raise
        except TegulaError as fault:
            yield Listed(one, None, fault)


def verify(store: Store, manifest: Manifest, progress: Progress) -> list[File]:
    """Read all that a checkpoint is made of; returns the files that are gone or differ."""
    unique = {file.checksum: file for file in manifest.files if file.size}
    done, total = 0, sum(file.size for file in unique.values())
    damaged = set()
    for file in unique.values():
        digest, size = xxhash.xxh3_128(), 0
        for chunk in store.chunks(file.path):
            digest.update(chunk)
            size += len(chunk)
            progress(done + min(size, file.size), total)
        done += file.size
        if (size, digest.hexdigest()) != (file.size, file.checksum):
            damaged.add(file.checksum)
    return [file for file in manifest.files if file.checksum in damaged]
