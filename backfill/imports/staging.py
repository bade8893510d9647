"""The first half of an import: chunks of a source become runs, sorted by event time.

A run is an Arrow file of records in order of event time (rows of one instant in the order of the
source). When all of a chunk is in runs, a file `chunk-<n>.json` says so and what
it held: it is the mark from which an import that was stopped goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import xxhash

from ...connectors.decode import DecodedBatch, JsonDecoder
from ...connectors.encode import encode
from ...connectors.imports import lines_of
from ...connectors.payloads import Payloads
from ...connectors.source import RawBatch
from ...engine.plan import StreamPlan
from ...schemas.outcomes import RecordCode
from ...state.durable import write_durably
from ...windows.algebra import Bools, Int64s
from .convert import Converter
from .sources import Chunk

NO_TIME_US: Final = -(2**63)
"""Stands in a run for the event time of a record that is no event."""

_MASK: Final = 2**64 - 1

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """How the rows of an import are judged.

    Rows whose event time is not in [`since_us`, `until_us`) are left out; None is no bound.
    `imported_us` is when the import began. `keys` are the columns that, with the event time, tell
    one row of a table from another; none for an import that takes all rows.
    """

    stream: StreamPlan
    imported_us: int
    record_bytes_max: int
    since_us: int | None = None
    until_us: int | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """What some rows were: counts, bounds of the event times, and a digest that no order changes.

    `read = left_out + good + bad`. `digest` adds up the hashes of the records that are kept.
    """

    read: int = 0
    left_out: int = 0
    good: int = 0
    bad: Mapping[str, int] = field(default_factory=dict)
    digest: int = 0
    first_us: int | None = None
    last_us: int | None = None

    def __add__(self, other: Held) -> Held:
        firsts = [one for one in (self.first_us, other.first_us) if one is not None]
        lasts = [one for one in (self.last_us, other.last_us) if one is not None]
        return Held(
            self.read + other.read,
            self.left_out + other.left_out,
            self.good + other.good,
            dict(Counter(self.bad) + Counter(other.bad)),
            (self.digest + other.digest) & _MASK,
            min(firsts, default=None),
            max(lasts, default=None),
        )

    @property
    def bad_count(self) -> int:
        """Records that are no events."""
        return sum(self.bad.values())

    @property
    def kept(self) -> int:
        """Records that the import brings, good and bad."""
        return self.good + self.bad_count

    @property
    def signature(self) -> str:
        """What equal rows have alike."""
        return f"{self.kept}-{self.digest:016x}"


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that are kept: times (`NO_TIME_US` where bad), as they came, and what they were.

    `ids` uint64 (n, 3), where the import has keys: which row of the table it is, 128 bits, and a
    hash of its content.
    """

    event_us: Int64s
    payloads: Payloads
    held: Held
    ids: np.ndarray | None


class Judge:
    """Judges rows as the engine will."""

    def __init__(self, rules: Rules, converter: Converter) -> None:
        stream = rules.stream
        self._rules = rules
        self._converter = converter
        self._decoder = JsonDecoder(stream.schema, stream.event_time, rules.record_bytes_max)

    def judge(self, rows: Any) -> Batch:
        """The records that some rows make; O(rows)."""
        payloads = self._converter.payloads(rows)
        count = len(payloads)
        offsets = np.arange(count)
        raw = RawBatch("", offsets, np.zeros(count, np.int64), payloads, count)
        decoded = self._decoder.decode(raw)
        event_us = np.full(count, NO_TIME_US)
        event_us[decoded.offsets] = decoded.event_us
        kept = self._in_bounds(event_us)
        bad = Counter(str(record.code) for record in decoded.bad)
        future = event_us > self._rules.imported_us + self._rules.stream.ahead_us
        if turned_away := int((future & kept).sum()):
            bad[str(RecordCode.FUTURE)] = turned_away
        ids = self._ids(payloads, decoded) if self._rules.keys else None
        if not kept.all():
            rows_kept = np.flatnonzero(kept)
            payloads, event_us = payloads.take(rows_kept), event_us[rows_kept]
            ids = None if ids is None else ids[rows_kept]
        times = event_us[(event_us > NO_TIME_US) & ~future[kept]]
        digest = sum(map(xxhash.xxh3_64_intdigest, payloads)) & _MASK  # type: ignore[arg-type]
        held = Held(
            count,
            count - len(event_us),
            len(times),
            dict(bad),
            digest,
            int(times.min()) if len(times) else None,
            int(times.max()) if len(times) else None,
        )
        return Batch(event_us, payloads, held, ids)

    def _in_bounds(self, event_us: Int64s) -> Bools:
        kept = np.ones(len(event_us), np.bool_)
        if self._rules.since_us is not None:
            kept &= event_us >= self._rules.since_us
        if self._rules.until_us is not None:
            kept &= event_us < self._rules.until_us
        kept |= event_us == NO_TIME_US
        return kept

    def _ids(self, payloads: Payloads, decoded: DecodedBatch) -> np.ndarray:
        """Of each record which row of the table it is; of one that is none, the record itself."""
        schema, stream = self._rules.stream.schema, self._rules.stream
        names = dict.fromkeys((*self._rules.keys, stream.event_time))
        ids = np.zeros((len(payloads), 3), np.uint64)
        which = encode(decoded.frame, {name: schema[name] for name in names})
        content = encode(decoded.frame, schema)
        ids[decoded.offsets] = _hashes(which, content)
        odd = [record.offset for record in decoded.bad]
        if odd:
            records = [payloads.record(place) or b"" for place in odd]
            ids[odd] = _hashes([b"!" + record for record in records], records)
        return ids


def _hashes(which: Sequence[bytes], content: Sequence[bytes]) -> np.ndarray:
    digests = b"".join(map(xxhash.xxh3_128_digest, which))
    both = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)
    third = np.fromiter(map(xxhash.xxh3_64_intdigest, content), np.uint64, len(content))
    return np.column_stack((both, third))


def count_rows(chunks: Sequence[Chunk], judge: Judge, progress: Progress) -> Held:
    """What the rows of a source are, with nothing written."""
    held = Held()
    for chunk in chunks:
        for rows in chunk.read():
            judged = judge.judge(rows).held
            held += judged
            progress(judged.read)
    return held


@dataclass(frozen=True, slots=True)
class Run:
    """A sorted run on the disk."""

    path: Path
    rows: int


def stage(
    folder: Path, chunks: Sequence[Chunk], judge: Judge, progress: Progress, run_rows: int
) -> tuple[list[Run], Held]:
    """Bring all chunks into runs in `folder`, going on after those that are there already.

    A run is closed as soon as it has `run_rows` records.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    held = Held()
    for number, chunk in enumerate(chunks):
        mark = folder / f"chunk-{number:05d}.json"
        if mark.exists():
            said = orjson.loads(mark.read_bytes())
            one, names = Held(**said["held"]), said["runs"]
            progress(one.read)
        else:
            one, names = _stage_chunk(folder, number, chunk, judge, progress, run_rows)
            content = orjson.dumps({"held": _plain(one), "runs": names})
            write_durably(mark, lambda draft, content=content: _write(draft, content))  # type: ignore[misc]
        runs += [Run(folder / name, rows) for name, rows in names]
        held += one
    return runs, held


def _plain(held: Held) -> dict[str, Any]:
    return {name: getattr(held, name) for name in Held.__slots__}


def _write(draft: Path, content: bytes) -> None:
    draft.write_bytes(content)


def _stage_chunk(
    folder: Path, number: int, chunk: Chunk, judge: Judge, progress: Progress, run_rows: int
) -> tuple[Held, list[tuple[str, int]]]:
    held, names = Held(), list[tuple[str, int]]()
    waiting: list[Batch] = []
    for batch in _batches(chunk, judge):
        held += batch.held
        progress(batch.held.read)
        waiting.append(batch)
        if sum(len(one.event_us) for one in waiting) >= run_rows:
            names.append(_write_run(folder, f"run-{number:05d}-{len(names):05d}.arrow", waiting))
            waiting = []
    if any(len(one.event_us) for one in waiting):
        names.append(_write_run(folder, f"run-{number:05d}-{len(names):05d}.arrow", waiting))
    return held, names


def _batches(chunk: Chunk, judge: Judge) -> Iterator[Batch]:
    for rows in chunk.read():
        yield judge.judge(rows)


def _write_run(folder: Path, name: str, batches: Sequence[Batch]) -> tuple[str, int]:
    event_us = np.concatenate([one.event_us for one in batches])
    order = np.argsort(event_us, kind="stable")
    lines = pa.concat_arrays([lines_of(one.payloads) for one in batches])
    columns: dict[str, Any] = {
        "event_us": pa.array(event_us[order]),
        "line": lines.take(pa.array(order)),
    }
    ids = [one.ids for one in batches if one.ids is not None]
    if ids:
        joined = np.concatenate(ids)[order]
        for place, column in enumerate(("id_high", "id_low", "content")):
            columns[column] = pa.array(np.ascontiguousarray(joined[:, place]))
    table = pa.table(columns)

    def write(draft: Path) -> None:
        with pa.OSFile(str(draft), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    write_durably(folder / name, write)
    return name, len(event_us)


def times_of(run: Run) -> Int64s:
    """The event times of a run's records, ascending."""
    with pa.memory_map(str(run.path)) as file:
        column = pa.ipc.open_file(file).read_all()["event_us"]
    times: Int64s = column.to_numpy()
    return times


def ids_of(runs: Sequence[Run]) -> pl.DataFrame:
    """Of each record of all runs its id and content, with `run` and `row`, in their order."""
    parts = []
    for number, run in enumerate(runs):
        with pa.memory_map(str(run.path)) as file:
            table = pa.ipc.open_file(file).read_all()
        frame = pl.from_arrow(table.select(["id_high", "id_low", "content"]))
        assert isinstance(frame, pl.DataFrame)
        place = pl.lit(number, pl.UInt32).alias("run")
        parts.append(frame.with_columns(place).with_row_index("row"))
    return pl.concat(parts) if parts else pl.DataFrame()
