"""Finding a user's own aggregates: in the project's folder, anew when files change, or not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import tegula as tg
from tegula import sliding
from tegula.cli.project import load_definitions
from tegula.connectors.local_log import LocalLog
from tegula.engine.apply import apply_definitions
from tegula.engine.own import OwnAggregates, own_aggregates_of
from tegula.engine.plan import compile as compile_plan
from tegula.engine.runtime.clock import now_us
from tegula.engine.runtime.engine import Engine
from tegula.engine.runtime.process import run as run_engine
from tegula.engine.settings import Settings
from tegula.schemas.codec import collect, dump, load
from tegula.schemas.definitions import Definitions
from tegula.schemas.errors import OwnAggregateChanged, OwnAggregateFailed, OwnAggregateMissing
from tegula.schemas.own import OwnAggregate
from tegula.serving.catalogue import CatalogueFollower
from tegula.state.registry import Registry
from tests.support.own import HoursSeen, module_text

FIRST = "hours_seen = tg.own_aggregate(HoursSeen(), version=1)"
SECOND = "hours_seen = tg.own_aggregate(HoursSeen(), version=2)"
BOTH = f"hours_seen_1 = tg.own_aggregate(HoursSeen(), version=1)\n{SECOND}"
FORMAT = tg.own_aggregate(HoursSeen(), version=1).format
VIEWS = """
import tegula as tg
from features.hours import hours_seen

card = tg.Entity("card", keys={"card_id": tg.String})
payments = tg.Stream(
    "payments", schema={"card_id": tg.String, "at": tg.Timestamp}, event_time="at"
)
spend = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    features={"hours": hours_seen("at").over(tg.sliding("7d"))},
)
"""


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    """What a test's project imports does not stay for the next one."""
    before = set(sys.modules)
    yield
    for name in [one for one in sys.modules if one.partition(".")[0] in ("features", "own_lib")]:
        if name not in before:
            del sys.modules[name]


def write(project: Path, *handles: str, file: str = "features/hours.py") -> None:
    path = project / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(module_text(*handles), "utf-8")
    # Python keeps compiled files by the second of their change.
    changes = sum(1 for _ in project.glob("*.change"))
    (project / f"{changes}.change").touch()
    os.utime(path, (changes, changes))


def wanted(version: int = 1, module: str = "features.hours", format_: str = FORMAT) -> OwnAggregate:
    return OwnAggregate("hours_seen", version, module, format_)


def test_aggregate_is_found_in_the_project(project):
    write(project, FIRST)
    found = OwnAggregates(project)(wanted())
    assert found == wanted()
    assert found.resolved().name == "hours_seen"
    assert str(project) not in sys.path


def test_aggregate_is_found_beside_the_features_and_in_what_is_installed(project, monkeypatch):
    write(project, FIRST, file="own_lib.py")
    assert OwnAggregates(project)(wanted(module="own_lib")).resolved()
    del sys.modules["own_lib"]
    with pytest.raises(OwnAggregateMissing, match="No module named 'own_lib'"):
        OwnAggregates(project / "features")(wanted(module="own_lib"))
    monkeypatch.syspath_prepend(str(project))
    assert OwnAggregates(project / "features")(wanted(module="own_lib")).resolved()


def test_found_aggregate_stays_while_its_file_changes(project):
    write(project, FIRST)
    own = OwnAggregates(project)
    first = own(wanted())
    write(project, SECOND)
    assert own(wanted(2)).version == 2
    assert own(wanted()) is first
    with pytest.raises(OwnAggregateMissing, match="version 2"):
        OwnAggregates(project)(wanted())


def test_both_versions_stand_beside_each_other(project):
    write(project, BOTH)
    own = OwnAggregates(project)
    assert [own(wanted(version)).version for version in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("handles", "got"),
    [
        ((), "no aggregate of that name"),
        ((SECOND,), "version 2"),
        (("1 / 0",), "ZeroDivisionError: division by zero"),
        (("import nowhere",), "ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_missing_aggregate_is_an_error_that_says_what_was_there(project, handles, got):
    write(project, *handles)
    with pytest.raises(OwnAggregateMissing) as caught:
        OwnAggregates(project)(wanted())
    assert caught.value.code == "TG-605"
    assert caught.value.got == got
    assert caught.value.where == "module features.hours"


def test_missing_module_is_looked_for_again_when_files_change(project):
    write(project, "print('run')", "1 / 0")
    own = OwnAggregates(project)
    with pytest.raises(OwnAggregateMissing) as first:
        own(wanted())
    with pytest.raises(OwnAggregateMissing) as again:
        own(wanted())
    assert again.value is first.value  # it was not run again
    write(project, FIRST)
    assert own(wanted()).version == 1


def test_changed_states_under_an_old_version_are_an_error(project):
    text = module_text(FIRST).replace('StateField("bits", "<i8")', 'StateField("bits", "<u8")')
    (project / "features" / "hours.py").write_text(text, "utf-8")
    with pytest.raises(OwnAggregateChanged) as caught:
        OwnAggregates(project)(wanted())
    assert caught.value.code == "TG-606"
    assert FORMAT in caught.value.expected


def test_known_handles_need_no_import():
    handle = tg.own_aggregate(HoursSeen(), version=1, module="nowhere")
    own = OwnAggregates(None, [handle])
    assert own(wanted(module="nowhere")) is handle
    other = tg.own_aggregate(HoursSeen(), version=2, module="nowhere")
    own.add([other])
    assert own(wanted(2, "nowhere")) is other


def test_plan_without_the_aggregate_is_an_error():
    view = tg.FeatureView(
        "spend",
        entity=tg.Entity("card", keys={"card_id": tg.String}),
        stream=tg.Stream(
            "payments", schema={"card_id": tg.String, "at": tg.Timestamp}, event_time="at"
        ),
        features={
            "hours": tg.own_aggregate(HoursSeen(), version=1)("at").over(sliding("7d")),
            "again": tg.own_aggregate(HoursSeen(), version=1)("at").over(sliding("1d")),
        },
    )
    definitions = collect(view)
    assert len(own_aggregates_of(definitions)) == 1
    assert "hours_seen_bits(at)" in compile_plan(definitions).describe()
    with pytest.raises(OwnAggregateMissing, match="no implementation"):
        compile_plan(load(dump(definitions)))


def test_two_formats_of_states_under_one_name_are_refused(project):
    other = HoursSeen("hours_too", state=_Renamed())
    features = {
        "hours": tg.own_aggregate(HoursSeen(), version=1)("at").over(sliding("7d")),
        "other": tg.own_aggregate(other, version=1)("at").over(sliding("7d")),
    }
    view = tg.FeatureView(
        "spend",
        entity=tg.Entity("card", keys={"card_id": tg.String}),
        stream=tg.Stream(
            "payments", schema={"card_id": tg.String, "at": tg.Timestamp}, event_time="at"
        ),
        features=features,
    )
    settings = Settings(project=project, home=project / ".tegula", shards=2, in_file={})  # type: ignore[call-arg]
    own = OwnAggregates(project, own_aggregates_of(collect(view)))
    with pytest.raises(tg.TegulaError, match=r"TG-102 .*hours_seen_bits"):
        apply_definitions(settings, collect(view), author="t", message="", now_us=1, own=own)
    assert not settings.home.exists()  # nothing was stored


class _Renamed(type(HoursSeen().state)):  # type: ignore[misc]
    """Another state that has taken a name over."""


def applied(project: Path, settings: Settings) -> Definitions:
    definitions = load_definitions(project)
    apply_definitions(settings, definitions, author="t", message="", now_us=1)
    return definitions


@pytest.fixture
def settings(project: Path) -> Settings:
    (project / "features" / "views.py").write_text(VIEWS, "utf-8")
    return Settings(project=project, home=project / ".tegula", shards=2, in_file={})  # type: ignore[call-arg]


def test_apply_refuses_what_other_processes_could_not_find(project, settings):
    write(project, FIRST.replace("version=1", 'version=1, module="elsewhere"'))
    with pytest.raises(OwnAggregateMissing, match="module=__name__") as caught:
        applied(project, settings)
    assert caught.value.where == "module elsewhere"


def test_apply_refuses_to_take_away_what_a_running_build_needs(project, settings):
    write(project, FIRST)
    applied(project, settings)
    registry = Registry(settings.registry_url_or_default)
    (build,) = registry.builds(("catching_up",))
    registry.mark_live(build.id)
    write(project, SECOND)
    with pytest.raises(OwnAggregateMissing, match="until its build is retired"):
        applied(project, settings)
    write(project, BOTH)
    applied(project, settings)
    registry.close()


def test_what_runs_goes_on_while_the_code_of_a_newer_version_has_not_come(project, settings):
    write(project, FIRST)
    applied(project, settings)
    at_hand = OwnAggregates(project)
    with Engine(settings, threaded=False, own=at_hand) as engine:
        engine.settle()
        before = engine.deployed
        follower = CatalogueFollower(engine.registry, 2, at_hand)
        assert follower.look()
        served = follower.current()
        newer = tg.own_aggregate(HoursSeen(), version=2, module="features.hours")
        view = load_definitions(project).views[0]
        changed = replace(view, features={"hours": newer("at").over(sliding("7d"))})
        elsewhere = OwnAggregates(None, [newer, at_hand(wanted())])
        apply_definitions(
            settings, collect(changed), author="t", message="", now_us=2, own=elsewhere
        )
        engine.settle()
        assert engine.registry_fault is not None
        assert engine.registry_fault.code == "TG-605"
        assert (engine.deployed, engine.outdated) == (before, False)
        assert not follower.look()
        assert follower.fault is not None
        assert follower.fault.code == "TG-605"
        assert follower.current() is served
        write(project, BOTH)
        engine.settle()
        assert engine.registry_fault is None
        assert engine.deployed is not before
        assert follower.look()


BROKEN = """

class Broken(HourBits):
    def lift(self, column, order, runs):
        raise LookupError("no such hour")


hours_seen = tg.own_aggregate(HoursSeen(state=Broken()), version=1)
"""


def test_fault_in_own_code_ends_the_engine_with_an_error_that_names_its_line(project, settings):
    write(project, BROKEN)
    applied(project, settings)
    log = LocalLog(settings.log_path("payments"), "payments")
    log.append([b'{"card_id": "c", "at": "2024-05-01T12:00:00Z"}'], now_us=now_us)
    log.close()
    with pytest.raises(OwnAggregateFailed) as caught:
        run_engine(settings)
    line = module_text(BROKEN).splitlines().index('        raise LookupError("no such hour")') + 1
    assert caught.value.where == f"module features.hours, line {line}"
    assert caught.value.got == "LookupError: no such hour"
    assert isinstance(caught.value.__cause__, LookupError)


def test_only_faults_of_own_code_are_blamed_on_it(project):
    write(project, FIRST)
    own = OwnAggregates(project)
    own(wanted())
    for fault in (LookupError("elsewhere"), OwnAggregateFailed(where="here", detail="known")):
        with pytest.raises(type(fault)) as caught:
            raise fault
        assert own.blamed(caught.value) is None
