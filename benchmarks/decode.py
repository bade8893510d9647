"""What decoding costs, in µs of processor time an event, beside a strict parser called per record.

Events of four fields in 95 bytes, 65 536 a batch, as ingest would hand over. The cases differ in
what is unlike that: bad records, escapes, fields in changing order, which no layout can say.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Mapping

import numpy as np
import orjson

from benchmarks.report import Figure, show
from tegula.connectors.decode import JsonDecoder
from tegula.connectors.source import Payloads, RawBatch
from tegula.schemas.types import DataType, Float64, List, String, Timestamp

ROWS = 1 << 16
ROUNDS = 7
SCHEMA = {"card_id": String, "merchant": String, "amount": Float64, "at": Timestamp}
CLEAN_GOAL_US = 0.5
BAD = [b"", b"{", b'{"amount": 1}', b"\xff", b'{"at": 5}', b"null", None]


def main() -> None:
    """Print a table, and a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    options = parser.parse_args()
    figures = {name: measure(make, SCHEMA) for name, make in CASES.items()}
    figures["a list of texts"] = measure(with_tags, SCHEMA | {"tags": List(String)})
    plain = [event for event in CASES["clean"](random.Random(1)) if event is not None]
    figures["orjson, record by record"] = best(lambda: [None for e in plain if orjson.loads(e)])
    found = []
    for name, (cpu_us, wall_us) in figures.items():
        slug = f"decode.{name.replace(',', '').replace(' ', '_').replace('%', 'percent')}"
        goal = CLEAN_GOAL_US if name == "clean" else None
        found.append(Figure(slug, cpu_us, "µs CPU/event", goal=goal, better="less"))
        found.append(Figure(f"{slug}.wall", wall_us, "µs/event", better="less"))
    show(found, json_only=options.json)


def event(chance: random.Random) -> dict[str, object]:
    """One payment."""
    second = chance.randrange(86_400)
    clock = f"{second // 3_600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return {
        "card_id": f"c{chance.randrange(100_000):06}",
        "merchant": f"m{chance.randrange(10_000):04}",
        "amount": chance.randrange(100_000) / 100,
        "at": f"2023-11-{chance.randrange(1, 31):02}T{clock}.{chance.randrange(1_000):03}Z",
    }


def events(chance: random.Random, change: Callable[[dict[str, object]], object]) -> list[bytes]:
    """As many as make a batch, each changed before it is written."""
    return [json.dumps(change(event(chance))).encode() for _ in range(ROWS)]


def with_bad(chance: random.Random) -> list[bytes | None]:
    """One record in a hundred is bad, in every way in turn."""
    records: list[bytes | None] = [*events(chance, dict)]
    records[::100] = [BAD[number % len(BAD)] for number in range(len(records[::100]))]
    return records


def with_tags(chance: random.Random) -> list[bytes | None]:
    """Up to five tags an event: 122 bytes."""
    names = [f"t{number}" for number in range(50)]
    return [*events(chance, lambda e: e | {"tags": chance.choices(names, k=chance.randrange(6))})]


def shuffled(chance: random.Random, fields: dict[str, object]) -> dict[str, object]:
    """The same fields in another order."""
    return dict(chance.sample(list(fields.items()), len(fields)))


CASES: dict[str, Callable[[random.Random], list[bytes | None]]] = {
    "clean": lambda chance: [*events(chance, dict)],
    "1 % bad": with_bad,
    "unknown nested fields": lambda chance: [
        *events(chance, lambda e: e | {"device": {"ip": "10.0.0.1", "tags": ["a", "b"]}})
    ],
    "escaped text": lambda chance: [*events(chance, lambda e: e | {"merchant": "café 😀"})],
    "fields in any order": lambda chance: [*events(chance, lambda e: shuffled(chance, e))],
}


def measure(
    make: Callable[[random.Random], list[bytes | None]], schema: Mapping[str, DataType]
) -> tuple[float, float]:
    """What these records cost a decoder that is warm, the best of some rounds."""
    records = make(random.Random(1))
    offsets = np.arange(len(records))
    batch = RawBatch("0", offsets, offsets, Payloads.from_list(records), len(records))
    decoder = JsonDecoder(schema, "at")
    return best(lambda: decoder.decode(batch))


def best(work: Callable[[], object]) -> tuple[float, float]:
    """Processor and wall time of `work` an event, µs."""
    cpu_s, wall_s = [], []
    for _ in range(ROUNDS):
        started = time.process_time(), time.perf_counter()
        work()
        cpu_s.append(time.process_time() - started[0])
        wall_s.append(time.perf_counter() - started[1])
    return min(cpu_s) / ROWS * 1e6, min(wall_s) / ROWS * 1e6


if __name__ == "__main__":
    main()
