"""One key's answer where some of its features are lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..state.online.rows import Segments
from ..windows.series import expand, status_of
from ..windows.shape import Shape, WindowedFeature
from .single import SingleAnswer, single_key
from .single_code import AnswerOne, quick
from .single_cuts import NO_SEGMENTS


def answer_one(shape: Shape, features: Sequence[WindowedFeature]) -> AnswerOne:
    """What answers for one key: straight code where that can be, lists put together otherwise."""
    flat, places = expand(features)
    if not any(isinstance(place, slice) for place in places):
        return quick(single_key(shape, features))
    # Nearly all windows of a series end before now, which straight code hands on anyhow.
    answer_flat = single_key(shape, flat).answer

    def answer(
        head: bytes | None, body: bytes | None, at_us: int, segments: Segments = NO_SEGMENTS
    ) -> SingleAnswer | None:
        found = answer_flat(head, body, at_us, segments)
        if found is None:
            return None
        statuses = np.array(found.statuses)
        return SingleAnswer(
            [found.values[place] for place in places],
            [int(status_of(np.atleast_1d(statuses[place]))) for place in places],
        )

    return answer
