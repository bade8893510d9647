"""States that hold several items: how they are laid out, and how many are opened at once.

An item is a record of `width` words of 8 bytes, little-endian, and where its value is a string, the
string beside it. A state is one field of bytes, its records one after the other; for strings there
are two fields, and the last word of each record is the length of its string in the second:

    items   tag (uint64), record, record, …       nothing at all for no items
    texts   string, string, …                     without anything between them

The tag says what the values are: 1 doubles, 2 integers, 3 strings. So a state can be read alone.

Opened, the items of all states stand in columns with the number of their state beside them, so that
merging is sorting and cutting columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .algebra import Bools, Int64s, StateField, States, Values

FLOATS, INTS, STRINGS = 1, 2, 3
ITEMS = (StateField("items", "bytes"),)
TEXTS = (StateField("items", "bytes"), StateField("texts", "bytes"))


@dataclass(frozen=True, slots=True)
class Items:
    """n items: words int64 (n, width); `ids` int64 (n,), ascending; the tag of their values.

    Where there are `texts`, one an item, the last word is their length.
    """

    words: npt.NDArray[np.int64]
    ids: Int64s
    tag: int
    texts: pa.LargeBinaryArray | None = None

    def take(self, indices: Int64s) -> Items:
        """The items at `indices`."""
        texts = None if self.texts is None else self.texts.take(pa.array(indices))
        return Items(self.words[indices], self.ids[indices], self.tag, texts)

    def first(self, count: int) -> Items:
        """At most the first `count` items of each state."""
        return self.take(np.flatnonzero(self.places < count))

    @property
    def places(self) -> Int64s:
        """The place of each item in its state, from 0."""
        places: Int64s = np.arange(len(self.ids)) - np.searchsorted(self.ids, self.ids)
        return places

    def of(self, ids: Int64s) -> Items:
        """The same items as those of other states."""
        return Items(self.words, ids, self.tag, self.texts)

    def values(self, word: int) -> Values:
        """The value of each item, where `word` is the number of its word."""
        if self.texts is not None:
            return self.texts
        words = np.ascontiguousarray(self.words[:, word])
        return words.view(np.float64) if self.tag == FLOATS else words

    def keys(self, word: int) -> npt.NDArray[Any]:
        """Numbers that order the values; equal for equal ones."""
        values = self.values(word)
        return values if isinstance(values, np.ndarray) else ranks_of(values)


def ranks_of(texts: pa.LargeBinaryArray) -> Int64s:
    """Numbers that order texts byte by byte, int64 (n,); only different ones are sorted."""
    coded = texts.dictionary_encode()
    ascending = pc.sort_indices(coded.dictionary).to_numpy()
    rank = np.empty(len(ascending), np.int64)
    rank[ascending] = np.arange(len(ascending))
    ranks: Int64s = rank[coded.indices.to_numpy().astype(np.int64)]
    return ranks


def lifted(leading: tuple[Int64s, ...], values: Values, valid: Bools | None, ids: Int64s) -> Items:
    """An item for each valid row: the leading words, and then its value, or its text's length."""
    if isinstance(values, np.ndarray):
        tag, texts, last = INTS, None, values
        if values.dtype == np.float64:
            tag, last = FLOATS, (values + 0.0).view(np.int64)  # -0.0 + 0.0 is 0.0
    else:
        tag, texts, last = STRINGS, values, np.diff(_offsets(values))
    rows = Items(np.stack((*leading, last), axis=1), ids, tag, texts)
    return rows if valid is None else rows.take(np.flatnonzero(valid))


def opened(states: States, width: int) -> Items:
    """The items of all states, with the number of each one's state."""
    offsets, data = _buffers(states[0])
    words = data[offsets[0] : offsets[-1]].view(np.int64)
    lengths = np.diff(offsets) // 8
    tag = int(words[0]) if len(words) else STRINGS if len(states) == 2 else INTS
    is_record = np.ones(len(words), bool)
    is_record[((offsets[:-1] - offsets[0]) // 8)[lengths > 0]] = False
    records = words[is_record].reshape(-1, width)
    ids = np.repeat(np.arange(len(lengths)), np.maximum(lengths - 1, 0) // width)
    if len(states) == 1:
        return Items(records, ids, tag)
    edges, heap = _buffers(states[1])
    ends = np.concatenate(([0], np.cumsum(records[:, -1])))
    return Items(records, ids, tag, _binary(ends, heap[edges[0] : edges[-1]]))


def closed(rows: Items, count: int) -> States:
    """The `count` states of these items."""
    held = np.bincount(rows.ids, minlength=count)
    lengths = np.where(held > 0, 1 + held * rows.words.shape[1], 0)
    ends = np.concatenate(([0], np.cumsum(lengths)))
    words = np.empty(ends[-1], np.int64)
    is_record = np.ones(len(words), bool)
    is_record[ends[:-1][held > 0]] = False
    words[~is_record] = rows.tag
    words[is_record] = rows.words.ravel()
    stored = _binary(ends * 8, words)
    if rows.texts is None:
        return (stored,)
    offsets, heap = _buffers(rows.texts)
    upto = np.concatenate(([0], np.cumsum(held)))
    return stored, _binary(offsets[upto] - offsets[0], heap[offsets[0] : offsets[-1]])


def listed(rows: Items, values: Values, count: int) -> pa.LargeListArray:
    """A list a state, of one value an item."""
    upto = np.concatenate(([0], np.cumsum(np.bincount(rows.ids, minlength=count))))
    column = values if isinstance(values, pa.Array) else pa.array(values)
    return pa.LargeListArray.from_arrays(pa.array(upto), column)


def _binary(offsets: Int64s, data: npt.NDArray[np.generic]) -> pa.LargeBinaryArray:
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _buffers(column: Values) -> tuple[Int64s, npt.NDArray[np.uint8]]:
    assert isinstance(column, pa.LargeBinaryArray)
    _, _, data = column.buffers()
    return _offsets(column), np.frombuffer(data if data is not None else b"", np.uint8)


def _offsets(column: pa.LargeBinaryArray) -> Int64s:
    begin, end = column.offset, column.offset + len(column) + 1
    return np.frombuffer(column.buffers()[1], np.int64)[begin:end]
