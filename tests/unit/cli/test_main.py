"""The edge of the program: how errors read and which exit code they have."""

from __future__ import annotations

import orjson
import pytest
import typer

from tegula.cli import main as entry
from tegula.cli.main import app
from tegula.schemas.errors import (
    BadRequest,
    FingerprintMismatch,
    PortInUse,
    ProjectMissing,
    StateHeld,
    TegulaError,
)

COMMANDS = typer.main.get_command(app).commands


@pytest.fixture
def failing(monkeypatch):
    """Makes `tegula status` fail with what it is given."""

    def fail(fault):
        def status(*_):
            raise fault

        monkeypatch.setattr("tegula.cli.status.status", status)

    return fail


def test_main_prints_an_error_as_one_block_without_a_traceback(tegula, failing):
    failing(StateHeld(directory="/srv/shop/.tegula", holder="process 7"))
    ran = tegula("status")
    assert ran.code == 3
    assert ran.out == ""
    assert ran.err == (
        "TG-501 at /srv/shop/.tegula: another engine holds this directory.\n"
        "  got       held by process 7\n"
        "  hint      stop the other engine, or give this one a directory of its own\n"
    )


def test_main_shows_the_traceback_when_debug_stands_anywhere(tegula, failing):
    failing(PortInUse(host="127.0.0.1", port=6180))
    assert "Traceback" in tegula("status", "--debug").err
    assert "Traceback" in tegula("--debug", "status").err
    assert "Traceback" not in tegula("status").err


def test_main_writes_errors_as_json_beside_the_data_when_json_is_asked_for(tegula, failing):
    failing(BadRequest("no", where="here", hint="so"))
    ran = tegula("status", "--json")
    assert ran.out == ""
    assert orjson.loads(ran.err)["error"]["code"] == "TG-401"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (BadRequest("no"), 1),
        (FingerprintMismatch(view="v", got="a", expected="b"), 1),
        (ProjectMissing(directory="/"), 2),
        (PortInUse(host="h", port=1), 3),
        (StateHeld(directory="/"), 3),
        (TegulaError("the server could not answer"), 4),
        (ZeroDivisionError("oops"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_main_ends_with_the_code_of_the_fault(tegula, failing, fault, code):
    failing(fault)
    assert tegula("status").code == code


def test_main_says_that_a_fault_is_its_own_when_it_is(tegula, failing):
    failing(ZeroDivisionError("oops"))
    err = tegula("status").err
    assert "TG-000: a fault of Tegula itself: ZeroDivisionError('oops')" in err
    assert "--debug" in err


@pytest.mark.parametrize("words", [["no-such-verb"], ["status", "--no-such-option"], ["push"]])
def test_main_ends_with_2_when_the_command_line_is_wrong(tegula, words):
    assert tegula(*words).code == 2


def test_main_ends_with_2_outside_of_a_project(tegula, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = tegula("check")
    assert ran.code == 2
    assert "tegula init" in ran.err


@pytest.mark.parametrize("verb", COMMANDS)
def test_verb_has_help_with_an_example(tegula, verb):
    ran = tegula(verb, "--help")
    assert ran.code == 0
    assert "Example:" in ran.out


PRINTS_DATA = set(COMMANDS) - {"dev", "run", "serve"}


@pytest.mark.parametrize("verb", sorted(PRINTS_DATA))
def test_verb_that_prints_data_prints_it_as_json_too(verb):
    options = [name for parameter in COMMANDS[verb].params for name in parameter.opts]
    assert "--json" in options


def test_main_leaves_a_text_in_brackets_as_it_is(tegula, failing):
    failing(BadRequest("see [bold]this[/bold]"))
    assert "[bold]this[/bold]" in tegula("status").err


def test_main_takes_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tegula", "--help"])
    assert entry.main() == 0
    assert "Exit codes" in capsys.readouterr().out
