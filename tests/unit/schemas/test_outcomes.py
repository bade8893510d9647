from __future__ import annotations

from tegula.schemas.outcomes import Outcome, RecordCode, Status


def test_numbers_of_outcomes_are_those_of_stored_counters():
    assert [one.name for one in sorted(Outcome)] == [
        "FOLDED",
        "FILTERED",
        "DUPLICATE",
        "EXPIRED",
        "DEAD_LETTERED",
    ]
    assert [one.value for one in Outcome] == [0, 1, 2, 3, 4]


def test_numbers_of_statuses_are_those_of_stored_columns():
    assert {one.value: one.name for one in Status} == {
        0: "PRESENT",
        1: "EMPTY",
        2: "NOT_FOUND",
        3: "STALE",
        4: "COARSE",
        5: "OVERFLOW",
        6: "ERROR",
        7: "NO_ZONE",
        8: "BEFORE_HISTORY",
    }


def test_every_record_code_has_a_meaning():
    assert all(code.meaning for code in RecordCode)
    assert len({code.meaning for code in RecordCode}) == len(RecordCode)
