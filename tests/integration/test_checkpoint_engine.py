"""Checkpoints of a whole engine with its threads: by themselves, on demand, and killed half-way."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tegula.cli.main import main
from tegula.engine.runtime.checkpoint_requests import Request, ask, read_answer
from tegula.engine.runtime.clock import now_us
from tegula.state.checkpoint_kept import listed, read_manifest, verify
from tegula.state.checkpoint_store import DirectoryStore
from tests.support.engines import Project, running
from tests.support.process import EngineProcess

Eventually = Callable[..., None]


def events(first: int, count: int) -> list[dict[str, object]]:
    at_us = now_us()
    return [{"k": f"k{n % 50}", "x": float(n), "at": at_us} for n in range(first, first + count)]


def folded(project: Project) -> int:
    return project.outcomes().get("folded", 0)


def configure(project: Project, text: str = "") -> None:
    """The file that commands read, with what the project's settings are."""
    made = f"shards = {project.settings.shards}\n{text}\n"
    (project.settings.project / "tegula.toml").write_text(made)


def quiet(done: int, total: int) -> None:
    assert done <= total


def test_engine_makes_checkpoints_by_itself_and_keeps_the_newest(tmp_path, eventually):
    project = Project.make(
        tmp_path, checkpoint_to="backup", checkpoint_interval_s=0.5, checkpoint_keep=2
    )
    store = DirectoryStore(tmp_path / "backup")
    with running(project) as engine:
        sent = 0
        seen: set[str] = set()

        def enough() -> bool:
            nonlocal sent
            assert engine.is_running, engine.fault
            if sent < 50_000:
                project.send(events(sent, 100))
                sent += 100
            seen.update(store.ids())
            return len(seen) >= 5

        eventually(enough)
        eventually(lambda: folded(project) == sent)
        report = project.report()
        assert report is not None
        assert report["checkpoints"]["fault"] is None
        assert report["checkpoints"]["last"]["id"] in seen
        assert report["checkpoints"]["newest_us"]
    left = list(listed(store, store.ids()))
    assert 2 <= len(left) <= 3  # one that was made when the engine stopped is pruned by the next
    for one in left:
        assert one.manifest is not None
        assert verify(store, one.manifest, quiet) == []
    assert not (project.settings.checkpoint_path / "moment").exists()


def test_engine_waits_for_the_interval_whoever_made_the_last(tmp_path, eventually):
    project = Project.make(tmp_path, checkpoint_to="backup", checkpoint_interval_s=3600)
    store = DirectoryStore(tmp_path / "backup")
    with running(project):
        eventually(lambda: len(store.ids()) == 1)
    with running(project):
        eventually(lambda: bool((project.report() or {}).get("checkpoints", {}).get("newest_us")))
        assert len(store.ids()) == 1


def test_checkpoint_that_fails_is_reported_and_stops_nothing(tmp_path, eventually):
    (tmp_path / "backup").write_text("a file where a folder should be")
    project = Project.make(tmp_path, checkpoint_to="backup", checkpoint_interval_s=0.2)

    def fault() -> str:
        said = (project.report() or {}).get("checkpoints", {}).get("fault")
        return said["code"] if said else ""

    with running(project) as engine:
        eventually(lambda: fault() == "TG-704")
        project.send(events(0, 500))
        eventually(lambda: folded(project) == 500)
        assert engine.is_running
        (tmp_path / "backup").unlink()
        eventually(lambda: fault() == "")
    assert DirectoryStore(tmp_path / "backup").ids()


def test_command_asks_the_engine_and_is_told(tmp_path, eventually, capsys):
    project = Project.make(tmp_path)
    configure(project)
    place = str(tmp_path / "there")
    words = ["--project", str(tmp_path)]
    with running(project):
        project.send(events(0, 500))
        eventually(lambda: folded(project) == 500)
        assert main(["checkpoint", "create", "--to", place, "--json", *words]) == 0
        made = orjson.loads(capsys.readouterr().out)
        assert made["size_bytes"] >= made["new_bytes"] > 0
        assert made["linked_ms"] > 0
        (tmp_path / "file").write_text("")
        assert main(["checkpoint", "create", "--to", str(tmp_path / "file"), *words]) == 3
        assert "TG-704" in capsys.readouterr().err
        report = project.report()
        assert report is not None
        assert report["checkpoints"]["fault"] is None, "what a command asked for is its own fault"
    assert main(["checkpoint", "create", "--to", place, *words]) == 0
    assert main(["checkpoint", "list", "--from", place, "--json", *words]) == 0
    text = capsys.readouterr().out
    found = orjson.loads(text[text.index("{") :])["checkpoints"]
    assert [one["fault"] for one in found] == [None, None]
    assert found[0]["id"] == made["id"]
    assert main(["checkpoint", "verify", made["id"], "--from", place, *words]) == 0
    assert main(["checkpoint", "restore", made["id"], "--from", place, *words]) == 3
    assert "TG-507" in capsys.readouterr().err
    shutil.rmtree(project.settings.state_path)
    shutil.rmtree(project.settings.online_path)
    (project.settings.home / "registry.db").unlink()
    assert main(["checkpoint", "restore", "latest", "--from", place, *words]) == 0
    with running(project):
        eventually(lambda: folded(project) == 500)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["make"], 1),
        (["list", "x"], 1),
        (["verify", "a", "b"], 1),
        (["create"], 1),  # no place
        (["verify", "nothing", "--from", "here"], 3),
        (["restore", "--from", "here"], 3),
        (["list", "--from", "here"], 0),
        (["create", "--to", "here"], 3),  # no state
    ],
)
def test_command_that_cannot_be_done_ends_with_its_code(tmp_path, words, code, capsys, monkeypatch):
    project = Project.make(tmp_path)
    configure(project)
    monkeypatch.chdir(tmp_path)
    assert main(["checkpoint", *words, "--project", str(tmp_path)]) == code
    assert ("TG-" in capsys.readouterr().err) == (code != 0)
    assert not (tmp_path / "here").exists()


def test_command_verify_names_what_is_damaged(tmp_path, eventually, capsys):
    project = Project.make(tmp_path)
    configure(project, '[checkpoint]\nto = "backup"')
    with running(project):
        project.send(events(0, 50))
        eventually(lambda: folded(project) == 50)
    assert main(["checkpoint", "create", "--project", str(tmp_path)]) == 0
    store = DirectoryStore(tmp_path / "backup")
    manifest = read_manifest(store, "latest")
    chosen = next(file for file in manifest.files if file.size)
    (tmp_path / "backup" / chosen.path).unlink()
    capsys.readouterr()
    assert main(["checkpoint", "verify", "--json", "--project", str(tmp_path)]) == 3
    told = capsys.readouterr()
    assert chosen.checksum in {one["path"][6:] for one in orjson.loads(told.out)["damaged"]}
    assert "TG-506" in told.err


@pytest.mark.slow
def test_crash_of_the_engine_in_the_middle_of_a_checkpoint(tmp_path: Path, eventually: Eventually):
    """Killed again and again while it makes one: what is listed is whole, and the last restores."""
    project = Project.make(tmp_path)
    configure(project, 'commit_interval_ms = 20\n[checkpoint]\nto = "backup"\ninterval_s = 0.01')
    store = DirectoryStore(tmp_path / "backup")
    engine = EngineProcess(tmp_path)
    sent = 0
    for delay_s in (0.05, 0.15, 0.3, 0.0):
        known = set(store.ids())
        engine.start()
        eventually(lambda: engine.report() is not None)
        project.send(events(sent, 2_000))
        sent += 2_000
        eventually(lambda known=known: set(store.ids()) - known)
        threading.Event().wait(delay_s)
        engine.kill()
        for one in listed(store, store.ids()):
            assert one.manifest is not None
            assert verify(store, one.manifest, quiet) == []
    for name in ("state", "online", "lake"):
        shutil.rmtree(project.settings.home / name, ignore_errors=True)
    for path in project.settings.home.glob("registry.db*"):
        path.unlink()
    assert main(["checkpoint", "restore", "--project", str(tmp_path)]) == 0
    engine.start()
    eventually(lambda: engine.report() is not None)
    eventually(lambda: folded(project) == sent)
    assert engine.stop() == 0


def test_request_outlives_the_engine_that_did_not_answer(tmp_path, eventually):
    project = Project.make(tmp_path)
    place = tmp_path / "there"
    ask(project.settings.checkpoint_path, Request("token", str(place)))
    with running(project):
        eventually(lambda: bool(read_answer(project.settings.checkpoint_path, "token")))
    said = read_answer(project.settings.checkpoint_path, "token")
    assert said is not None
    assert DirectoryStore(place).ids() == [said["made"]["id"]]
    assert not (project.settings.checkpoint_path / "request.json").exists()
