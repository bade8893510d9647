"""Where things lie in Redis: keys, the stored mark, and the script that changes them.

    <prefix>{<shard>}:mark                        hash: `mark` (JSON), `incarnation` (decimal)
    <prefix>{<shard>}:<generation>:<encoded key>  hash: `h` head, `b` body, `s` + u64 each segment

The shard's number is the hash tag, so its keys lie in one slot of a cluster: a script may change
them together, and they are lost together. The rows of a build lie under a *generation*, random,
and new whenever the build is written anew; the mark names it. So rows that no mark vouches for are
out of reach at once, however long it takes to delete them.

`docs/formats/online.md` has every field.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import orjson

from ..packing import PREFIX, STAMP
from ..rows import SEGMENT
from .rows import Mark

HEAD, BODY = b"h", b"b"

_NEWEST: Final = struct.Struct("<16xq")
assert PREFIX.fields is not None
assert PREFIX.fields["newest_us"][1] == _NEWEST.size - 8

assert STAMP.fields is not None
ONLINE_HEAD_COMMIT_AT: Final = PREFIX.itemsize + STAMP.fields["commit"][1]


def mark_key(prefix: str, shard: int) -> bytes:
    """The key of a shard's mark."""
    return f"{prefix}{{{shard}}}:mark".encode()


def row_prefix(prefix: str, shard: int, generation: str) -> bytes:
    """What the keys of a build's rows begin with; the entity's encoded key follows."""
    return f"{prefix}{{{shard}}}:{generation}:".encode()


def segment_field(number: int) -> bytes:
    """The field of a row that holds a segment."""
    return SEGMENT + struct.pack(">Q", number)


def newest_ms(head: bytes) -> int:
    """The newest event time of a head, ms since the epoch, rounded up; 0 where it has no header."""
    return -(-_NEWEST.unpack_from(head)[0] // 1_000) if len(head) >= _NEWEST.size else 0


@dataclass(frozen=True, slots=True)
class StoredMark:
    """A mark as it lies in the store: with the generation of every build that has rows there."""

    mark: Mark
    generations: Mapping[int, str]

    def encode(self) -> bytes:
        """The mark's own JSON, and `generations` by build."""
        named = {str(build): name for build, name in self.generations.items()}
        return orjson.dumps({**orjson.loads(self.mark.encode()), "generations": named})

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Raises `FormatUnknown` for a version that this one does not know."""
        mark = Mark.decode(value)
        named = orjson.loads(value)["generations"]
        return cls(mark, {int(build): name for build, name in named.items()})


WRITE: Final = """
local held = redis.call('HMGET', KEYS[1], 'mark', 'incarnation')
if (tonumber(held[2]) or 0) > tonumber(ARGV[2]) then return 'newer' end
if (held[1] or '') ~= ARGV[1] then return 'changed' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 4
for i = 2, #KEYS do
  local key = KEYS[i]
  local deletes, sets = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local keep, newest = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  at = at + 4
  if deletes < 0 then
    redis.call('DEL', key)
  elseif deletes > 0 then
    redis.call('HDEL', key, unpack(ARGV, at, at + deletes - 1))
    at = at + deletes
  end
  if sets > 0 then redis.call('HSET', key, unpack(ARGV, at, at + sets - 1)) end
  at = at + sets
  if keep >= 0 then
    redis.call('PEXPIREAT', key, string.format('%.0f', math.max(now, newest) + keep))
  end
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'mark', ARGV[3], 'incarnation', ARGV[2])
end
return 'done'
"""
"""Changes rows, and then the mark, only under the mark that was left there.

KEYS: the mark's, and one a row. ARGV: the mark expected, the writer's incarnation, the mark to
leave (empty: the same). Then for each row: how many fields to delete (negative: all), how many
fields and values to set, how long to keep the row in ms (negative: as it is), its newest event time
in ms; the fields to delete; the fields and values to set. It says `done`, `changed` (another mark
is there) or `newer` (a later incarnation's). Time is the server's.
"""

FIELDS_MAX: Final = 3_000
"""Fields that a row may change at a time: Lua's stack holds 8000 values."""

DELETE: Final = f"""
if (redis.call('HGET', KEYS[1], 'mark') or '') ~= ARGV[1] then return 'changed' end
local before = tonumber(ARGV[2])
for i = 2, #KEYS do
  local head = before >= 0 and redis.call('HGET', KEYS[i], 'h')
  if before < 0 or (head and struct.unpack('<I8', head, {ONLINE_HEAD_COMMIT_AT + 1}) < before) then
    redis.call('UNLINK', KEYS[i])
  end
end
return 'done'
"""
"""Deletes rows under the mark that is expected.

KEYS: the mark's, and one a row. ARGV: the mark; the commit before which a row's head is to be for
the row to go (negative: all go). It says `done` or `changed`.
"""
