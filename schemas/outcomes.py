"""What can become of a record, and of a value.

Every record of a stream gets exactly one `Outcome` per view, so that for every batch

    read = folded + filtered + duplicate + expired + dead_lettered

Every served value has exactly one `Status`. The numbers are part of stored formats (counters in
state, status columns): never renumber, only append.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType


class Outcome(IntEnum):
    """What became of one record in one view."""

    FOLDED = 0  # it is part of the state
    FILTERED = 1  # `where` was not true, or a key column was null
    DUPLICATE = 2  # an event with this id was folded before
    EXPIRED = 3  # too old for the view's retention, judged by its own row's watermark
    DEAD_LETTERED = 4  # not decodable, or dated impossibly; see `RecordCode`


class Status(IntEnum):
    """What a served value is worth."""

    PRESENT = 0  # the window holds events, the value is theirs
    EMPTY = 1  # the key is known, this window holds nothing
    NOT_FOUND = 2  # no event of the key within retention
    STALE = 3  # older than the request's `max_age`
    COARSE = 4  # tiles were too coarse for this instant; true bounds are in the answer
    OVERFLOW = 5  # the state passed its bound (128-bit sum, bounded set)
    ERROR = 6  # could not be read; never a number in disguise
    NO_ZONE = 7  # the key's events name no time zone that is known, so its day cannot be told
    BEFORE_HISTORY = 8  # of training sets: the instant lies before the events that are kept


class RecordCode(StrEnum):
    """Why a record was dead-lettered. The string is stored with the record and never changes."""

    MALFORMED = "TG-201"
    WRONG_TYPE = "TG-202"
    MISSING_EVENT_TIME = "TG-203"
    NOT_AN_OBJECT = "TG-204"
    DUPLICATE_FIELD = "TG-205"
    NOT_UTF8 = "TG-206"
    TOO_LARGE = "TG-207"
    EMPTY_PAYLOAD = "TG-208"
    FUTURE = "TG-209"
    TIME_OUT_OF_RANGE = "TG-210"
    TOMBSTONE = "TG-211"

    @property
    def meaning(self) -> str:
        """One sentence for people, without the record's own details."""
        return _MEANINGS[self]


_MEANINGS: Mapping[RecordCode, str] = MappingProxyType(
    {
        RecordCode.MALFORMED: "the payload is not well-formed",
        RecordCode.WRONG_TYPE: "a field's value does not have the type that the stream declares",
        RecordCode.MISSING_EVENT_TIME: "the event time is absent or null",
        RecordCode.NOT_AN_OBJECT: "the payload is valid JSON but not an object",
        RecordCode.DUPLICATE_FIELD: "a field stands twice in one object",
        RecordCode.NOT_UTF8: "the payload is not UTF-8",
        RecordCode.TOO_LARGE: "the payload is larger than the stream allows",
        RecordCode.EMPTY_PAYLOAD: "the payload is empty",
        RecordCode.FUTURE: "the event is dated further ahead than the stream's `ahead` bound",
        RecordCode.TIME_OUT_OF_RANGE: "the event time is outside the years 1 to 9999",
        RecordCode.TOMBSTONE: "the record has no value (a tombstone)",
    }
)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not become a row, with all that is needed to find and re-drive it.

    `offset` is its offset in its partition, `log_us` the log's timestamp (µs since the epoch),
    `reason` one sentence with the record's own details, `raw` the payload byte for byte.
    """

    offset: int
    log_us: int
    code: RecordCode
    reason: str
    raw: bytes
