"""Materialisation: rows that are new or have changed, each once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.backfill.imports.importing import Sizes
from tegula.backfill.imports.tables import Materialized, materialize, newest_us
from tegula.schemas.types import Float64, String, Timestamp
from tests.support.importing import NOW_US, asked, events, imported, settings_in, stream
from tests.unit.backfill.imports.test_importing import Killed, at, killing

TABLE = stream({"k": String, "x": Float64, "at": Timestamp}, "daily")
Row = dict[str, Any]


def row(k: str, x: object, second: int) -> Row:
    return {"k": k, "x": x, "at": at(second)}


def at_us(second: int) -> int:
    return NOW_US - 3_600_000_000 + second * 1_000_000


def run(home: Path, rows: list[Row], **more: Any) -> Materialized:
    place = home / "rows.jsonl"
    home.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in rows))
    now_us, sizes = more.pop("now_us", NOW_US), more.pop("sizes", Sizes(3, 4))
    what = asked(place, "", stream=TABLE, keys=("k",), **more)
    return materialize(settings_in(home), what, now_us, lambda *_: None, sizes)


def content(home: Path) -> dict[tuple[str, str], object]:
    """The table, by key and validity time: of equal ones the later position counts."""
    return {(one["k"], one["at"]): one["x"] for one in events(home, "daily")}


def test_rows_come_once_and_again_when_they_have_changed(tmp_path):
    first = [row("a", 1.0, 1), row("a", 2.0, 2), row("b", None, 1)]
    assert run(tmp_path, first).rows == 3
    assert run(tmp_path, first).entry is None
    assert run(tmp_path, [*first, row("b", 3.0, 2)]).rows == 1
    assert run(tmp_path, [row("a", 9.0, 1), row("b", 3.0, 2)]).rows == 1
    assert content(tmp_path)["a", at(1)] == 9.0
    # What corrects a row was not known before it came; a new row was, from its own time on.
    assert [log_us for _, log_us, _ in imported(tmp_path, "daily")][-2:] == [at_us(2), NOW_US]
    # Back to what it was is a change, too.
    assert run(tmp_path, first[:1]).rows == 1
    assert content(tmp_path)["a", at(1)] == 1.0
    assert len(imported(tmp_path, "daily")) == 6
    assert newest_us(settings_in(tmp_path), "daily") == NOW_US - 3_598_000_000


def test_last_of_equal_rows_in_a_source_counts(tmp_path):
    assert run(tmp_path, [row("a", 1.0, 1), row("a", 2.0, 1)]).rows == 1
    assert content(tmp_path) == {("a", at(1)): 2.0}
    assert run(tmp_path, [row("a", 7.0, 1), row("a", 2.0, 1)]).rows == 0


def test_bad_rows_are_kept_once(tmp_path):
    rows = [row("a", "x", 1), row("a", 1.0, 1), row("b", "y", 99)]
    done = run(tmp_path, rows)
    assert (done.rows, done.entry.bad, done.held.bad) == (3, 2, {"TG-202": 2})
    assert run(tmp_path, rows).rows == 0
    assert len(imported(tmp_path, "daily")) == 3


def test_only_rows_since_an_instant_are_looked_at(tmp_path):
    rows = [row("a", 1.0, 1), row("a", 2.0, 2)]
    done = run(tmp_path, rows, since_us=NOW_US - 3_598_000_000)
    assert (done.rows, done.held.left_out) == (1, 1)


def test_crash_at_any_step_and_asked_again_doubles_nothing(tmp_path, monkeypatch):
    first = [row("abc"[n % 3], float(n), n) for n in range(10)]
    second = [*first[:5], row("c", 5.5, 5), *(row("d", float(n), n) for n in range(6))]
    run(tmp_path / "whole", first)
    run(tmp_path / "whole", second)
    expected = imported(tmp_path / "whole", "daily")
    step = 0
    while True:
        step += 1
        home = tmp_path / f"home-{step}"
        run(home, first)
        with monkeypatch.context() as patched:
            killing(patched, step)
            try:
                run(home, second)
            except Killed:
                assert imported(home, "daily") in (expected[:10], expected)
            else:
                break
        run(home, second)
        assert imported(home, "daily") == expected
        folders = [*(settings_in(home).imports_path("daily").with_suffix("")).rglob("staging")]
        assert len(imported(home, "daily")) == 17
        assert run(home, second).rows == 0
        assert not folders or not [one for one in folders if one.exists()]
    assert step > 8


ROWS = st.lists(
    st.builds(
        row, st.sampled_from("abc"), st.none() | st.sampled_from([0.0, 1.0]), st.integers(0, 2)
    ),
    max_size=8,
)


@given(st.lists(st.tuples(ROWS, st.integers(1, 4), st.integers(1, 5)), max_size=4))
def test_law_table_is_what_its_sources_said_last(snapshots):
    said: dict[tuple[str, str], object] = {}
    changes = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (rows, run_rows, part_rows) in enumerate(snapshots):
            sizes = Sizes(run_rows, part_rows)
            done = run(Path(folder), rows, sizes=sizes, now_us=NOW_US + number)
            now = {(one["k"], one["at"]): one["x"] for one in rows}
            new = {name for name, x in now.items() if name not in said or said[name] != x}
            assert done.rows == len(new)
            said |= now
            changes += len(new)
        assert content(Path(folder)) == said
        assert len(imported(Path(folder), "daily")) == changes


@pytest.mark.parametrize("rows", [[], [row("a", 1.0, 1)]])
def test_materialisation_of_nothing_new_leaves_nothing_behind(tmp_path, rows):
    run(tmp_path, rows)
    folder = settings_in(tmp_path).imports_path("daily").with_suffix("")
    before = sorted(folder.rglob("*"))
    assert run(tmp_path, rows).entry is None
    assert sorted(folder.rglob("*")) == before
