"""An import from beginning to end: once, whatever stops it on the way.

    stage     chunks of the source become sorted runs     marks: chunk-<n>.json
    merge     runs become parts, in order of event time   marks: the parts themselves
    add       the parts become records of the stream      one transaction

All lies in `lake/imports/<stream>/<name>/`, what goes when it is done in `staging` there. Nothing
counts before the transaction. An import that was stopped goes on where it was if it is asked for
the same again, and the source is as it was; otherwise it begins anew.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from ...connectors.imports import Import, ImportFile
from ...engine.plan import StreamPlan
from ...engine.settings import Settings
from ...schemas.errors import ImportChanged, ImportRunning
from ...state.durable import write_durably
from .convert import Converter
from .merging import landed, merge
from .sources import Source
from .staging import Held, Judge, Rules, count_rows, stage

STAGING: Final = "staging"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many records a run has at least, and a part at most: what memory holds."""

    run_rows: int = 131_072
    part_rows: int = 524_288


SIZES: Final = Sizes()


Progress = Callable[[str, int, int | None], None]
"""Is told what is being done, how many rows are done, and of how many if that is known."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: which stream, from where, and how rows become its records.

    `mapping` names the source's column for columns of the stream. `delay_us`: how long after its
    event time a row landed. Rows with event times not in [`since_us`, `until_us`) are left out.
    `keys` make it the materialisation of a table (`tables.py`).
    """

    stream: StreamPlan
    source: Source
    name: str
    mapping: Mapping[str, str]
    delay_us: int = 0
    since_us: int | None = None
    until_us: int | None = None
    keys: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """The same for the same rows by the same rules, as JSON."""
        stream = self.stream
        schema = {name: str(dtype) for name, dtype in stream.schema.items()}
        return orjson.dumps(
            {
                "source": self.source.mark,
                "mapping": dict(self.mapping),
                "delay_us": self.delay_us,
                "since_us": self.since_us,
                "until_us": self.until_us,
                "keys": self.keys,
                "schema": schema,
                "event_time": stream.event_time,
            },
            option=orjson.OPT_SORT_KEYS,
        ).decode()

    @property
    def converter(self) -> Converter:
        """What makes records of the source's rows. Raises `BadRequest`."""
        source, stream = self.source, self.stream
        return Converter(
            stream.schema,
            stream.event_time,
            self.mapping,
            source.columns,
            is_text=source.is_text,
        )


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an import: the rows, and where they are; `before` if it was there already."""

    held: Held
    entry: Import
    before: bool


def rules(settings: Settings, asked: Asked, imported_us: int) -> Rules:
    """How the rows that are asked for are judged, in an import that began at `imported_us`."""
    return Rules(
        asked.stream,
        imported_us,
        settings.record_bytes_max,
        asked.since_us,
        asked.until_us,
        asked.keys,
    )


def count(settings: Settings, asked: Asked, now_us: int, progress: Progress) -> Held:
    """What an import would bring, with nothing written. Reads the whole source."""
    judge = Judge(rules(settings, asked, now_us), asked.converter)
    return count_rows(asked.source.chunks, judge, adding(progress, "Reading", asked.source.rows))


def import_rows(
    settings: Settings, asked: Asked, now_us: int, progress: Progress, sizes: Sizes = SIZES
) -> Done:
    """Make the rows that are asked for records of the stream, once.

    An import of that name that is there already is compared: with the same rows it is done, with
    others it raises `ImportChanged`. Raises `ImportRunning` while another process imports under
    that name, `BadRequest` for a source that does not fit, and what reading and writing raises.
    """
    folder = settings.imports_path(asked.stream.name).with_suffix("") / asked.name
    with hold(folder), opened(settings, asked.stream.name) as file:
        known = file.find(asked.name)
        if known is not None:
            shutil.rmtree(folder / STAGING, ignore_errors=True)
            return Done(_same(settings, asked, known, progress), known, before=True)
        began_us = begin(folder, asked, now_us)
        judge = Judge(rules(settings, asked, began_us), asked.converter)
        total = asked.source.rows
        reading = adding(progress, "Reading", total)
        runs, held = stage(folder / STAGING, asked.source.chunks, judge, reading, sizes.run_rows)
        writing = adding(progress, "Sorting", held.kept)
        landing = landed(began_us, asked.delay_us)
        parts = merge(folder, runs, None, landing, writing, sizes.part_rows)
        entry = file.add(entry_of(asked, held, began_us), parts)
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        return Done(held, entry, before=False)


def entry_of(asked: Asked, held: Held, began_us: int) -> Import:
    """What the stream's file says of an import."""
    return Import(
        name=asked.name,
        first_offset=0,
        count=held.kept,
        bad=held.bad_count,
        imported_us=began_us,
        delay_us=asked.delay_us,
        first_us=held.first_us,
        last_us=held.last_us,
        digest=held.signature,
        request=asked.described,
    )


def begin(folder: Path, asked: Asked, now_us: int) -> int:
    """Begin an import in its folder, or go on with it; returns when it began, µs.

    What another request, or the same of another source, has left there goes; and what a query left,
    for nobody knows whether its rows are still those.
    """
    mark = folder / STAGING / "request.json"
    described = asked.described
    if mark.exists():
        said = orjson.loads(mark.read_bytes())
        if asked.source.pinned and said["asked"] == described:
            return int(said["began_us"])
    for left in (*folder.glob("part-*"), folder / STAGING):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
    mark.parent.mkdir(parents=True, exist_ok=True)
    content = orjson.dumps({"asked": described, "began_us": now_us})
    write_durably(mark, lambda draft: _write(draft, content))
    return now_us


def _write(draft: Path, content: bytes) -> None:
    draft.write_bytes(content)


def _same(settings: Settings, asked: Asked, known: Import, progress: Progress) -> Held:
    """The rows of the source, if they are those of the import that is there."""
    if asked.source.pinned and known.request == asked.described:
        good = known.count - known.bad
        bad = {"": known.bad} if known.bad else {}
        return Held(known.count, 0, good, bad, 0, known.first_us, known.last_us)
    held = count(settings, replace(asked, keys=()), known.imported_us, progress)
    if (held.signature, asked.delay_us) != (known.digest, known.delay_us):
        raise ImportChanged(
            stream=asked.stream.name,
            name=known.name,
            got=f"{held.kept} rows, landing delay {asked.delay_us} us",
            expected=f"the {known.count} rows that were imported, {known.delay_us} us",
        )
    return held


def adding(progress: Progress, what: str, total: int | None) -> Callable[[int], None]:
    """Tells how many rows are done, where how many more are done is told."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        progress(what, done, total)

    return add


@contextmanager
def opened(settings: Settings, stream: str) -> Iterator[ImportFile]:
    """The stream's imports, for a while."""
    file = ImportFile(settings.imports_path(stream), stream)
    try:
        yield file
    finally:
        file.close()


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes from importing there, by a lock that goes with the process.

    Raises `ImportRunning` if another one holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ImportRunning(name=folder.name, where=str(folder)) from None
        yield


def imports_of(settings: Settings, stream: str) -> tuple[Import, ...]:
    """All imports of a stream, the oldest first."""
    with opened(settings, stream) as file:
        return file.imports()
