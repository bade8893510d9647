"""`check`, `plan`, `apply`: reports, changes, versions."""

from __future__ import annotations

import orjson
import pytest

from tegula.engine.settings import load_settings
from tegula.state.registry import Registry

from .conftest import rewrite


def changes(ran):
    return {
        f"{item['kind']} {item['name']}": item["change"] for item in orjson.loads(ran.out)["items"]
    }


def test_check_reports_faults_of_settings_files_and_definitions_together(project, tegula):
    (project / "tegula.toml").write_text("prot = 1")
    (project / "features/broken.py").write_text("1/0")
    rewrite(project, ('agg.sum("amount")', 'agg.sum("amout")'))
    ran = tegula("check", "-p", project)
    assert ran.code == 1
    for part in ("`port`?", "features/broken.py:1", "'amout'", "4 faults"):
        assert part in ran.err
    assert orjson.loads(tegula("check", "-p", project, "--json").out)["ok"] is False


def test_check_recommends_what_is_right_and_may_surprise(project, tegula):
    rewrite(
        project,
        ('owner="you",\n)\n\nfraud', ")\n\nfraud"),
        ('partition_by="card_id",\n', 'source=tg.Kafka("payments"),\n'),
        ('disorder="30s"', 'disorder="0s"'),
        ('agg.last("merchant").over(sliding("30d"))', 'agg.last("merchant").over(tg.lifetime())'),
        ("fraud = tg.", "_ = lambda: tg."),
    )
    ran = tegula("check", "-p", project, "--json")
    advice = orjson.loads(ran.out)["advice"]
    text = " ".join(one["text"] for one in advice)
    assert ran.code == 0
    for part in ("no brokers", "LogAppendTime", "disorder", "lifetime", "owner", "FeatureService"):
        assert part in text


def test_plan_shows_the_plan_and_that_everything_is_new(project, tegula):
    ran = tegula("plan", "-p", project)
    assert ran.code == 0
    for part in (
        "build 1 of view spend",
        "nothing was applied yet",
        "replays its stream's history",
    ):
        assert part in ran.out
    assert set(changes(tegula("plan", "-p", project, "--json")).values()) == {"new"}


def test_plan_writes_nothing(project, tegula):
    tegula("plan", "-p", project)
    assert not (project / ".tegula").exists()


def test_apply_stores_one_version_and_again_changes_nothing(project, tegula):
    first = orjson.loads(
        tegula("apply", "-p", project, "--author", "ann", "-m", "first", "--json").out
    )
    assert (first["version"], first["author"], first["changes"]) == (1, "ann", True)
    again = tegula("apply", "-p", project)
    assert "Nothing changed: version 1 stands" in again.out
    assert set(changes(tegula("plan", "-p", project, "--json")).values()) == {"unchanged"}


@pytest.mark.parametrize(
    ("old", "new", "view", "replays"),
    [
        ('sliding("10m")', 'sliding("20m")', "changed", True),
        ('owner="you",\n)\n\nfraud', 'owner="me",\n)\n\nfraud', "changed in place", False),
        ("default=0.0", "default=1.0", "changed in place", False),
    ],
)
def test_plan_tells_a_new_build_from_a_change_in_place(project, tegula, old, new, view, replays):
    tegula("apply", "-p", project)
    rewrite(project, (old, new))
    items = orjson.loads(tegula("plan", "-p", project, "--json").out)["items"]
    found = next(item for item in items if item["name"] == "spend")
    assert (found["change"], found["replays"]) == (view, replays)


def test_plan_names_what_changed_and_what_to_do(project, tegula):
    tegula("apply", "-p", project)
    rewrite(project, ('pl.col("amount") > 0', 'pl.col("amount") > 1'))
    out = tegula("plan", "-p", project).out
    assert "where; replays its stream's history" in out
    assert "tegula backfill spend" in out


def test_plan_shows_what_is_removed(project, tegula):
    tegula("apply", "-p", project)
    rewrite(project, ('"spend",', '"costs",'), ('"fraud", version=1', '"fraud", version=2'))
    found = changes(tegula("plan", "-p", project, "--json"))
    assert found["view costs"] == "new"
    assert found["view spend"] == "removed"
    assert found["service fraud version 1"] == "removed"
    assert found["entity card"] == "unchanged"


def test_plan_knows_that_a_definition_taken_back_has_its_build(project, tegula):
    tegula("apply", "-p", project)
    registry = Registry(load_settings(project).registry_url_or_default)
    registry.mark_live(1)
    registry.activate("spend", 1)
    registry.close()
    rewrite(project, ('sliding("10m")', 'sliding("20m")'))
    tegula("apply", "-p", project)
    rewrite(project, ('sliding("20m")', 'sliding("10m")'))
    items = orjson.loads(tegula("plan", "-p", project, "--json").out)["items"]
    found = next(item for item in items if item["name"] == "spend")
    assert (found["change"], found["replays"]) == ("changed", False)


def test_apply_refuses_another_number_of_shards(project, tegula):
    tegula("apply", "-p", project)
    (project / "tegula.toml").write_text("shards = 3")
    ran = tegula("apply", "-p", project)
    assert ran.code == 1
    assert "fixed" in ran.err
