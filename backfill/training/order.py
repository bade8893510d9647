"""What is to be made: the features, the spine, and the ways to make a set of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...schemas.errors import BadDataset
from .asked import Asked
from .options import SERVED, Options
from .spine import Spine


@dataclass(frozen=True, slots=True)
class Order:
    """One training set. `now_us` is the wall clock.

    `ends` are positions to read up to, by stream and partition, or by served log and writer; with
    None, all that there is. `buckets` is how many there were the last time, None the first.
    """

    asked: Asked
    spine: Spine
    options: Options
    now_us: int
    ends: Mapping[str, Mapping[str, int]] | None = None
    buckets: int | None = None

    def check(self) -> None:
        """Raises `BadDataset` for what has no meaning."""
        self.options.check()
        later = [part for part in self.asked.parts if part.delay_us]
        if later and self.options.clock == SERVED:
            raise BadDataset(
                "an answer is no label: it was made before what the label tells",
                got=f"{later[0].columns[0]} by the clock `{SERVED}`",
                expected="labels that are columns of the spine",
                hint="make the label by the clock `event`, with the same spine",
            )
