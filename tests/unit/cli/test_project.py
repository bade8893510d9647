"""`init`, and importing a project's definitions."""

from __future__ import annotations

import os
import sys

import orjson
import pytest

from tegula.cli.project import import_definitions, load_definitions
from tegula.cli.templates import FILES
from tegula.schemas.errors import DefinitionErrors, DefinitionFault, DefinitionsUnloadable


def test_init_writes_a_project_that_has_no_faults(project, tegula):
    assert {str(p.relative_to(project)) for p in project.rglob("*") if p.is_file()} == set(FILES)
    ran = tegula("check", "-p", project, "--json")
    assert ran.code == 0
    assert orjson.loads(ran.out)["ok"]


def test_init_keeps_files_that_are_there(tmp_path, tegula):
    (tmp_path / ".gitignore").write_text("mine")
    ran = tegula("init", tmp_path, "--json")
    assert orjson.loads(ran.out)["kept"] == [".gitignore"]
    assert (tmp_path / ".gitignore").read_text() == "mine"


def test_init_refuses_a_project_that_is_there(project, tegula):
    ran = tegula("init", project)
    assert ran.code == 1
    assert "a Tegula project already" in ran.err


def test_definitions_may_import_each_other(project):
    (project / "features/_base.py").write_text("from features.example import spend\n")
    (project / "features/zz.py").write_text(
        "import tegula as tg\nfrom features._base import spend\n"
        "other = tg.FeatureService('other', version=1, features=[spend])\n"
    )
    definitions = load_definitions(project)
    assert [service.name for service in definitions.services] == ["fraud", "other"]
    assert len(definitions.views) == 1


def test_definitions_are_read_anew_each_time(project, monkeypatch):
    # As long as before and within the same second: bytecode on disk would pass for the new text.
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = project / "features/example.py"
    before = load_definitions(project)
    written = file.stat().st_mtime
    file.write_text(file.read_text().replace('"spend"', '"costs"', 1))
    os.utime(file, (written, written))
    assert (before.views[0].name, load_definitions(project).views[0].name) == ("spend", "costs")


def test_definitions_leave_no_trace_in_this_process(project):
    path = list(sys.path)
    load_definitions(project)
    assert sys.path == path
    assert not [name for name in sys.modules if name.split(".")[0] == "features"]


@pytest.mark.parametrize(
    ("text", "place", "detail"),
    [
        ("x = 1\ny = no_such_name\n", "features/bad.py:2", "NameError"),
        ("def f(:\n", "features/bad.py:1", "SyntaxError"),
        ("import no_such_module\n", "features/bad.py:1", "ModuleNotFoundError"),
        ("import json\njson.loads('{')\n", "features/bad.py:2", "JSONDecodeError"),
    ],
)
def test_definitions_that_fail_name_the_users_own_line(project, text, place, detail):
    (project / "features/bad.py").write_text(text)
    with pytest.raises(DefinitionsUnloadable) as caught:
        load_definitions(project)
    assert caught.value.where == place
    assert detail in caught.value.got
    assert "\n" not in str(caught.value)


def test_definitions_report_every_file_that_fails(project):
    (project / "features/bad1.py").write_text("1/0")
    (project / "features/bad2.py").write_text("1/0")
    definitions, faults = import_definitions(project)
    assert [fault.where for fault in faults] == ["features/bad1.py:1", "features/bad2.py:1"]
    assert definitions.views


def test_definitions_that_are_wrong_are_one_report(project):
    file = project / "features/example.py"
    file.write_text(file.read_text().replace('"amount")', '"amout")'))
    with pytest.raises(DefinitionErrors):
        load_definitions(project)


def test_project_that_defines_nothing_is_a_fault(project):
    (project / "features/example.py").write_text("")
    with pytest.raises(DefinitionFault, match="defines nothing"):
        load_definitions(project)
