"""History in a bucket: the same records as from files here, once, also when the store was away."""

from __future__ import annotations

import gzip
import io
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from tegula.backfill.imports.sources import open_source
from tegula.cli.imports import open_rows
from tegula.engine.settings import Settings
from tegula.schemas.errors import BadRequest, SettingsError, TegulaError
from tegula.schemas.types import Float64, String, Timestamp
from tegula.state.object_store import delta_options, s3_files
from tests.services.s3 import BUCKET, serving
from tests.support.importing import events as imported_events
from tests.support.importing import imported, run_import, stream

PLAIN = stream({"k": String, "x": Float64, "at": Timestamp})
ROOT = f"{BUCKET}/history"
ROWS = pl.DataFrame(
    {
        "k": [f"k{n % 3}" for n in range(90)],
        "x": [n * 0.5 for n in range(90)],
        "at": [f"2024-04-{1 + n % 28:02}T00:00:{n % 60:02}Z" for n in range(90)],
    }
)
EXPECTED = sorted(ROWS.rows())


@pytest.fixture
def store():
    with serving() as buckets:
        yield buckets


def put(store: Any, path: str, content: bytes) -> None:
    with s3_files(store.options).open_output_stream(f"{ROOT}/{path}", compression=None) as file:
        file.write(content)


def parquet(rows: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    rows.write_parquet(file, row_group_size=10)
    return file.getvalue()


def fill(store: Any) -> None:
    """The same rows in every form that can be read."""
    for number, part in enumerate((ROWS[:40], ROWS[40:])):
        put(store, f"parquet/year=2024/{number}.parquet", parquet(part))
        put(store, f"csv/{number}.csv.gz", gzip.compress(part.write_csv().encode()))
        put(store, f"json/{number}.ndjson", part.write_ndjson().encode())
    put(store, "parquet/_temporary/x.parquet", b"of somebody who has not ended")
    table = f"s3://{ROOT}/table"
    write_deltalake(table, ROWS.to_arrow(), storage_options=delta_options(store.options))


def rows_of(home: Any) -> list[tuple[Any, ...]]:
    return sorted((one["k"], one["x"], one["at"][:19] + "Z") for one in imported_events(home))


def test_history_of_every_kind_is_read_from_a_bucket(store, tmp_path):
    fill(store)
    places = ("parquet", "parquet/", "parquet/**/*.parquet", "csv", "json/*.ndjson", "table/")
    settings = Settings(project=tmp_path, lake_options=store.options)
    for number, place in enumerate(places):
        source = open_rows(settings, f"s3://{ROOT}/{place}", None, None)
        home = tmp_path / str(number)
        done = run_import(home, source, stream=PLAIN)
        assert (done.held.good, done.held.bad) == (90, {}), place
        assert rows_of(home) == EXPECTED, place
        again = open_rows(settings, f"s3://{ROOT}/{place}", None, None)
        assert run_import(home, again, stream=PLAIN).before


def test_import_goes_on_when_the_store_is_back(store, tmp_path, monkeypatch):
    """It goes away in the middle of the second file."""
    for number in range(3):
        put(
            store,
            f"json/{number}.ndjson",
            ROWS[30 * number : 30 * number + 30].write_ndjson().encode(),
        )
    place = f"s3://{ROOT}/json"
    source = open_source(place, store.options)
    second = source.chunks[1]
    read = type(second).read

    def goes_away(self: Any) -> Any:
        store.away = self is second
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(type(second), "read", goes_away)
        with pytest.raises(BadRequest, match=r"1\.ndjson"):
            run_import(tmp_path, source, stream=PLAIN)
        assert imported(tmp_path) == []
    with pytest.raises(SettingsError, match="import_options"):
        open_source(place, store.options)
    store.away = False
    assert not run_import(tmp_path, open_source(place, store.options), stream=PLAIN).before
    assert rows_of(tmp_path) == EXPECTED


@pytest.mark.parametrize(
    ("place", "options", "said"),
    [
        ("s3://backups/nothing/", {}, "nothing there"),
        ("s3://backups/none.parquet", {}, "nothing there"),
        ("s3://backups/x/", {"endpont": "x"}, "no such option"),
        ("ftp://host/x.parquet", {}, "cannot be read"),
        ("s3://", {}, "cannot be read|nothing there"),
    ],
)
def test_what_cannot_be_read_is_named(store, place, options, said):
    with pytest.raises(TegulaError, match=said):
        open_source(place, {**store.options, **options})
