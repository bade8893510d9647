from __future__ import annotations

import pickle
import re

import pytest

from tegula.schemas import errors
from tegula.schemas.errors import PortInUse, TegulaError, UnknownColumn


def tree(cls: type[TegulaError] = TegulaError) -> list[type[TegulaError]]:
    return [cls, *(below for child in cls.__subclasses__() for below in tree(child))]


def test_every_error_has_a_code_of_its_own():
    codes = [cls.code for cls in tree()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"TG-\d{3}", code) for code in codes)


def test_all_codes_lists_every_error_and_every_record_code():
    listed = errors.all_codes()
    assert {cls.code for cls in tree()} | {str(code) for code in errors.RecordCode} == set(listed)
    assert all(listed.values())


def test_every_error_is_exported_from_the_one_module():
    assert {cls.__name__ for cls in tree()} <= set(errors.__all__)


def test_error_reads_place_sentence_facts_and_hint_in_one_grammar():
    error = UnknownColumn("no column", where="view 'v'", got="'a'", expected="b", hint="use b")
    assert str(error) == "TG-103 at view 'v': no column. Got 'a', expected b. Hint: use b."


def test_error_leaves_out_what_is_empty():
    assert str(UnknownColumn("no column")) == "TG-103: no column."
    assert str(UnknownColumn("no column", expected="b")) == "TG-103: no column. Expected b."


def test_error_has_the_same_fields_over_http():
    assert PortInUse(host="127.0.0.1", port=80).as_dict() == {
        "code": "TG-602",
        "message": "the port 80 is in use",
        "where": "127.0.0.1:80",
        "got": "",
        "expected": "",
        "hint": "stop what listens there, or choose another with `--port`",
        "retryable": False,
    }


def test_error_crosses_processes_whole():
    error = PortInUse(host="127.0.0.1", port=80)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is PortInUse
    assert (str(again), again.args) == (str(error), error.args)


def test_placing_an_error_leaves_the_first_as_it_was():
    error = UnknownColumn("no column")
    placed = error.at("view 'v'")
    assert (error.where, placed.where, type(placed)) == ("", "view 'v'", UnknownColumn)


def test_report_names_every_fault_in_text_and_fields():
    report = errors.DefinitionErrors([UnknownColumn("a"), UnknownColumn("b")])
    assert str(report).splitlines()[1:] == ["  TG-103: a.", "  TG-103: b."]
    assert [fault["message"] for fault in report.as_dict()["faults"]] == ["a", "b"]


@pytest.mark.parametrize(("count", "text"), [(0, ""), (1, "n0"), (3, "one of n0, n1, n2")])
def test_list_of_right_names_is_short(count, text):
    assert errors.one_of([f"n{i}" for i in range(count)]) == text


def test_list_of_many_right_names_says_how_many_more():
    assert errors.one_of([f"n{i}" for i in range(10)]).endswith("n7 and 2 more")
