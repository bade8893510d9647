"""Every shared case file through the conformance runner, and the runner's own honesty."""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.oracle import run
from tests.oracle.conformance.judge import HISTORY, judge, same
from tests.oracle.conformance.paths import PATHS
from tests.support.oracles import oracle

FILES = (
    "01_row_window_openmldb",
    "02_pit_mutable_rows_chronon",
    "03_windows_late_data_kafka",
    "05_lookup_asof",
    "06_asof_join",
    "08_current_values_fennel",
    "09_windows_risingwave",
    "10_calendar_windows_polars",
    "12_trailing_expiry_kaskada",
)

CASES_A_TEST = 10
EVERY = int(os.environ.get("TEGULA_ORACLE_EVERY", "3"))
"""Of the longest file, every so many-th case is run, another share with each seed."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "begin"),
    [*((FILES[0], begin) for begin in range(0, 60, CASES_A_TEST)), *((n, 0) for n in FILES[1:])],
)
def test_oracle_conformance_all_shared_cases_pass_on_every_path(name, begin, seed):
    path, part = oracle(f"cases/{name}.json"), slice(begin, begin + CASES_A_TEST)
    if name == FILES[0]:
        part = slice(begin + seed % EVERY, begin + CASES_A_TEST, EVERY)
    results = list(run.results(path, part))
    assert [line for result in results for line in result.lines() if line[:4] != "pass"] == []
    assert all(count for result in results for count in result.value_counts.values())
    assert [result.case for result in results] == case_ids(path)[part]


def test_oracle_conformance_parts_cover_every_case():
    counts = {name: len(case_ids(oracle(f"cases/{name}.json"))) for name in FILES}
    assert counts.pop(FILES[0]) <= 60
    assert max(counts.values()) <= CASES_A_TEST


def case_ids(path: Path) -> list[str]:
    return [case["id"] for case in orjson.loads(path.read_bytes())["cases"]]


LOOKUPS: dict[str, Any] = {
    "kind": "lookup_asof",
    "cases": [
        {
            "id": "edges",
            "streams": {
                "e": {
                    "columns": ["k", "v", "ts"],
                    "rows": [["a", 1, 1_000], ["a", 2, 2_000], ["a", 4, 3_000]],
                }
            },
            "features": [
                {
                    "name": f"{start}_{end}",
                    "stream": "e",
                    "key": "k",
                    "agg": "sum",
                    "column": "v",
                    "window": {"type": "lookback", "size": 1_000, "start": start, "end": end},
                }
                for start in ("open", "closed")
                for end in ("open", "closed")
            ],
            "lookups": [
                {
                    "key": "a",
                    "at": 3_000,
                    "expect": {
                        "open_open": None,
                        "open_closed": 4,
                        "closed_open": 2,
                        "closed_closed": 6,
                    },
                }
            ],
        }
    ],
}


@pytest.fixture
def file() -> dict[str, Any]:
    return copy.deepcopy(LOOKUPS)


def outcome(file: dict[str, Any]) -> tuple[str, list[str]]:
    """Verdict and lines of a file's only case."""
    (case,) = file["cases"]
    kind = run.KINDS.get(file["kind"])
    result = judge(case["id"], run.translated(kind, case, file))
    return result.verdict, list(result.lines())


def test_oracle_conformance_passes_a_case_on_every_path(file):
    verdict, lines = outcome(file)
    assert verdict == "pass"
    assert [line.split(":")[0] for line in lines] == [
        f"pass edges [{path}]" for path in (*PATHS, HISTORY)
    ]


@pytest.mark.parametrize("edge", ["open_open", "open_closed", "closed_open", "closed_closed"])
def test_oracle_conformance_tells_a_wrong_value_on_every_path(file, edge):
    file["cases"][0]["lookups"][0]["expect"][edge] = 7
    verdict, lines = outcome(file)
    assert verdict == "differs"
    told = [line for line in lines if line.startswith("    ")]
    assert len(told) == len((*PATHS, HISTORY))
    assert all(f"lookup 0 (a at 3000), {edge}: expected 7, got" in line for line in told)


BEYOND: dict[str, dict[str, Any]] = {
    "06_asof_join": {"nulls_infinity": [("expected", "rows", -1, 1), ("expected", "rows", 3, 1)]},
    "08_current_values_fennel": {
        "city_count": [
            ("count_by_value_expected", 2, "count"),
            ("count_by_value_expected", 7, "count"),
            ("latest_expected", 2, "value"),
        ]
    },
}
"""Values of cases that are said in a roundabout way: changed, they must differ on every path."""


@pytest.mark.parametrize(
    ("name", "of_case", "place"),
    [(n, c, place) for n, cases in BEYOND.items() for c, all_ in cases.items() for place in all_],
)
def test_oracle_conformance_tells_a_wrong_value_of_a_shared_case(name, of_case, place):
    whole = orjson.loads(oracle(f"cases/{name}.json").read_bytes())
    (case,) = (one for one in whole["cases"] if one["id"].endswith(of_case))
    *way, last = place
    at = functools.reduce(lambda part, step: part[step], way, case)
    at[last] = "Z" if isinstance(at[last], str) else 7
    result = judge(case["id"], run.translated(run.KINDS[whole["kind"]], case, whole))
    assert result.verdict == "differs"
    assert all(len(lines) == 1 for lines in result.differences.values())


def test_oracle_conformance_a_value_at_no_instant_is_a_finding():
    whole = orjson.loads(oracle("cases/06_asof_join.json").read_bytes())
    (case,) = (one for one in whole["cases"] if one["id"].endswith("nulls_infinity"))
    case["expected"]["rows"][-2][1] = 7
    result = judge(case["id"], run.translated(run.KINDS[whole["kind"]], case, whole))
    assert list(result.lines()) == [f"FINDING {case['id']}: needs a value at no instant"]


def unknown_kind(file: dict[str, Any]) -> None:
    file["kind"] = "tarot"


def unknown_field(file: dict[str, Any]) -> None:
    file["cases"][0]["features"][0]["window"]["slack"] = 3


def unknown_aggregate(file: dict[str, Any]) -> None:
    file["cases"][0]["features"][0]["agg"] = "vibes"


def unreadable(file: dict[str, Any]) -> None:
    del file["cases"][0]["streams"]["e"]["columns"]


def nothing(file: dict[str, Any]) -> None:
    file["cases"][0]["features"] = []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unknown_kind, "the kind 'tarot'"),
        (unknown_field, "the meaning of the field 'slack' of a lookback window"),
        (unknown_aggregate, "the aggregate vibes"),
        (unreadable, "a form of the case that can be read"),
        (nothing, "values that can be read: the case has none"),
    ],
)
def test_oracle_conformance_names_what_it_cannot_say(file, change, words):
    change(file)
    verdict, lines = outcome(file)
    assert verdict == "finding"
    assert lines[-1].startswith(f"FINDING edges: needs {words}")
    assert not any(line.startswith("pass") for line in lines)


def as_it_is(file: dict[str, Any]) -> None:
    return


def wrong_value(file: dict[str, Any]) -> None:
    file["cases"][0]["lookups"][0]["expect"]["open_open"] = 1


@pytest.mark.parametrize(("change", "code"), [(as_it_is, 0), (unknown_kind, 2), (wrong_value, 1)])
def test_oracle_conformance_exit_code_tells_findings_from_differences(
    file, change, code, tmp_path, capsys
):
    change(file)
    path = tmp_path / "cases.json"
    path.write_bytes(orjson.dumps(file))
    assert run.main([str(path)]) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 cases: ")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (None, None, True),
        (None, 0, False),
        (0, None, False),
        (True, 1, False),
        (1, 1.0, True),
        (2**62, 2**62 + 1, False),
        ([1, None], (1, None), True),
        ([1], [1, 2], False),
        ("1", 1, False),
    ],
)
def test_oracle_conformance_values_are_the_same_only_where_they_are(one, other, is_same):
    assert same(one, other, 1e-9, 0.0) == is_same
