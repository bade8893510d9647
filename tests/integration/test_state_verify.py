"""From a wrong number to a right one: an engine killed, a state tampered with, verified, mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from tegula.cli.main import main
from tegula.engine.runtime.clock import now_us
from tegula.state.database import Memory, open_database
from tegula.state.keys import encode_key, shard_of
from tegula.state.rows import SUFFIX_BYTES, build_prefix
from tests.support.engines import Project
from tests.support.process import EngineProcess

Eventually = Callable[..., None]
KEY = encode_key(("k7",), ("string",))
COUNT = 4_000


def run(project: Project, capsys: Any, *words: str) -> tuple[int, Any]:
    """A command's exit code, and the JSON that it printed."""
    code = main([*words, "--json", "--project", str(project.settings.project)])
    said = capsys.readouterr()
    return code, orjson.loads(said.out or said.err)


def test_engine_is_killed_its_state_tampered_with_found_and_mended(tmp_path, eventually, capsys):
    project = Project.make(tmp_path)
    (tmp_path / "tegula.toml").write_text(f"shards = {project.settings.shards}\n")
    engine = EngineProcess(tmp_path)
    engine.start()
    try:
        at_us = now_us()
        for first in range(0, COUNT, 400):
            numbers = range(first, first + 400)
            project.send([{"k": f"k{n % 20}", "x": 1.0 + n, "at": at_us + n} for n in numbers])
        eventually(lambda: engine.report() is not None and project.outcomes().get("folded", 0) > 0)
        code, said = run(project, capsys, "state", "verify")
        assert (code, said["error"]["code"]) == (3, "TG-501")
        assert "stop the engine first" in said["error"]["hint"]
    finally:
        engine.kill()

    code, said = run(project, capsys, "state", "verify")
    assert (code, said["faults"]) == (0, [])
    engine.start()
    try:
        eventually(lambda: project.outcomes().get("folded", 0) == COUNT)
    finally:
        engine.stop()
    code, said = run(project, capsys, "state", "verify", "--view", "totals")
    assert (code, said["clean"]) == (0, True)
    values = next(one for one in said["checks"] if one["check"] == "values")["looked_at"]
    assert (values["keys"], values["events"]) == (20, COUNT)

    _lose_rows(project)
    code, said = run(project, capsys, "state", "verify", "--seed", "5")
    assert (code, said["clean"], said["seed"]) == (1, False, 5)
    assert {(one["view"], one["key"]["k"]) for one in said["faults"]} == {("totals", "k7")}
    assert main(["state", "verify", "--key", "k=k7", "--project", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "no row of this key" in shown.out
    assert "tegula rebuild --view totals --keys k=k7" in shown.err

    keys = tmp_path / "keys.jsonl"
    keys.write_text('{"k": "k7"}\n{"k": "never"}\n')
    code, said = run(project, capsys, "rebuild", "--view", "totals", "--keys", str(keys))
    assert (code, said) == (0, [{"build": 1, "keys": 1, "empty": 1, "events": COUNT}])
    assert run(project, capsys, "state", "verify")[0] == 0

    engine.start()
    try:
        eventually(lambda: engine.report() is not None)
        expected = sum(1.0 + n for n in range(COUNT) if n % 20 == 7)

        def is_right() -> bool:
            words = ("get", "totals:events", "totals:sum_x", "k=k7")
            values = run(project, capsys, *words)[1].get("values", {})
            return values == {"totals:events": [COUNT // 20], "totals:sum_x": [expected]}

        eventually(is_right)
    finally:
        engine.stop()


def _lose_rows(project: Project) -> None:
    """Delete all that a key has."""
    shard = shard_of(KEY, project.settings.shards)
    database = open_database(project.settings.state_path / f"shard-{shard:02d}", Memory())
    base = build_prefix(1) + KEY
    rows = [row for row, _ in database.items() if row[:-SUFFIX_BYTES] == base]
    assert rows
    for row in rows:
        database.delete(row)
    database.close()
