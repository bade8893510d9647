"""Opening the place of the checkpoints: a folder, or a bucket behind the S3 protocol.

An object store makes an object visible when it is whole, so a manifest that is put last is as
atomic there as a rename is on a disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from pyarrow import fs

from ..schemas.errors import SettingsError
from .checkpoint_store import CHUNK_BYTES, FILES, MANIFEST, DirectoryStore, Store, refusals
from .object_store import check_options, s3_files


def open_store(place: str | None, options: Mapping[str, str], project: Path) -> Store:
    """The store at `place`: `s3://bucket/prefix`, or a folder, relative to the project's.

    Nothing is touched yet. Raises `SettingsError` for a place or option that means nothing.
    """
    if not place:
        raise SettingsError(
            "it is not said where checkpoints lie",
            where="checkpoint_to",
            expected="a folder, or s3://bucket/prefix",
            hint='`[checkpoint] to = "…"` in tegula.toml, or `--to` and `--from` of the command',
        )
    scheme, _, rest = place.partition("://")
    if "://" not in place:
        return DirectoryStore(project / Path(place).expanduser())
    if scheme == "file":
        return DirectoryStore(Path(rest))
    if scheme != "s3" or not rest.strip("/"):
        raise SettingsError(
            "checkpoints cannot lie there",
            where="checkpoint_to",
            got=place,
            expected="a folder, or s3://bucket/prefix",
        )
    check_options(options, "checkpoint_options")
    return ObjectStore(s3_files(options), rest.strip("/"), place)


class ObjectStore:
    """Checkpoints in a bucket, below a prefix."""

    lanes = 8

    def __init__(self, files: fs.FileSystem, root: str, name: str) -> None:
        self._files = files
        self._root = root
        self.name = name.rstrip("/")

    def put_file(self, path: str, source: Path) -> None:
        place = f"{self._root}/{path}"
        with (
            refusals(self.name),
            source.open("rb") as file,
            self._files.open_output_stream(place) as to,
        ):
            shutil.copyfileobj(file, to, CHUNK_BYTES)

    def put(self, path: str, content: bytes) -> None:
        with refusals(self.name), self._files.open_output_stream(f"{self._root}/{path}") as to:
            to.write(content)

    def get(self, path: str) -> bytes | None:
        content = b"".join(self.chunks(path))
        return content or None

    def chunks(self, path: str) -> Iterator[bytes]:
        with refusals(self.name):
            try:
                stream = self._files.open_input_stream(f"{self._root}/{path}")
            except FileNotFoundError:
                return
            with stream:
                yield from iter(partial(stream.read, CHUNK_BYTES), b"")

    def sizes(self) -> Mapping[str, int]:
        return {info.base_name: info.size for info in self._below(FILES)}

    def ids(self) -> list[str]:
        found = self._below("", fs.FileType.Directory)
        names = [info.base_name for info in found if info.base_name != FILES]
        paths = [f"{self._root}/{name}/{MANIFEST}" for name in names]
        with refusals(self.name):
            infos = self._files.get_file_info(paths) if paths else []
        there = zip(names, infos, strict=True)
        return sorted(name for name, info in there if info.type == fs.FileType.File)

    def _below(self, folder: str, kind: fs.FileType = fs.FileType.File) -> list[fs.FileInfo]:
        base = f"{self._root}/{folder}".rstrip("/")
        selector = fs.FileSelector(base, allow_not_found=True)
        with refusals(self.name):
            return [one for one in self._files.get_file_info(selector) if one.type == kind]

    def delete(self, path: str) -> None:
        with refusals(self.name):
            folder, _, name = f"{self._root}/{path}".rpartition("/")
            try:
                if name == MANIFEST:  # with the folder, of which else an empty object stays
                    self._files.delete_dir(folder)
                else:
                    self._files.delete_file(f"{folder}/{name}")
            except FileNotFoundError:
                return
