"""`tegula deadletter`: which records did not count, and once more."""

from __future__ import annotations

import orjson
import pytest

import tegula as tg
from tegula.cli.project import load_definitions

AT = "2024-05-01T12:00:00Z"
GOOD = b'{"card_id": "c1", "merchant": "m", "amount": 1.0, "at": "2024-05-01T11:59:00Z"}'
TEXT = b'{"card_id": "c1", "merchant": "m", "amount": "2.5", "at": "2024-05-01T11:59:00Z"}'
NO_UTF8 = b'{"card_id": "\xff", "at": "2024-05-01T11:59:00Z"}'
MEND = """
def amount(raw):
    return None if b"\\xff" in raw else raw.replace(b'"2.5"', b"2.5")

def breaks(raw):
    return raw[1_000]
"""


@pytest.fixture
def dead(project):
    """A project with two dead letters, at offsets 1 and 2."""
    (project / "features/_mend.py").write_text(MEND)
    with tg.TestDriver(load_definitions(project), at=AT, home=project) as driver:
        driver.send("payments", [GOOD, TEXT, NO_UTF8], partition="0")
        driver.settle()
    return project


def spent(project):
    with tg.TestDriver(load_definitions(project), at=AT, home=project) as driver:
        return driver.online("spend:spent_1h", {"card_id": "c1"})["spend:spent_1h"]


def test_deadletter_list_counts_them_by_stream_and_code(dead, tegula):
    counts = orjson.loads(tegula("deadletter", "list", "-p", dead, "--json").out)
    assert counts == {"payments": {"TG-202": 1, "TG-206": 1}}
    assert "TG-206" in tegula("deadletter", "list", "-p", dead).out


def test_deadletter_list_says_where_they_are_and_why(dead, tegula):
    ran = tegula("deadletter", "list", "payments", "--code", "TG-202", "-p", dead, "--json")
    (found,) = orjson.loads(ran.out)
    assert (found["partition"], found["offset"], found["logged"]) == ("0", 1, AT)
    assert "expected Float64" in found["reason"]
    assert found["raw"] == TEXT.decode()
    assert "expected Float64" in tegula("deadletter", "list", "payments", "-p", dead).out


def test_deadletter_show_prints_the_bytes_and_escapes_what_is_no_text(dead, tegula):
    ran = tegula("deadletter", "show", "payments", "0", "2", "-p", dead)
    assert ran.out.strip() == NO_UTF8.decode(errors="backslashreplace")
    assert "TG-206" in ran.err
    missing = tegula("deadletter", "show", "payments", "0", "0", "-p", dead)
    assert missing.code == 1
    assert "no dead letter lies there" in missing.err


def test_deadletter_redrive_counts_them_once_they_are_mended(dead, tegula):
    words = ("deadletter", "redrive", "payments", "--with", "features._mend:amount", "-p", dead)
    dry = tegula(*words, "--dry-run", "--json")
    assert orjson.loads(dry.out) == {"would_drive": 1}
    assert spent(dead) == 1.0
    done = tegula(*words, "--json")
    assert orjson.loads(done.out) == {"driven": 1, "before": 0, "left_out": 1}
    assert spent(dead) == 3.5
    again = tegula(*words)
    assert "Driven again: 0; before already: 1; left out: 1." in again.out
    assert spent(dead) == 3.5


def test_deadletter_redrive_of_some_offsets_leaves_the_others(dead, tegula):
    ran = tegula("deadletter", "redrive", "payments", "--from", "2", "--to", "2", "-p", dead)
    assert "Driven again: 1;" in ran.out
    assert "No engine runs" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lost",), "TG-401"),
        (("list", "payment"), "TG-404"),
        (("show", "payments", "0", "x"), "TG-401"),
        (("redrive", "payments", "--with", "amount"), "names no function"),
        (("redrive", "payments", "--with", "features._mend:other"), "no attribute 'other'"),
        (("redrive", "payments", "--with", "features._mend:breaks"), "IndexError"),
        (("redrive", "payments", "--expired", "spent"), "TG-514"),
        (("redrive", "payments", "--expired", "spend"), "allowed_lateness"),
    ],
)
def test_deadletter_tells_what_is_wrong_with_the_words(dead, tegula, words, said):
    ran = tegula("deadletter", *words, "-p", dead)
    assert ran.code == 1
    assert said in ran.err
