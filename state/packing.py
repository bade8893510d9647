"""The stored form of tiles: one *block* a value, in the state and in the online store alike.

Little-endian throughout; everything up to the heap is aligned to 8 bytes. A block is a prefix, for
heads and bodies a *stamp*, then one record a tile, then the heap, and in the online store a
*summary* (`docs/formats/block.md`):

    prefix   0 u16 magic 0x6774   2 u8 version   3 u8 kind   4 u32 tiles   8 u32 heap bytes
            12 u32 layout        16 i64 newest event time (µs)
    stamp   24 u64 incarnation   32 u64 commit  40 u64 folded_through  48 i64 horizon (µs)
    record   0 i64 start (µs)     8 u64 rows << 16 | mode << 8 | rung, then 8 bytes a state field:
            its value, or for a field of bytes u32 offset (in this block's heap) and u32 length
    summary  of an online head: one record of the small slots' fields, the merge of all tiles;
            of an online body: i64 start of each tile, then such a record for each: the merge of
            the tile and all later ones; of an online segment for every 32nd tile: i64 rows of the
            tile and all later ones, and the record of their merge (`windows.suffixes`)

`layout` is a checksum of the state fields' names and types, so that a block can never be read with
another build's shape: a mismatch is an error, never a wrong number.

Records are rows, not columns, because many keys are packed at once: one array is filled column by
column and cut a key at a time, and reading many keys back is one join and one view. Packed columns
cost a third more to write and five times as much to read back (`benchmarks/layout.py`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa

from ..schemas.errors import FormatUnknown, StateCorrupt
from ..windows.algebra import Values
from ..windows.shape import Shape
from ..windows.suffixes import STRIDE, small_slots, strided_suffixes, suffix_merges, totals
from ..windows.tiles import NEVER_US, KeyedTiles, Tiles

MAGIC: Final = 0x6774
VERSION: Final = 1

CHUNK, HEAD, BODY, SEGMENT, ONLINE_HEAD, ONLINE_BODY, ONLINE_SEGMENT = 1, 2, 3, 4, 5, 6, 7
DIRECTORY, PART = 8, 9
"""Kinds of block."""

ADD, REPLACE = 0, 1
"""Modes of a tile. Only ADD is written; a reader that meets REPLACE refuses the block."""

PREFIX: Final = np.dtype(
    [
        ("magic", "<u2"),
        ("version", "u1"),
        ("kind", "u1"),
        ("tiles", "<u4"),
        ("heap_bytes", "<u4"),
        ("layout", "<u4"),
        ("newest_us", "<i8"),
    ]
)
STAMP: Final = np.dtype(
    [("incarnation", "<u8"), ("commit", "<u8"), ("folded_through", "<u8"), ("horizon_us", "<i8")]
)
STAMPED_BYTES: Final = PREFIX.itemsize + STAMP.itemsize
FOLDED_THROUGH_AT: Final = PREFIX.itemsize + 16
"""Where a head's or body's `folded_through` stands."""

KIND_AT: Final = 3
"""Where a block's kind stands."""

PIECE_BYTES: Final = 32
"""From so many bytes a piece on, values are joined as they lie, rather than byte by byte."""

_KIND_AT: Final = 3
_COMMIT: Final = struct.Struct("<Q")
_COMMIT_AT: Final = PREFIX.itemsize + 8

_TILES: Final = struct.Struct("<4xI")


@dataclass(frozen=True, slots=True)
class Stamps:
    """What heads and bodies carry beside their tiles; one entry a key.

    `incarnation` and `commit` say up to which commit the block is whole; chunks up to
    `folded_through` are in it already; `horizon_us` as in `windows.coarsen`.
    """

    incarnation: np.ndarray
    commit: np.ndarray
    folded_through: np.ndarray
    horizon_us: np.ndarray

    def take(self, indices: np.ndarray) -> Stamps:
        """The stamps of the keys at `indices` (int64), in that order."""
        return Stamps(*(getattr(self, name)[indices] for name in STAMP.names or ()))


@dataclass(frozen=True, slots=True)
class Blocks:
    """n blocks read back: their tiles one block after the other, and their stamps."""

    bounds: np.ndarray
    newest_us: np.ndarray
    tiles: Tiles
    stamps: Stamps

    def __len__(self) -> int:
        return len(self.newest_us)


def tile_count(block: bytes) -> int:
    """How many tiles a block holds."""
    count: int = _TILES.unpack_from(block)[0]
    return count


def online_head_commit(block: bytes | memoryview) -> int | None:
    """The commit that an online head is stamped with; None for a block of another kind."""
    if block[_KIND_AT] != ONLINE_HEAD:
        return None
    commit: int = _COMMIT.unpack_from(block, _COMMIT_AT)[0]
    return commit


def layout_of(shape: Shape) -> int:
    """The checksum of a shape's state fields that every block carries."""
    names = [
        f"{slot.monoid.name}/{slot.monoid.version}/{f.name}/{f.dtype}"
        for slot in shape.slots
        for f in slot.monoid.fields
    ]
    return zlib.crc32("\n".join(names).encode())


def record_dtype(shape: Shape) -> np.dtype[np.void]:
    """The record of a tile of this shape."""
    fields: list[tuple[str, str]] = [("start", "<i8"), ("tag", "<u8")]
    for number, f in enumerate(shape.fields):
        fields.append((f"f{number}", "<u8" if f.dtype == "bytes" else f.dtype))
    return np.dtype(fields)


def summary_dtype(shape: Shape) -> np.dtype[np.void]:
    """The record of a summary: the fields of the small slots, as they are named in a tile's."""
    record = record_dtype(shape)
    names = [
        f"f{number}"
        for slot in small_slots(shape)
        for number in range(shape.field_ranges[slot].start, shape.field_ranges[slot].stop)
    ]
    return np.dtype([(name, record[name].str) for name in names])


def segment_summary_dtype(shape: Shape) -> np.dtype[np.void]:
    """The record of an online segment's summary: rows, then as in any other summary."""
    summary = summary_dtype(shape)
    return np.dtype([("rows", "<i8"), *((name, summary[name].str) for name in summary.names or ())])


def pack(shape: Shape, keyed: KeyedTiles, kind: int, stamps: Stamps | None = None) -> list[bytes]:
    """One block a key. `stamps` is given for heads and bodies, and only for them."""
    tiles, bounds = keyed.tiles, keyed.bounds
    dtype = record_dtype(shape)
    records = np.empty(len(tiles), dtype=dtype)
    records["start"] = tiles.start_us
    records["tag"] = (tiles.rows.astype(np.uint64) << np.uint64(16)) | tiles.rung
    heap_bytes = np.zeros(len(keyed), dtype=np.int64)
    heaps: list[tuple[memoryview, list[int]]] = []
    for number, column in enumerate(tiles.columns):
        if isinstance(column, np.ndarray):
            records[f"f{number}"] = column
            continue
        offsets, data = _binary_parts(column)
        edges = offsets[bounds]
        length = np.diff(offsets)
        base = np.repeat(heap_bytes - edges[:-1], np.diff(bounds))
        records[f"f{number}"] = ((offsets[:-1] + base) | (length << 32)).astype(np.uint64)
        heap_bytes += np.diff(edges)
        heaps.append((data, edges.tolist()))
    headers = _headers(shape, np.diff(bounds), keyed.newest_us, kind, heap_bytes, stamps)
    blocks = _cut(headers, records, (bounds * dtype.itemsize).tolist(), heaps)
    if kind == ONLINE_HEAD:
        summary = _records(summary_dtype(shape), totals(shape, keyed))
        edges = (np.arange(len(keyed) + 1) * summary.dtype.itemsize).tolist()
        return _append(blocks, summary.tobytes(), edges)
    if kind == ONLINE_SEGMENT:
        bounds, rows, merges = strided_suffixes(shape, keyed)
        summary = _records(segment_summary_dtype(shape), (rows, *merges))
        return _append(blocks, summary.tobytes(), (bounds * summary.dtype.itemsize).tolist())
    if kind == ONLINE_BODY:
        starts = tiles.start_us.tobytes()
        blocks = _append(blocks, starts, (bounds * tiles.start_us.itemsize).tolist())
        summary = _records(summary_dtype(shape), suffix_merges(shape, keyed))
        return _append(blocks, summary.tobytes(), (bounds * summary.dtype.itemsize).tolist())
    return blocks


def _records(dtype: np.dtype[np.void], columns: Sequence[np.ndarray]) -> np.ndarray:
    """Equally long columns as records."""
    records = np.empty(len(columns[0]) if columns else 0, dtype=dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        records[name] = column
    return records


def _append(blocks: list[bytes], data: bytes, edges: Sequence[int]) -> list[bytes]:
    """Each block with its part of `data`, which is cut at `edges`."""
    return [
        block + data[begin:end] for block, (begin, end) in zip(blocks, pairwise(edges), strict=True)
    ]


def pack_directories(
    shape: Shape, newest_us: np.ndarray, stamps: Stamps, lists: Sequence[bytes]
) -> list[bytes]:
    """One block a key of no tiles, whose heap is the list of the parts that have them."""
    sizes = np.array([len(one) for one in lists], dtype=np.int64)
    headers = _headers(shape, np.zeros_like(sizes), newest_us, DIRECTORY, sizes, stamps)
    edges = (np.arange(len(lists) + 1) * STAMPED_BYTES).tolist()
    data = headers.tobytes()
    return [data[begin:end] + one for (begin, end), one in zip(pairwise(edges), lists, strict=True)]


def bytes_of_tiles(shape: Shape, keyed: KeyedTiles) -> np.ndarray:
    """How many bytes the records and the heap of each key's block will be, int64 (k,)."""
    sizes = np.diff(keyed.bounds) * record_dtype(shape).itemsize
    for column in keyed.tiles.columns:
        if not isinstance(column, np.ndarray):
            sizes += np.diff(_binary_parts(column)[0][keyed.bounds])
    return sizes


def _headers(
    shape: Shape,
    tiles: np.ndarray,
    newest_us: np.ndarray,
    kind: int,
    heap_bytes: np.ndarray,
    stamps: Stamps | None,
) -> np.ndarray:
    dtype = PREFIX if stamps is None else np.dtype(PREFIX.descr + STAMP.descr)
    headers = np.empty(len(tiles), dtype=dtype)
    headers["magic"], headers["version"], headers["kind"] = MAGIC, VERSION, kind
    headers["tiles"] = tiles
    headers["heap_bytes"] = heap_bytes
    headers["layout"] = layout_of(shape)
    headers["newest_us"] = newest_us
    if stamps is not None:
        for name in STAMP.names or ():
            headers[name] = getattr(stamps, name)
    return headers


def _cut(
    headers: np.ndarray,
    records: np.ndarray,
    edges: list[int],
    heaps: list[tuple[memoryview, list[int]]],
) -> list[bytes]:
    head, width, body = headers.tobytes(), headers.dtype.itemsize, records.tobytes()
    blocks = [
        head[i * width : (i + 1) * width] + body[begin:end]
        for i, (begin, end) in enumerate(pairwise(edges))
    ]
    for data, at in heaps:
        blocks = [
            block + data[begin:end]
            for block, begin, end in zip(blocks, at[:-1], at[1:], strict=True)
        ]
    return blocks


def _binary_parts(column: pa.LargeBinaryArray) -> tuple[np.ndarray, memoryview]:
    """Offsets (int64, n + 1) and data of a binary column without nulls."""
    _, offsets, data = column.buffers()
    if offsets is None:
        return np.zeros(1, dtype=np.int64), memoryview(b"")
    at = np.frombuffer(offsets, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    return at, memoryview(data) if data is not None else memoryview(b"")


def unpack(shape: Shape, blocks: Sequence[bytes], stamped: bool) -> Blocks:
    """Read n blocks of one shape back.

    Raises `StateCorrupt` if a block is cut short or is none, `FormatUnknown` for a version or mode
    of a later release and for a block that was written for other state fields.
    """
    header_dtype = np.dtype(PREFIX.descr + STAMP.descr) if stamped else PREFIX
    width = header_dtype.itemsize
    headers = np.frombuffer(b"".join([b[:width] for b in blocks]), dtype=header_dtype)
    _check(shape, blocks, headers, width)
    dtype = record_dtype(shape)
    counts = headers["tiles"].astype(np.int64)
    heap_bytes = headers["heap_bytes"].astype(np.int64)
    ends = width + counts * dtype.itemsize
    heap_ends, ends = (ends + heap_bytes).tolist(), ends.tolist()
    records = np.frombuffer(
        b"".join([b[width:e] for b, e in zip(blocks, ends, strict=True)]), dtype=dtype
    )
    bounds = np.concatenate(([0], np.cumsum(counts)))
    columns: list[Values] = []
    heap: bytes | None = None
    heap_base = np.concatenate(([0], np.cumsum(heap_bytes)[:-1])) if len(blocks) else heap_bytes
    for number, f in enumerate(shape.fields):
        if f.dtype != "bytes":
            columns.append(np.ascontiguousarray(records[f"f{number}"]))
            continue
        if heap is None:
            edges = zip(blocks, ends, heap_ends, strict=True)
            heap = b"".join([block[begin:end] for block, begin, end in edges])
        columns.append(_from_heap(records[f"f{number}"], heap, np.repeat(heap_base, counts)))
    tag = records["tag"]
    if (tag & np.uint64(0xFF00)).any():
        raise FormatUnknown(where="tile mode", got="a mode other than add", expected="mode 0")
    tiles = Tiles(
        np.ascontiguousarray(records["start"]),
        (tag & np.uint64(0xFF)).astype(np.uint8),
        (tag >> np.uint64(16)).astype(np.int64),
        tuple(columns),
    )
    if stamped:
        stamps = Stamps(*(headers[name].copy() for name in STAMP.names or ()))
    else:
        nothing = np.zeros(len(blocks), dtype=np.uint64)
        stamps = Stamps(nothing, nothing, nothing, np.full(len(blocks), NEVER_US))
    return Blocks(bounds, headers["newest_us"].astype(np.int64), tiles, stamps)


def _from_heap(places: np.ndarray, heap: bytes, base: np.ndarray) -> pa.LargeBinaryArray:
    """The byte values at `places` (offset | length << 32) of each block's part of the heap."""
    begin = (places & np.uint64(0xFFFFFFFF)).astype(np.int64) + base
    length = (places >> np.uint64(32)).astype(np.int64)
    if not len(begin):
        return pa.array([], type=pa.large_binary())
    offsets = np.concatenate(([0], np.cumsum(length)))
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(),
        len(begin),
        [
            None,
            pa.py_buffer(offsets.astype(np.int64).tobytes()),
            pa.py_buffer(_joined(heap, begin, begin + length, offsets)),
        ],
    )


def _joined(heap: bytes, begin: np.ndarray, end: np.ndarray, offsets: np.ndarray) -> bytes:
    """The ranges of the heap one after the other; `offsets` says where each then begins.

    A field's values stand together in each block: nearly always there are few pieces to join, and
    an index for every byte would cost more than all else that reading does.
    """
    breaks = np.flatnonzero(begin[1:] != end[:-1]) + 1
    if (len(breaks) + 1) * PIECE_BYTES <= offsets[-1]:
        begins, ends = begin[np.append(0, breaks)], end[np.append(breaks - 1, len(end) - 1)]
        view = memoryview(heap)
        pieces = zip(begins.tolist(), ends.tolist(), strict=True)
        joined = b"".join([view[first:last] for first, last in pieces])
        if len(joined) != offsets[-1]:
            raise StateCorrupt(where="stored block", detail="a value lies past the end of the heap")
        return joined
    gather = np.repeat(begin - offsets[:-1], end - begin) + np.arange(offsets[-1])
    gathered: bytes = np.frombuffer(heap, dtype=np.uint8)[gather].tobytes()
    return gathered


def _check(shape: Shape, blocks: Sequence[bytes], headers: np.ndarray, width: int) -> None:
    """Refuse, with the reason, what is not a whole block of this shape."""
    if len(headers) != len(blocks) or not (headers["magic"] == MAGIC).all():
        raise StateCorrupt(where="stored block", detail="no block begins here")
    if not (headers["version"] == VERSION).all():
        raise FormatUnknown(
            where="stored block",
            got=f"version {int(headers['version'].max())}",
            expected=f"version {VERSION}",
        )
    if not (headers["layout"] == np.uint32(layout_of(shape))).all():
        raise FormatUnknown(
            where="stored block",
            got=f"state fields {int(headers['layout'][0]):08x}",
            expected=f"state fields {layout_of(shape):08x}",
        )
    tiles, summary_bytes = headers["tiles"].astype(np.int64), summary_dtype(shape).itemsize
    expected = width + tiles * record_dtype(shape).itemsize + headers["heap_bytes"]
    expected += np.where(headers["kind"] == ONLINE_HEAD, summary_bytes, 0)
    expected += np.where(headers["kind"] == ONLINE_BODY, tiles * (8 + summary_bytes), 0)
    strides = -(-tiles // STRIDE)
    expected += np.where(headers["kind"] == ONLINE_SEGMENT, strides * (8 + summary_bytes), 0)
    if not (expected == np.fromiter(map(len, blocks), np.int64, len(blocks))).all():
        raise StateCorrupt(where="stored block", detail="a block was cut short")
