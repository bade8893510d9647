"""`tegula state verify` and `tegula rebuild`: what they print, and which keys words name."""

from __future__ import annotations

import orjson
import pytest

import tegula as tg
from tegula.cli.key_words import key_columns, keys_for
from tegula.cli.project import load_definitions
from tegula.engine.plan import compile_view
from tegula.schemas.errors import BadRequest, WrongKeyType
from tegula.state.keys import encode_key
from tests.support.verifying import SALES, SPEND

AT = "2024-05-01T12:00:00Z"
BUILDS = [compile_view(SPEND, 1), compile_view(SALES, 2)]


@pytest.fixture
def lived(project):
    """A project with one event, and no engine."""
    with tg.TestDriver(load_definitions(project), at=AT, home=project) as driver:
        event = {"card_id": "c1", "merchant": "m", "amount": 2.0, "at": "2024-05-01T11:59:00Z"}
        driver.send("payments", event)
        driver.settle()
    return project


def test_verify_prints_a_line_a_check_and_that_all_is_clean(lived, tegula):
    ran = tegula("state", "verify", "-p", lived, "--seed", "9")
    assert ran.code == 0
    for check in ("checksums", "rows", "positions", "counters", "online store", "values"):
        assert check in ran.out
    assert "seed 9" in ran.out
    assert ran.out.rstrip().endswith("Clean.")


def test_verify_without_values_reads_no_events(lived, tegula):
    ran = tegula("state", "verify", "-p", lived, "--sample", "0", "--json")
    assert [one["check"] for one in orjson.loads(ran.out)["checks"]][-1] == "online store"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("state", "mend"), 1, "TG-401"),
        (("state", "verify", "--view", "nothing"), 1, "there is no feature view"),
        (("state", "verify", "--key", "shop=x"), 1, "this names no key"),
        (("rebuild", "--view", "spend", "--keys", "no/file"), 1, "cannot be read"),
        (("rebuild", "--view", "spend"), 2, "--keys"),
        (("rebuild", "--keys", "card_id=c1"), 2, "--view"),
    ],
)
def test_words_that_ask_for_nothing_say_what_to_ask_for(lived, tegula, words, code, said):
    ran = tegula(*words, "-p", lived)
    assert ran.code == code
    assert said in ran.err


def test_rebuild_says_what_it_did(lived, tegula):
    ran = tegula("rebuild", "--view", "spend", "--keys", "card_id=c1,c2", "-p", lived)
    assert ran.code == 0
    assert "1 key made anew from 1 records; of 1 key no event counts" in ran.out
    assert tegula("state", "verify", "--key", "card_id=c1,c2", "-p", lived).code == 0


def test_home_without_a_state_says_so(project, tegula):
    assert tegula("apply", "-p", project).code == 0
    assert "there is no state yet" in tegula("state", "verify", "-p", project).err


def test_words_name_keys_of_the_entities_with_these_columns(tmp_path):
    card, shop = (encode_key(("c1",), ("string",)), encode_key(("x", True), ("string", "bool")))
    assert keys_for(BUILDS, ["card_id=c1"]) == {1: [card]}
    assert keys_for(BUILDS, ["shop=x", "big=true"]) == {2: [shop]}
    file = tmp_path / "keys"
    file.write_text('{"shop": "x", "big": true}\n\n{"shop": "x", "big": null}\n')
    assert keys_for(BUILDS, ["card_id=c1", str(file)]) == {1: [card], 2: [shop]}


@pytest.mark.parametrize(
    ("text", "fault"),
    [("no json", BadRequest), ('{"card_id": "a"}\n{"id": 1}', BadRequest), ("", BadRequest),
     ('{"card_id": 7}', WrongKeyType), ("[1]", BadRequest)],
)  # fmt: skip
def test_file_without_keys_is_refused(tmp_path, text, fault):
    (tmp_path / "keys").write_text(text)
    with pytest.raises(fault):
        keys_for(BUILDS, [str(tmp_path / "keys")])


def test_columns_of_other_lengths_are_refused():
    assert key_columns(["a=1,2", "b=7"], {"b": "int"}) == {"a": ["1", "2"], "b": [7, 7]}
    with pytest.raises(BadRequest, match="another number of values"):
        keys_for(BUILDS, ["shop=x,y", "big=true,false,true"])
