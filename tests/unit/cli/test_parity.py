"""`tegula parity`: a diff for people, JSON for machines, and an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tegula.backfill.parity import Difference, Report
from tegula.backfill.parity.report import Event
from tegula.cli import parity as verb
from tegula.cli.exits import FAULT, OK
from tegula.cli.parity import Options, parity, since
from tegula.engine.apply import apply_definitions
from tegula.engine.parity import last_reports
from tegula.engine.settings import load_settings
from tegula.schemas import agg
from tegula.schemas.codec import collect
from tegula.schemas.definitions import FeatureService, FeatureView
from tegula.schemas.errors import BadRequest, UnknownService
from tegula.schemas.windows import sliding
from tests.support.serving import CARD, PAYMENTS

VIEW = FeatureView(
    "spend", entity=CARD, stream=PAYMENTS, features={"n": agg.count().over(sliding("1h"))}
)
DIFFERENCE = Difference(
    cause="unexplained",
    feature="spend:n",
    key={"card_id": "c1"},
    at="2024-05-01T12:00:00Z",
    served=3,
    served_status="PRESENT",
    recomputed=2,
    recomputed_status="PRESENT",
    trace_id="ab" * 16,
    build=1,
    events=(Event("0", 17, "2024-05-01T11:59:00Z", "2024-05-01T11:59:01Z"),),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tegula.toml").write_text("")
    settings = load_settings(tmp_path)
    service = FeatureService("fraud", version=1, features=[VIEW])
    apply_definitions(settings, collect(service), author="test", message="", now_us=1)
    return tmp_path


def finds(monkeypatch: pytest.MonkeyPatch, difference: Difference | None) -> None:
    def check(_: Any, __: Any, service: str, **given: Any) -> Report:
        report = Report(service, given["now_us"], given["since_us"], given["seed"])
        report.rows, report.compared = given["sample"], 400
        if difference is not None:
            report.blame(difference)
        return report

    monkeypatch.setattr(verb, "check", check)


def test_difference_is_a_diff_that_a_person_can_read(project, monkeypatch, capsys):
    finds(monkeypatch, DIFFERENCE)
    assert parity(project, Options(seed=7), as_json=False) == FAULT
    said = capsys.readouterr()
    assert "fraud 200 400 99.7500% 0 0 0 0 1" in " ".join(said.out.split())
    assert said.out.endswith("""
unexplained: spend:n of card_id=c1, at 2024-05-01T12:00:00Z
- served      3  PRESENT
+ recomputed  2  PRESENT
  event 0:17 of 2024-05-01T11:59:00Z, logged 2024-05-01T11:59:01Z
  build 1, trace abababababababababababababababab
""")
    assert "fraud: seed 7" in said.err


def test_report_is_kept_and_is_json_for_machines(project, monkeypatch, capsys):
    finds(monkeypatch, None)
    assert parity(project, Options(sample=9), as_json=True) == OK
    (report,) = orjson.loads(capsys.readouterr().out)
    assert (report["service"], report["rows"], report["share_equal"]) == ("fraud", 9, 1.0)
    assert last_reports(load_settings(project).parity_path) == {"fraud": report}


def test_share_below_the_objective_is_said(project, monkeypatch, capsys):
    (project / "tegula.toml").write_text("parity_objective = 0.999\n")
    finds(monkeypatch, DIFFERENCE)
    parity(project, Options(), as_json=False)
    assert "below the objective of 99.9000%" in capsys.readouterr().err


def test_nothing_served_is_nothing_wrong(project, capsys):
    assert parity(project, Options(), as_json=False) == OK
    assert "nothing was kept of what it served" in capsys.readouterr().err


def test_unknown_service_and_unreadable_since_are_named(project):
    with pytest.raises(UnknownService, match="fruad"):
        parity(project, Options(service="fruad"), as_json=False)
    with pytest.raises(BadRequest, match="--since"):
        since("yesterday", 0)
