"""A checkpoint's manifest: what state it is, of which moment, and which content makes it up.

It is written last, so a checkpoint without one does not exist. It guards itself and every file by
checksums (XXH3, 128 bits). `docs/formats/checkpoint.md` has every field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import xxhash

from ..schemas.errors import CheckpointDamaged, FormatUnknown
from .checkpoint_store import FILES, MANIFEST
from .packing import VERSION as BLOCK_VERSION
from .registry_tables import FORMAT as REGISTRY_FORMAT

FORMAT: Final = "tegula checkpoint"
VERSION: Final = 1
FORMATS: Final[Mapping[str, int]] = {
    "block": BLOCK_VERSION,
    "identity": 1,
    "registry": REGISTRY_FORMAT,
}
"""The formats of what lies in the files, by name, as this version of Tegula writes them."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class File:
    """One file: its name where it belongs, its bytes, and the checksum of them, in hexadecimal."""

    name: str
    size: int
    checksum: str

    @property
    def path(self) -> str:
        """Where its content lies in a store; empty content lies nowhere."""
        return f"{FILES}/{self.checksum}"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a build had taken in a partition (by its ordinal), and the running maximum there."""

    build: int
    partition: int
    next_offset: int
    running_max_us: int


@dataclass(frozen=True, slots=True)
class ShardPart:
    """One shard as it was: the incarnation, its last commit, positions, and its files."""

    number: int
    incarnation: int
    commit: int
    applied: tuple[Position, ...]
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class BuildPart:
    """A build that the registry knew: of which view, in which status, for which definition."""

    id: int
    view: str
    status: str
    structural: str


@dataclass(frozen=True, slots=True)
class StreamPart:
    """The log that a stream's positions belong to, and the ordinals of its partitions."""

    identity: str | None
    partitions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole checkpoint; `registry` is None where the registry lies in a database elsewhere.

    `home` names the home that it is of, whatever machine that lies on. Times are µs since the
    epoch, UTC.
    """

    id: str
    home: str
    created_us: int
    formats: Mapping[str, int]
    catalogue: int
    builds: tuple[BuildPart, ...]
    streams: Mapping[str, StreamPart]
    shards: tuple[ShardPart, ...]
    registry: File | None

    @property
    def path(self) -> str:
        """Where the manifest lies in a store."""
        return manifest_path(self.id)

    @property
    def files(self) -> tuple[File, ...]:
        """Every file of the checkpoint."""
        of_shards = tuple(file for shard in self.shards for file in shard.files)
        return of_shards if self.registry is None else (*of_shards, self.registry)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, stored anew or not."""
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        """The manifest as JSON, with the checksum of all the rest."""
        raw = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return _dump({**raw, "checksum": _checksum(raw)})


def manifest_path(of_id: str) -> str:
    """Where the manifest of a checkpoint lies in a store."""
    return f"{of_id}/{MANIFEST}"


def decode(content: bytes, where: str) -> Manifest:
    """The manifest in `content`.

    Raises `FormatUnknown` for a format or version of later, `CheckpointDamaged` for what is none.
    """
    try:
        raw = orjson.loads(content)
        said = f"{raw.get('format')!r}, version {raw.get('version')!r}"
        if raw.get("format") != FORMAT or raw.get("version") != VERSION:
            raise FormatUnknown(where=where, got=said, expected=f"{FORMAT!r}, version {VERSION}")
        checksum = raw.pop("checksum")
        if checksum != _checksum(raw):
            raise CheckpointDamaged(where=where, detail="another checksum than it names")
        return _manifest(raw)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as fault:
        raise CheckpointDamaged(where=where, detail=repr(fault)) from fault


def require_known(manifest: Manifest, where: str) -> None:
    """Raises `FormatUnknown` if this version of Tegula cannot read what is in the files."""
    for name, version in manifest.formats.items():
        if FORMATS.get(name) != version:
            known = FORMATS.get(name)
            raise FormatUnknown(
                where=where,
                got=f"{name} format {version}",
                expected="none of that name" if known is None else f"{name} format {known}",
            )


def next_id(created_us: int, known: Iterable[str]) -> str:
    """The id of a checkpoint: its instant; later than all that are known, whatever the clock says.

    >>> next_id(1_714_564_800_000_000, [])
    '20240501T120000.000000Z'
    >>> next_id(0, ["20240501T120000.000000Z"])
    '20240501T120000.000001Z'
    """
    newest = max(known, default="")
    made = _id(created_us)
    if made > newest:
        return made
    try:
        instant = datetime.strptime(newest, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:  # not ours, and not to be followed
        return made
    return _id((instant - _EPOCH) // timedelta(microseconds=1) + 1)


def _id(at_us: int) -> str:
    return f"{_EPOCH + timedelta(microseconds=at_us):%Y%m%dT%H%M%S.%fZ}"


def _manifest(raw: Mapping[str, Any]) -> Manifest:
    return Manifest(
        id=raw["id"],
        home=raw["home"],
        created_us=raw["created_us"],
        formats=raw["formats"],
        catalogue=raw["catalogue"],
        builds=tuple(BuildPart(**build) for build in raw["builds"]),
        streams={name: StreamPart(**stream) for name, stream in raw["streams"].items()},
        shards=tuple(_shard(shard) for shard in raw["shards"]),
        registry=None if raw["registry"] is None else File(**raw["registry"]),
    )


def _shard(raw: Mapping[str, Any]) -> ShardPart:
    applied: Sequence[Mapping[str, int]] = raw["applied"]
    return ShardPart(
        raw["number"],
        raw["incarnation"],
        raw["commit"],
        tuple(Position(**one) for one in applied),
        tuple(File(**file) for file in raw["files"]),
    )


def _dump(raw: Mapping[str, Any]) -> bytes:
    option = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(raw, option=option)


def _checksum(raw: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(_dump(raw))
