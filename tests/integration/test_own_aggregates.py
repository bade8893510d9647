"""An aggregate of the user's own from end to end: a project's folder, real processes, HTTP.

The engine and the servers are processes of their own, which know of the aggregate only what the
registry says: so each of them has to find the code in the project's folder.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_cli import TEGULA, data, ndjson, new_project, tegula, wait_for
from tests.support.own import module_text

pytestmark = pytest.mark.slow

NOW_S = time.time()

FIRST = "hours_seen = tg.own_aggregate(HoursSeen(), version=1)"
LATER = """

class HalfHours(HoursSeen):
    def finish(self, states, params):
        values, codes = super().finish(states, params)
        return 2 * values, codes

    def finish_one(self, states, params):
        return 2 * super().finish_one(states, params)


hours_seen = tg.own_aggregate(HalfHours(), version=2)
"""
BEFORE = "hours_seen_1 = tg.own_aggregate(HoursSeen(), version=1)"
VIEWS = """
import polars as pl
import tegula as tg
from features.hours import hours_seen

card = tg.Entity("card", keys={"card_id": tg.String})
payments = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "merchant": tg.String, "amount": tg.Float64, "at": tg.Timestamp},
    event_time="at",
)
spend = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    features={
        "hours": hours_seen("at").over(tg.sliding("7d")),
        "large": hours_seen("at", where=pl.col("amount") > 10).over(tg.sliding("7d")),
        "shops": hours_seen("at", by="merchant").over(tg.sliding("7d")),
    },
)
fraud = tg.FeatureService("fraud", version=1, features=[spend])
"""
RIGHT = {"spend:hours": [3, 0], "spend:large": [1, 0], "spend:shops": [{"a": 2, "b": 1}, None]}


def write(project: Path, *handles: str) -> None:
    (project / "features" / "hours.py").write_text(module_text(*handles), "utf-8")


def event(shop: str, amount: float, hours_ago: int) -> str:
    at = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(NOW_S - 3600 * hours_ago))
    return f'{{"card_id": "c", "merchant": "{shop}", "amount": {amount}, "at": "{at}"}}'


def read(project: Path, *words: str) -> dict[str, list[object]]:
    ran = tegula(project, "get", "fraud", "card_id=c,nobody", "--json", *words)
    values: dict[str, list[object]] = data(ran)["values"]
    return values


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = new_project(tmp_path / "shop")
    (folder / "features" / "example.py").unlink()
    (folder / "features" / "views.py").write_text(VIEWS, "utf-8")
    write(folder, FIRST)
    return folder


class Running:
    """An engine and a server process over a project, started and stopped together."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.logs = [project / f"{name}.out" for name in ("run", "serve")]
        self.processes = [self.start(*one) for one in zip(("run", "serve"), self.logs, strict=True)]
        wait_for(self.is_ready, self.said)

    def start(self, verb: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                [*TEGULA, verb], cwd=self.project, stdout=out, stderr=subprocess.STDOUT
            )

    def is_ready(self) -> bool:
        assert all(one.poll() is None for one in self.processes), self.said()
        ran = tegula(self.project, "get", "fraud", "card_id=nobody", "--json")
        return ran.returncode == 0 and b"ERROR" not in ran.stdout

    def said(self) -> str:
        return "\n".join(log.read_text() for log in self.logs)

    def stop(self) -> list[int]:
        for one in self.processes:
            one.terminate()
        return [one.wait(60) for one in self.processes]


@pytest.fixture
def running(project: Path) -> Iterator[Running]:
    applied = tegula(project, "apply")
    assert applied.returncode == 0, applied.stderr.decode()
    one = Running(project)
    yield one
    one.stop()


def test_own_aggregate_lives_through_restart_change_and_loss(project, running):
    # Written, read by one key and by many.
    lines = ndjson(event("a", 20.0, 1), event("a", 1.0, 2), event("b", 1.0, 3))
    receipt = data(tegula(project, "push", "payments", "--json", stdin=lines))["receipt"]
    assert read(project, "--after", receipt) == RIGHT
    one = data(tegula(project, "get", "spend:hours", "card_id=c", "--json"))
    assert one["values"] == {"spend:hours": [3]}

    # Started again, by processes that know of it only what the registry says.
    assert running.stop() == [0, 0]
    again = Running(project)
    running.processes = again.processes
    assert read(project) == RIGHT

    # Another version is another meaning: the plan wants a build, apply wants the old one kept.
    write(project, LATER)
    planned = data(tegula(project, "plan", "--json"))
    (view,) = [item for item in planned["items"] if item["kind"] == "view"]
    assert (view["change"], view["replays"]) == ("changed", True)
    refused = tegula(project, "apply")
    assert (refused.returncode, b"TG-605" in refused.stderr) == (1, True)
    write(project, BEFORE, LATER)
    assert tegula(project, "apply").returncode == 0
    assert read(project) == RIGHT
    assert tegula(project, "backfill", "spend").returncode == 0
    twice = {"spend:hours": [6, 0], "spend:large": [2, 0], "spend:shops": [{"a": 4, "b": 2}, None]}
    wait_for(lambda: read(project) == twice, lambda: str(read(project)))
    assert tegula(project, "backfill", "retire", "spend").returncode == 0
    write(project, LATER)
    assert running.stop() == [0, 0]

    # Without the code nothing starts, and the error says what is missing.
    (project / "features" / "hours.py").unlink()
    for verb in ("run", "serve"):
        ended = tegula(project, verb)
        assert ended.returncode == 1
        assert b"TG-605 at module features.hours: version 2 of the aggregate" in ended.stderr
        assert b"No module named 'features.hours'" in ended.stderr

    # With it, all goes on where it was.
    write(project, LATER)
    back = Running(project)
    running.processes = back.processes
    assert read(project) == twice
