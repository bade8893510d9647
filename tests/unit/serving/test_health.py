"""Readiness: every reason in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tegula.schemas import agg
from tegula.schemas.errors import RegistryUnreachable, TegulaError
from tegula.schemas.windows import sliding
from tegula.serving.health import Health, Readiness
from tegula.serving.plan import Resolved
from tests.support.serving import MemoryStore, build_of, resolved_of

NOW_US = 10**15
BUILD = build_of({"n": agg.count().over(sliding("1h"))})
REPORT: dict[str, Any] = {
    "at_us": NOW_US - 1_000_000,
    "events_per_second": 100.0,
    "streams": {"payments": {"partitions": {"0": {"lag": 4_000}, "1": {"lag": None}}}},
    "mirror_fault": None,
}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "engine.json"
    path.write_bytes(orjson.dumps(REPORT))
    return path


def look(
    report: Path,
    store: MemoryStore | None = None,
    resolved: Resolved | None = None,
    fault: TegulaError | None = None,
) -> Readiness:
    current = resolved_of(BUILD) if resolved is None else resolved
    return Health(
        lambda: current, store or MemoryStore(), report, lambda: fault, lambda: NOW_US
    ).readiness()


def test_server_is_ready_when_the_rows_are_whole_and_an_engine_keeps_up(report):
    assert look(report) == Readiness((), ())


def test_server_is_not_ready_before_anything_was_applied(report):
    assert look(report, resolved=Resolved(0, 4)).reasons == ("nothing was applied yet",)


def test_server_is_not_ready_while_a_view_has_no_build_that_serves(report):
    empty = resolved_of(BUILD)
    (view,) = empty.views.values()
    waiting = type(view)(view.name, view.keys, view.known, None, {})
    (reason,) = look(report, resolved=Resolved(7, 4, {"spend": waiting})).reasons
    assert "'spend' has no build" in reason


@pytest.mark.parametrize("store", [MemoryStore(empty=True), MemoryStore(builds=(9,))])
def test_server_is_not_ready_while_a_shard_is_not_complete(report, store):
    (reason,) = look(report, store).reasons
    assert "4 of 4 shards" in reason


def test_server_is_not_ready_when_the_store_cannot_be_read(report):
    class Broken(MemoryStore):
        def mark(self, shard: int) -> None:
            raise OSError("the disk is gone")

    (reason,) = look(report, Broken()).reasons
    assert "the disk is gone" in reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"at_us": NOW_US - 11_000_000}, "not reported for 11 s"),
        ({"mirror_fault": {"message": "the disk is full"}}, "the disk is full"),
        ({"streams": {"payments": {"partitions": {"0": {"lag": 60_001}}}}}, "6001 s"),
        ({"events_per_second": 1.0}, "4000 events are waiting"),
    ],
)
def test_server_is_not_ready_while_the_engine_does_not_keep_up(report, change, words):
    report.write_bytes(orjson.dumps({**REPORT, **change}))
    (reason,) = look(report).reasons
    assert words.replace("6001 s", "600 s") in reason


@pytest.mark.parametrize("content", [None, b"", b"[]"])
def test_server_is_not_ready_without_an_engine(report, content):
    if content is None:
        report.unlink()
    else:
        report.write_bytes(content)
    (reason,) = look(report).reasons
    assert "no engine runs" in reason


def test_server_stays_ready_when_only_the_registry_is_down(report):
    fault = RegistryUnreachable(where="postgresql://…", detail="refused")
    found = look(report, fault=fault)
    assert found.ready
    assert "does not answer" in found.notes[0]
    assert look(report, resolved=Resolved(0, 4), fault=fault).reasons == (str(fault),)
