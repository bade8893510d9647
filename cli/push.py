"""`tegula push`: newline-delimited JSON into a stream, with a verdict on every record refused."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from ..engine.amounts import number, span
from ..engine.progress import Meter
from ..schemas.errors import SettingsError
from ..serving.receipts import PushReceipt
from .door import NDJSON, open_door
from .exits import FAULT, OK
from .output import note, say, write_json

BATCH_BYTES: Final = 2 << 20
SHOWN_MAX: Final = 10
"""Refused records that are shown one by one."""


def push(project: Path | None, server: str | None, stream: str, file: str, as_json: bool) -> int:
    """Push the lines of `file`, in order; `FAULT` if any of them was refused."""
    accepted, place = 0, 0
    rejected: list[dict[str, Any]] = []
    receipts: list[str] = []
    with (
        open_door(project, server) as door,
        _lines(file) as source,
        Meter(f"Pushing to {stream}", unit="events", total=None) as meter,
    ):
        for body, count in batches(source):
            answer = door.post(f"/v1/streams/{stream}/events", body, NDJSON)
            accepted += answer["accepted"]
            receipts += [answer["receipt"]] if answer["receipt"] else []
            rejected += [{**one, "line": place + one["index"] + 1} for one in answer["rejected"]]
            place += count
            meter.advance(count)
        if not place:
            # With nothing to push too, a stream that is not there is an error.
            door.post(f"/v1/streams/{stream}/events", b"", NDJSON)
    receipt = merged(receipts)
    if as_json:
        for one in rejected:
            del one["index"]
        write_json({"accepted": accepted, "rejected": rejected, "receipt": receipt})
    else:
        _print(accepted, rejected, receipt, meter)
    return FAULT if rejected else OK


def _print(
    accepted: int, rejected: list[dict[str, Any]], receipt: str | None, meter: Meter
) -> None:
    for one in rejected[:SHOWN_MAX]:
        note(f"{one['code']} at line {one['line']}: {one['message']}", "red")
    if len(rejected) > SHOWN_MAX:
        note(f"… and {number(len(rejected) - SHOWN_MAX)} more", "red")
    took = f" in {span(meter.elapsed_s)}, {number(meter.rate)}/s" if meter.elapsed_s > 1 else ""
    refused = f", {number(len(rejected))} refused" if rejected else ""
    say(f"Accepted {number(accepted)} events{refused}{took}.")
    if receipt:
        say(f"Receipt: {receipt}")


def batches(source: io.BufferedIOBase) -> Iterator[tuple[bytes, int]]:
    """Whole lines, up to `BATCH_BYTES` at a time, with their number.

    What can be read now goes out now: a slow pipe is not waited for.
    """
    begun = b""
    while chunk := source.read1(BATCH_BYTES):
        whole, newline, begun = (begun + chunk).rpartition(b"\n")
        if newline:
            yield whole + newline, whole.count(b"\n") + 1
    if begun:
        yield begun, 1


def merged(receipts: Iterable[str]) -> str | None:
    """One receipt for all of these, which are of one stream; None for none.

    >>> merged(["payments/0:57,2:9", "payments/0:60"])
    'payments/0:60,2:9'
    """
    stream, positions = "", dict[str, int]()
    for receipt in map(PushReceipt.parse, receipts):
        stream = receipt.stream
        for partition, at in receipt.positions.items():
            positions[partition] = max(at, positions.get(partition, 0))
    return str(PushReceipt(stream, positions)) if positions else None


@contextmanager
def _lines(file: str) -> Iterator[io.BufferedIOBase]:
    if file == "-":
        yield cast("io.BufferedIOBase", sys.stdin.buffer)
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as fault:
        raise SettingsError(
            "the file cannot be read", where=file, got=fault.strerror or str(fault)
        ) from None
    with opened:
        yield opened
