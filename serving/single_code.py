"""The function that answers for most keys, written out for the features that it serves.

Reading one key by `single` costs more in loops and calls than in arithmetic. So for features whose
states all have summaries the common case is generated as straight code: every window ends now and
begins before the head, so that it is one record of the body's summary and the head's total. Every
other case it hands to the general way, whose answers it must equal (tested on both).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

from ..schemas.outcomes import Status
from ..state import packing
from ..windows.algebra import OVERFLOWED, Reading
from .single import SingleAnswer, SingleKey
from .single_tiles import Tiles, is_day_cut

AnswerOne = Callable[..., SingleAnswer | None]
"""`SingleKey.answer`: from a key's head and body, an instant, and segments if there are any."""

_HEADER: Final = struct.Struct("<4sII4sq24xq")
"""What is looked at of prefix and stamp: magic, version and kind; tiles; heap bytes; layout;
newest event time; horizon."""
assert _HEADER.size == packing.STAMPED_BYTES

_TEMPLATE: Final = """\
def answer(head, body, at_us, segments={{}}):
    if head is None or body is None or len(head) < {stamped} or len(body) < {stamped}:
        return general(head, body, at_us, segments)
    tag, recent, heap, layout, newest_us, horizon_us = header(head)
    tag_b, count, heap_b, layout_b, newest_b_us, horizon_b_us = header(body)
    total_at = {stamped} + recent * {record} + heap
    starts_at = {stamped} + count * {record} + heap_b
    records_at = starts_at + count * 8
    if (
        tag != {head_tag!r} or tag_b != {body_tag!r}
        or layout != {layout!r} or layout_b != {layout!r}
        or at_us <= newest_us or at_us <= newest_b_us
        or at_us < horizon_us or at_us < horizon_b_us
        or len(head) != total_at + {summary} or len(body) != records_at + count * {summary}
        or not recent
    ):
        return general(head, body, at_us, segments)
    first_us, = start(head, {stamped})
    newest_us = max(newest_us, newest_b_us){retained}
    total = record(head, total_at)
    starts = memoryview(body)[starts_at:records_at].cast("q")
{totals}
{windows}
    return SingleAnswer([{values}], [{statuses}])
"""

_EDGES: Final = """\
    older_us, newer_us = bounds{w}(at_us)
"""

_ZONED: Final = """\
    edges = bounds{w}(
        Tiles(body, form, count, {stamped} + count * {record}, 0, 0),
        Tiles(head, form, recent, {stamped} + recent * {record}, 0, 0),
        at_us,
    )
    if edges is None:
        return general(head, body, at_us, segments)
    older_us, newer_us = edges
"""

_WINDOW: Final = """\
    if older_us > first_us or newer_us <= newest_us:
        return general(head, body, at_us, segments)
    begin = bisect_left(starts, older_us){cut}
    if begin < count:
        found = record(body, records_at + begin * {summary})
{merged}
    else:
{alone}
"""

_CUT: Final = """
    if is_day_cut(body, {record}, starts, begin, older_us):
        return general(head, body, at_us, segments)"""

_FEATURE: Final = """\
    v{n} = finish{n}(({states},), params{n}{reading})
    if v{n} is None:
        v{n}, s{n} = empty{n}, {empty}
    elif v{n} is OVERFLOWED:
        v{n}, s{n} = None, {overflow}
    else:
        s{n} = {present}{convert}
"""


_RETAINED: Final = """
    if newest_us < at_us - {retention_us}:
        return general(head, body, at_us, segments)"""


def quick(key: SingleKey) -> AnswerOne:
    """The answers of `key`, quicker where they can be written out."""
    if any(slot.summary is None for read in key.reads for slot in read.slots):
        return key.answer
    if any(read.is_fine for read in key.reads):
        return key.answer
    scope: dict[str, Any] = {
        "SingleAnswer": SingleAnswer,
        "OVERFLOWED": OVERFLOWED,
        "Reading": Reading,
        "bisect_left": bisect_left,
        "general": key.answer,
        "header": _HEADER.unpack_from,
        "record": key.form.summary.unpack_from,
        "Tiles": Tiles,
        "is_day_cut": is_day_cut,
        "form": key.form,
        "start": struct.Struct("<q").unpack_from,
    }
    source = _source(key, scope)
    exec(compile(source, "<the features of one key>", "exec"), scope)  # noqa: S102 - our own text
    answer: AnswerOne = scope["answer"]
    return answer


def _source(key: SingleKey, scope: dict[str, Any]) -> str:
    """The function's text; what it calls goes into `scope`."""
    spans = {(s.summary.start, s.summary.stop) for r in key.reads for s in r.slots if s.summary}
    totals = [f"    t{begin} = total[{begin}:{end}]" for begin, end in sorted(spans)]
    retained = ""
    if key.retention_us is not None:
        retained = _RETAINED.format(retention_us=key.retention_us)
    return _TEMPLATE.format(
        stamped=packing.STAMPED_BYTES,
        record=key.form.dtype.itemsize,
        summary=key.form.summary.size,
        head_tag=_tag(packing.ONLINE_HEAD),
        body_tag=_tag(packing.ONLINE_BODY),
        layout=key.form.layout.to_bytes(4, "little"),
        retained=retained,
        totals="\n".join(totals),
        windows="".join(_window(key, w, scope) for w in range(len(key.reads))),
        values=_listed("v", key.feature_count),
        statuses=_listed("s", key.feature_count),
    )


def _window(key: SingleKey, number: int, scope: dict[str, Any]) -> str:
    """The text that finishes the features of one window."""
    window, slots, finishes, _, zone, by_days = key.reads[number]
    scope[f"bounds{number}"] = window.bounds if zone is None else zone.bounds
    merged, alone = [], []
    for s, slot in enumerate(slots):
        assert slot.summary is not None, "`quick` has seen to it"
        begin, end = slot.summary.start, slot.summary.stop
        scope[f"merge{number}_{s}"] = slot.merge_one
        merged.append(f"        x{s} = merge{number}_{s}(found[{begin}:{end}], t{begin})")
        alone.append(f"        x{s} = t{begin}")
    sizes = {"stamped": packing.STAMPED_BYTES, "record": key.form.dtype.itemsize}
    texts = [
        (_EDGES if zone is None else _ZONED).format(w=number, **sizes),
        _WINDOW.format(
            summary=key.form.summary.size,
            cut=_CUT.format(**sizes) if by_days else "",
            merged="\n".join(merged),
            alone="\n".join(alone),
        ),
    ]
    for n, finish_one, reads_instant, params, chosen, convert, empty in finishes:
        scope |= {f"finish{n}": finish_one, f"params{n}": params, f"empty{n}": empty}
        scope[f"convert{n}"] = convert
        texts.append(
            _FEATURE.format(
                n=n,
                states=", ".join(f"x{s}" for s in chosen),
                reading=", Reading(at_us, older_us, newer_us)" if reads_instant else "",
                empty=int(Status.EMPTY),
                overflow=int(Status.OVERFLOW),
                present=int(Status.PRESENT),
                convert="" if convert is None else f"\n        v{n} = convert{n}(v{n})",
            )
        )
    return "".join(texts)


def _tag(kind: int) -> bytes:
    return packing.MAGIC.to_bytes(2, "little") + bytes((packing.VERSION, kind))


def _listed(letter: str, count: int) -> str:
    return ", ".join(f"{letter}{n}" for n in range(count))
