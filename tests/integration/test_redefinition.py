"""Definitions that change while an engine runs: taken up at once, and nothing is lost or mixed."""

from __future__ import annotations

from dataclasses import replace

import pytest

import tegula as tg
from tegula import agg
from tegula.engine.runtime import process
from tegula.schemas.errors import BrokerUnreachable, DefinitionErrors
from tests.integration.test_engine_faults import events
from tests.support.engines import BY_NAME, EVENTS, TOTALS, Project, running

WIDER = replace(EVENTS, schema={**EVENTS.schema, "y": tg.Float64})
NARROWER = replace(EVENTS, schema={"k": tg.String, "y": tg.Float64, "at": EVENTS.schema["at"]})
AT = 1_704_067_200_000_000


def view(name: str, stream: tg.Stream, column: str, **changes: object) -> tg.FeatureView:
    feature = agg.sum(column).over(tg.sliding("1d"))
    return tg.FeatureView(name, entity=BY_NAME, stream=stream, features={"f": feature}, **changes)


def test_column_and_its_view_are_taken_up_by_a_running_engine(tmp_path, eventually):
    project = Project.make(tmp_path)
    with running(project) as engine:
        project.send(events(100))
        eventually(lambda: project.outcomes(1).get("folded") == 100)
        project.apply(replace(TOTALS, stream=WIDER), view("ys", WIDER, "y"))
        project.send([{**event, "y": 2.0} for event in events(100)])
        eventually(lambda: project.outcomes(2).get("folded") == 200)
        assert project.outcomes(1)["folded"] == 200
        assert engine.fault is None


def test_definitions_are_taken_up_once_the_brokers_answer_again(tmp_path, eventually, monkeypatch):
    """An engine that runs waits for its brokers; so does one that has to open them anew."""
    project, refused = Project.make(tmp_path), []

    def refuse(*_: object) -> None:
        refused.append(True)
        raise BrokerUnreachable(bootstrap="nowhere:1")

    monkeypatch.setattr(process, "AGAIN_S", 0.01)
    with running(project) as engine:
        project.send(events(100))
        eventually(lambda: project.outcomes(1).get("folded") == 100)
        with monkeypatch.context() as away:
            away.setattr("tegula.engine.runtime.engine.open_log", refuse)
            project.apply(replace(TOTALS, stream=WIDER), view("ys", WIDER, "y"))
            eventually(lambda: len(refused) > 3 or not engine.is_running)
        project.send([{**event, "y": 2.0} for event in events(100)])
        eventually(lambda: project.outcomes(2).get("folded") == 200 or not engine.is_running)
        assert engine.fault is None


def test_engine_that_has_never_run_ends_where_no_broker_answers(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise BrokerUnreachable(bootstrap="nowhere:1")

    monkeypatch.setattr("tegula.engine.runtime.engine.open_log", refuse)
    with running(Project.make(tmp_path)) as engine:
        engine.thread.join(60)
        assert isinstance(engine.fault, BrokerUnreachable)


def test_build_of_an_older_definition_goes_on_reading_a_column_that_left_the_stream():
    with tg.TestDriver(view("v", EVENTS, "x"), at=AT) as driver:
        driver.settle()
        driver.apply(view("v", NARROWER, "y"))
        driver.send("events", [{"k": "a", "x": 1.0, "y": 5.0, "at": AT - 1}])
        driver.crash()
        driver.restart()
        assert driver.online("v:f", {"k": "a"}) == {"v:f": 1.0}
        driver.backfill("v")
        driver.send("events", [{"k": "a", "x": 1.0, "y": 7.0, "at": AT - 1}])
        assert driver.online("v:f", {"k": "a"}) == {"v:f": 12.0}


def test_lateness_that_is_changed_wants_a_new_build_which_finds_the_late_event_in_history():
    """In place, live and replay would have judged the same event by different bounds."""
    late = {"k": "a", "x": 1.0, "at": AT - 3_600_000_000}
    strict = view("v", EVENTS, "x", allowed_lateness="1m")
    with tg.TestDriver(strict, at=AT) as driver:
        driver.send("events", [{"k": "a", "x": 1.0, "at": AT}, late])
        assert driver.outcomes("v")["expired"] == 1
        driver.apply(replace(strict, allowed_lateness="2h"))
        assert driver.outcomes("v")["expired"] == 1
        driver.backfill("v")
        outcomes = driver.outcomes("v")
        assert (outcomes["expired"], outcomes["folded"]) == (0, 2)


def test_feature_that_is_named_anew_is_served_by_the_same_build():
    with tg.TestDriver(view("v", EVENTS, "x"), at=AT) as driver:
        driver.send("events", {"k": "a", "x": 3.0, "at": AT - 1})
        assert driver.online("v:f", {"k": "a"}) == {"v:f": 3.0}
        renamed = tg.FeatureView(
            "v", entity=BY_NAME, stream=EVENTS, features={"g": agg.sum("x").over(tg.sliding("1d"))}
        )
        driver.apply(renamed)
        assert driver.online("v:g", {"k": "a"}) == {"v:g": 3.0}
        assert [build.id for build in driver.engine.deployed.builds] == [1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": {**EVENTS.schema, "x": tg.String}}, "a column keeps its type"),
        ({"schema": {**EVENTS.schema, "on": tg.Timestamp}, "event_time": "on"}, "event time"),
    ],
)
def test_stream_does_not_come_to_mean_something_else_under_its_name(change, words):
    with tg.TestDriver(view("v", EVENTS, "x"), at=AT) as driver:
        stream = replace(EVENTS, **change)
        with pytest.raises(DefinitionErrors, match=words):
            driver.apply(stream)
        assert driver.engine.registry.head().number == 1
