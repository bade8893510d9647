"""An import as a whole: once, whatever stops it, and as if its rows had been pushed."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tegula.backfill.imports import importing, sources
from tegula.backfill.imports.importing import Sizes, count, imports_of
from tegula.backfill.imports.queries import query_source
from tegula.connectors.decode import JsonDecoder
from tegula.connectors.imports import ImportFile
from tegula.connectors.source import Payloads, RawBatch
from tegula.schemas.errors import ImportChanged, ImportRunning
from tegula.state import durable
from tests.support.importing import (
    NOW_US,
    SCHEMA,
    asked,
    events,
    imported,
    run_import,
    settings_in,
)


def write(path: Path, records: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in records))
    return path


def at(second: int) -> str:
    return datetime.fromtimestamp(NOW_US // 1_000_000 - 3600 + second, UTC).isoformat()


def rows(count: int, first: int = 0) -> list[dict[str, object]]:
    """Out of order, with ties and with bad ones."""
    made: list[dict[str, object]] = []
    for n in range(first, first + count):
        wrong: object = "x" if n % 7 == 3 else float(n)
        made.append({"k": "a", "x": wrong, "n": n, "at": at(n * 37 % 20)})
    return made


def test_records_lie_in_order_of_time_and_landed_after_their_delay(tmp_path):
    source = write(tmp_path / "h.jsonl", [*rows(25), {"k": "b"}])
    delay_us = 3_590_000_000
    done = run_import(tmp_path, source, delay_us=delay_us)
    assert (done.held.good, done.held.bad, done.before) == (21, {"TG-202": 4, "TG-203": 1}, False)
    found = imported(tmp_path)
    assert [offset for offset, _, _ in found] == list(range(26))
    records = [orjson.loads(raw) for _, _, raw in found]
    good = [(one["at"], one["n"]) for one in records if isinstance(one.get("x"), float)]
    assert good == sorted(good, key=lambda one: one[0])
    # Rows of one instant are in the order of the source.
    assert good == sorted(good, key=lambda one: (one[0], one[1]))
    for (_, log_us, _), record in zip(found, records, strict=True):
        if isinstance(record.get("x"), float):
            event_us = int(datetime.fromisoformat(record["at"]).timestamp() * 1e6)
            assert log_us == min(event_us + delay_us, NOW_US)
        else:
            assert log_us == NOW_US


def test_same_import_again_does_nothing_also_from_another_file(tmp_path):
    source = write(tmp_path / "h.jsonl", rows(25))
    run_import(tmp_path, source)
    before = imported(tmp_path)
    assert run_import(tmp_path, source, now_us=NOW_US + 5).before
    shuffled = write(tmp_path / "other/h.jsonl", rows(25)[::-1])
    assert run_import(tmp_path, shuffled).before
    assert imported(tmp_path) == before


def test_other_rows_under_the_same_name_are_refused(tmp_path):
    run_import(tmp_path, write(tmp_path / "h.jsonl", rows(25)))
    before = imported(tmp_path)
    for other in (rows(24), rows(25, first=1)):
        with pytest.raises(ImportChanged, match="'history'"):
            run_import(tmp_path, write(tmp_path / "h.jsonl", other))
    with pytest.raises(ImportChanged):
        run_import(tmp_path, write(tmp_path / "h.jsonl", rows(25)), delay_us=1)
    assert imported(tmp_path) == before
    done = run_import(tmp_path, write(tmp_path / "more.jsonl", rows(3)), name="more")
    assert done.entry.first_offset == 25
    assert [one.name for one in imports_of(settings_in(tmp_path), "events")] == ["history", "more"]


def test_rows_out_of_bounds_are_left_out_and_counted(tmp_path):
    source = write(tmp_path / "h.jsonl", rows(20))
    first_us = NOW_US - 3_600_000_000
    done = run_import(
        tmp_path, source, since_us=first_us + 5_000_000, until_us=first_us + 10_000_000
    )
    assert done.held.read == 20
    assert done.held.left_out + done.held.kept == 20
    good = [one["at"] for one in events(tmp_path) if isinstance(one["x"], float)]
    assert good
    assert all(at(5) <= one < at(10) for one in good)


def test_row_from_the_future_is_bad(tmp_path):
    source = write(tmp_path / "h.jsonl", [{"k": "a", "at": "2999-01-01T00:00:00Z"}])
    held = run_import(tmp_path, source).held
    assert (held.good, held.bad, held.last_us) == (0, {"TG-209": 1}, None)


def test_nothing_to_import_is_an_import_of_nothing(tmp_path):
    assert run_import(tmp_path, write(tmp_path / "h.jsonl", [])).entry.count == 0
    assert imported(tmp_path) == []


def test_counting_writes_nothing(tmp_path):
    source = write(tmp_path / "h.jsonl", rows(25))
    what = asked(source)
    held = count(settings_in(tmp_path), what, NOW_US, lambda *_: None)
    assert held == run_import(tmp_path, source).held
    assert not (tmp_path / ".tegula/lake/imports/other.db").exists()


def test_one_process_imports_at_a_time(tmp_path):
    source = write(tmp_path / "h.jsonl", rows(3))
    folder = settings_in(tmp_path).imports_path("events").with_suffix("") / "history"
    with importing.hold(folder), pytest.raises(ImportRunning):
        run_import(tmp_path, source)
    run_import(tmp_path, source)


class Killed(BaseException):
    pass


def killing(monkeypatch, at_step: int) -> None:
    """End at the `at_step`-th time that something is put on the disk, before or after it."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == at_step:
            raise Killed

    sync, add = durable.sync_file, ImportFile.add

    def killing_sync(path):
        step()
        sync(path)

    def killing_add(self, *given):
        step()
        added = add(self, *given)
        step()
        return added

    monkeypatch.setattr(durable, "sync_file", killing_sync)
    monkeypatch.setattr(ImportFile, "add", killing_add)


def test_crash_at_any_step_and_asked_again_is_the_same_import(tmp_path, monkeypatch):
    folder = tmp_path / "history"
    for number in range(3):
        write(folder / f"{number}.jsonl", rows(12, first=12 * number))
    run_import(tmp_path / "whole", folder)
    expected = imported(tmp_path / "whole")
    step = 0
    while True:
        step += 1
        home = tmp_path / f"home-{step}"
        with monkeypatch.context() as patched:
            killing(patched, step)
            try:
                run_import(home, folder)
            except Killed:
                assert imported(home) in ([], expected)
            else:
                break
        run_import(home, folder, now_us=NOW_US + 1_000_000)
        again = imported(home)
        # When it began is kept, from the moment that it is on the disk.
        assert [one[::2] for one in again] == [one[::2] for one in expected]
        assert step <= 2 or again == expected
        assert not (
            settings_in(home).imports_path("events").with_suffix("") / "history/staging"
        ).exists()
    assert step > 20


def test_import_that_was_stopped_reads_no_chunk_twice_unless_the_source_has_changed(
    tmp_path, monkeypatch
):
    folder = tmp_path / "history"
    for number in range(3):
        write(folder / f"{number}.jsonl", rows(12, first=12 * number))
    reads: list[str] = []
    opened = sources.json_chunks.__globals__["opened"]

    def counting(files, path):
        reads.append(Path(path).name)
        return opened(files, path)

    monkeypatch.setitem(sources.json_chunks.__globals__, "opened", counting)
    with monkeypatch.context() as patched:
        killing(patched, 8)  # within the second file
        with pytest.raises(Killed):
            run_import(tmp_path, folder)
    assert reads == ["0.jsonl", "1.jsonl"]
    run_import(tmp_path, folder)
    assert reads[2:] == ["1.jsonl", "2.jsonl"]
    with monkeypatch.context() as patched:
        killing(patched, 8)
        with pytest.raises(Killed):
            run_import(tmp_path, folder, name="second")
    write(folder / "0.jsonl", rows(1))
    del reads[:]
    run_import(tmp_path, folder, name="second")
    assert reads == ["0.jsonl", "1.jsonl", "2.jsonl"]


def test_query_that_was_stopped_brings_the_rows_that_are_there_when_it_is_asked_again(
    tmp_path, monkeypatch
):
    """Its text is as it was, and what it reads need not be."""
    place = tmp_path / "h.jsonl"
    query = f"SELECT * FROM '{place}'"
    for step in range(3, 9):
        home = tmp_path / f"home-{step}"
        write(place, rows(3))
        with monkeypatch.context() as patched:
            killing(patched, step)
            with pytest.raises(Killed):
                run_import(home, query_source(query, None))
        write(place, rows(5))
        if not imported(home):
            run_import(home, query_source(query, None))
            assert len(imported(home)) == 5


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.none() | st.text('ab\n"é', max_size=3),
            "x": st.none() | st.floats(width=64),
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "b": st.none() | st.booleans(),
            "tags": st.none() | st.lists(st.none() | st.text("xy", max_size=2), max_size=3),
            "at": st.none() | st.datetimes(datetime(2024, 4, 30), datetime(2024, 5, 2)),
        }
    ),
    max_size=30,
)
FRAME = {name: dtype.polars for name, dtype in SCHEMA.items()}


@given(ROWS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 40))
def test_law_import_in_any_chunking_is_pushing_its_rows(drawn, group, run_rows, part_rows):
    for one in drawn:
        one["at"] = None if one["at"] is None else one["at"].replace(tzinfo=UTC)
    frame = pl.DataFrame(drawn, schema=FRAME)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        frame.write_parquet(home / "h.parquet", row_group_size=group)
        if frame.height:
            run_import(home, home / "h.parquet", sizes=Sizes(run_rows, part_rows))
        found = [raw for _, _, raw in imported(home)]
    pushed = [orjson.dumps(_pushed(row)) for row in drawn]
    ours, theirs = _decoded(found), _decoded(pushed)
    assert ours[1] == theirs[1]
    order = np.argsort(theirs[0]["at"].to_physical().to_numpy(), kind="stable")
    assert ours[0].equals(theirs[0][order], null_equal=True)


def _pushed(row: dict[str, object]) -> dict[str, object]:
    """The event that a producer would send; JSON has no NaN."""
    instant = row["at"]
    assert instant is None or isinstance(instant, datetime)
    return {**row, "at": None if instant is None else instant.isoformat()}


def _decoded(records: list[bytes]) -> tuple[pl.DataFrame, list[str]]:
    offsets = np.arange(len(records))
    raw = RawBatch("0", offsets, offsets, Payloads.from_list(records), len(records))
    decoded = JsonDecoder(SCHEMA, "at").decode(raw)
    return decoded.frame, sorted(str(one.code) for one in decoded.bad)
