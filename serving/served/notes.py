"""Answers of one plan, noted as they lie: what the event loop does for the served log.

Noting an answer appends bytes and numbers to lists that are there. Nothing is made that the
collector of garbage would have to walk, and nothing is parsed: that is for `columns`, later and on
another thread.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ...state.online.rows import Mark
from ..fetch import Marks
from ..plan import FeaturePlan

NEVER_US: Final = -(2**63)
"""Stands for an `as_of` that was not given."""

NOTE_BYTES: Final = 400
"""What a noted answer takes beside its own bytes, nearly."""


class Noted(NamedTuple):
    """The numbers of one answer, in the order in which `Notes.numbers` has them.

    Instants in µs; `key_count` is how many keys, and so rows, it has.
    """

    served_us: int
    as_of_us: int
    catalogue: int
    latency_us: int
    key_count: int


class Place(NamedTuple):
    """What a mark belongs to: the answer, the slice of its keys, and the shard."""

    answer: int
    slice: int
    shard: int


class Notes:
    """Answers of one plan, in the order in which they were given; the key space has `shards`.

    `answers` are their bodies (JSON); `asked` the keys and values of their requests (JSON: an
    object with `keys` and `values`); `numbers` the `Noted` of each, one after the other. `marks`
    are those under which rows were read; `views` and `places`, flat as `numbers` is, say of which.
    """

    __slots__ = (
        "answers", "asked", "marks", "numbers", "places", "plan", "shards", "size_bytes", "views"
    )  # fmt: skip

    def __init__(self, plan: FeaturePlan, shards: int) -> None:
        self.plan = plan
        self.shards = shards
        self.answers: list[bytes] = []
        self.asked: list[bytes] = []
        self.numbers: array[int] = array("q")
        self.marks: list[Mark | None] = []
        self.views: list[str] = []
        self.places: array[int] = array("q")
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self.answers)

    def add(
        self, asked: bytes, answer: bytes, noted: Noted, marks: Sequence[Mapping[str, Marks]]
    ) -> None:
        """Note one answer; `marks` as `Reply` has them."""
        number = len(self.answers)
        for place, by_view in enumerate(marks):
            for view, by_shard in by_view.items():
                for shard, mark in by_shard.items():
                    self.views.append(view)
                    self.marks.append(mark)
                    self.places.extend((number, place, shard))
        self.answers.append(answer)
        self.asked.append(asked)
        self.numbers.extend(noted)
        self.size_bytes += len(asked) + len(answer) + NOTE_BYTES
