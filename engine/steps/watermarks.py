"""Each build's watermark where several workers read its stream: the least that they tell."""

from __future__ import annotations

from collections.abc import Mapping

from ...windows.tiles import NEVER_US


class Watermarks:
    """What readers have told of the streams of builds, by build and reader.

    A watermark never falls. A reader that never had an event of a stream does not hold it back; one
    that had, and is silent, does: keys are then folded later, and answers are the same.
    """

    def __init__(self) -> None:
        self._told: dict[int, dict[int, int]] = {}

    def told(self, build: int, reader: int, watermark_us: int) -> None:
        """A reader sees this watermark (`NEVER_US` while there is none)."""
        readers = self._told.setdefault(build, {})
        readers[reader] = max(readers.get(reader, NEVER_US), watermark_us)

    def least_us(self) -> Mapping[int, int]:
        """For each build the least watermark of its readers; `NEVER_US` while none has any."""
        return {
            build: min((at for at in readers.values() if at > NEVER_US), default=NEVER_US)
            for build, readers in self._told.items()
        }
