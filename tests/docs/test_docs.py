"""The documents run: each block as its reader would, and every name they use exists.

`runner` says what a fence may say. Pages of `docs/reference` are made by a script and have a test
of their own; `docs/adr` and `docs/formats` hold no programs.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import tegula
from tegula import agg
from tegula.cli.main import app as cli
from tegula.engine.settings import ENVIRONMENT_PREFIX, Settings, load_settings
from tegula.schemas.errors import all_codes
from tests.docs.runner import RUNNABLE, Block, Session, blocks_of, matches, transcript

ROOT = Path(__file__).parents[2]
APART = ("docs/reference/", "docs/adr/", "docs/formats/")
ILLUSTRATIONS = frozenset({"text", "json", "toml", "yaml", "ini", "mermaid"})
NOT_RUN_MAX = 3
"""Blocks that cannot run. It may only shrink: a program that is not run is a program that rots."""


def pages() -> dict[str, str]:
    """The documents for users, by path."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in found}
    return {path: text for path, text in texts.items() if not path.startswith(APART)}


PAGES = pages()
BLOCKS = {page: blocks_of(page, text) for page, text in PAGES.items()}
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def runs(block: Block) -> bool:
    return block.reason is None and (block.language in RUNNABLE or "file" in block.options)


def every_block() -> Iterator[Block]:
    for blocks in BLOCKS.values():
        yield from blocks


def _marked(page: str) -> Any:
    shell = any(block.language in ("sh", "console") for block in BLOCKS[page] if runs(block))
    services = "kafka" in page or "redis" in page
    marks = [pytest.mark.slow] * shell + [pytest.mark.services] * services
    return pytest.param(page, marks=marks)


@pytest.mark.parametrize(
    "page", [_marked(page) for page, blocks in BLOCKS.items() if any(map(runs, blocks))]
)
def test_docs_page_runs_as_it_is_written(page, tmp_path, request):
    replaced = {}
    if "kafka" in page:
        replaced["127.0.0.1:9092"] = request.getfixturevalue("kafka").bootstrap
    if "redis" in page:
        redis = request.getfixturevalue("own_redis")
        redis.start()
        replaced["127.0.0.1:6379"] = f"127.0.0.1:{redis.port}"
    session = Session(tmp_path, replaced)
    try:
        for block in filter(runs, BLOCKS[page]):
            session.run(block)
    finally:
        session.stop()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run_as_programs(name, tmp_path):
    session = Session(tmp_path, {})
    path = ROOT / "examples" / name
    session.run(Block(f"examples/{name}", 1, "sh", "", f"python {shlex.quote(str(path))}\n"))


def test_docs_blocks_are_of_a_known_kind():
    assert not [
        f"{block}: {block.language}"
        for block in every_block()
        if block.language not in RUNNABLE | ILLUSTRATIONS
    ]


def test_docs_blocks_that_cannot_run_say_why_and_are_few():
    reasons = {str(block): block.reason for block in every_block() if block.reason is not None}
    assert [place for place, reason in reasons.items() if len(reason.split()) < 3] == []
    assert len(reasons) <= NOT_RUN_MAX, sorted(reasons)


@cache
def verbs() -> dict[str, set[str]]:
    """The options of every verb, by its name."""
    group: Any = typer.main.get_command(cli)
    return {
        name: {option for one in command.params for option in one.opts} | {"--help", "--debug"}
        for name, command in group.commands.items()
    }


def code_of(text: str) -> str:
    """The code of a document: its blocks but for what they print, and what stands in backticks."""
    blocks = [
        "\n".join(line for line in block.text.splitlines() if block.language != "console"
                  or line.startswith(("$ ", "> ")))
        for block in blocks_of("", text)
        if block.language in ("sh", "console")
    ]  # fmt: skip
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", prose)])


@pytest.mark.parametrize("page", PAGES)
def test_docs_name_verbs_and_options_that_exist(page):
    for line in re.sub(r"\$\(date [^)]*\)", "", code_of(PAGES[page])).splitlines():
        for verb, rest in re.findall(r"(?:^|[\s(;&|])tegula ([a-z]+)\b([^|;&)]*)", line):
            assert verb in verbs(), f"tegula {verb}"
            named = re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", rest)
            assert set(named) <= verbs()[verb], f"tegula {verb} {rest}"


SETTINGS = frozenset(Settings.model_fields)
OTHER_VARIABLES = frozenset({"TEGULA_SHARED"})


@pytest.mark.parametrize("page", PAGES)
def test_docs_name_settings_that_exist(page, tmp_path):
    for name in re.findall(rf"\b{ENVIRONMENT_PREFIX}[A-Z_]*[A-Z]\b", PAGES[page]):
        known = name.removeprefix(ENVIRONMENT_PREFIX).lower() in SETTINGS
        assert known or name in OTHER_VARIABLES, name
    for block in BLOCKS[page]:
        if block.language == "toml":
            assert tomllib.loads(block.text)
            (tmp_path / "tegula.toml").write_text(block.text, "utf-8")
            load_settings(tmp_path)


@cache
def reference() -> str:
    return "\n".join(
        path.read_text("utf-8") for path in sorted((ROOT / "docs/reference").glob("*.md"))
    )


@pytest.mark.parametrize("page", PAGES)
def test_docs_name_codes_that_exist(page):
    assert set(re.findall(r"TG-\d+", PAGES[page])) <= set(all_codes())


@pytest.mark.parametrize("page", PAGES)
def test_docs_name_metrics_that_exist(page):
    known = set(re.findall(r"`(tegula_\w+)`", reference()))
    named = set(re.findall(r"\btegula_[a-z_]+\b", PAGES[page]))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} <= known


@pytest.mark.parametrize("page", PAGES)
def test_docs_name_public_names_that_exist(page):
    assert set(re.findall(r"\btg\.([A-Za-z]\w+)", PAGES[page])) <= set(tegula.__all__)
    assert set(re.findall(r"\bagg\.([a-z]\w+)", PAGES[page])) <= set(agg.__all__)


def test_docs_explain_every_verb_setting_code_and_public_name():
    text = reference()
    missing = [name for name in verbs() if f"## tegula {name}\n" not in text]
    missing += [name for name in SETTINGS - {"project"} if f"| `{name}` |" not in text]
    missing += [code for code in all_codes() if f'id="{code.lower()}"' not in text]
    missing += [name for name in tegula.__all__ if f"## tg.{name}\n" not in text]
    missing += [name for name in agg.SIGNATURES if f"## {name}\n" not in text]
    assert not missing


def test_docs_pictures_are_used_and_described():
    pictures = {path.name: path.read_text("utf-8") for path in (ROOT / "docs/pictures").iterdir()}
    used = set(
        re.findall(r"!\[[^\]]{40,}\]\((?:\.\./)?pictures/([\w-]+\.svg)\)", "".join(PAGES.values()))
    )
    assert used == set(pictures)
    for name, text in pictures.items():
        assert "<title>" in text, name
        assert "prefers-color-scheme: dark" in text, name


def test_docs_index_names_every_page():
    index = PAGES["docs/index.md"]
    linked = set(re.findall(r"\]\(([^)#]+)", index))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    missing = {page for page in pages if not page.startswith(("adr/", "formats/"))} - linked
    assert missing == {"index.md"}


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb", "a\n\n  b \n", True),
        ("a …", "a whatever", True),
        ("a …", "b", False),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\n…\nd", "a\nd", True),
        ("a\n…", "b", False),
        ("a  b", "a     b", True),
        ("1.5 (x)", "1x5 (x)", False),
        ("", "something", False),
        ("a", "Reading: 2 rows, 1/s\nWriting: 2 of 3 rows, 1/s, 1 s left\na", True),
    ],
)
def test_docs_runner_compares_what_is_printed(expected, printed, same):
    assert matches(expected, printed) is same


def test_docs_runner_reads_a_transcript():
    text = "$ one\n> more\nprinted\n\n$ two\n"
    assert list(transcript(text)) == [("one\nmore", "printed\n"), ("two", "")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```sh\nfalse\n```\n", "ended with 1"),
        ("```sh exit=3\ntrue\n```\n", "ended with 0, not 3"),
        ("```console\n$ echo a\nb\n```\n", "printed:\na"),
        ('```python\nassert 1 > 2, "one is not more"\n```\n', "one is not more"),
        ("```pycon\n>>> 1\n2\n```\n", "Got"),
        ('```sh background until="never"\ntrue\n```\n', "it ended"),
    ],
)
def test_docs_runner_notices_what_is_wrong(text, said, tmp_path):
    session = Session(tmp_path, {})
    (block,) = blocks_of("page.md", text)
    with pytest.raises(AssertionError, match=said):
        session.run(block)
    session.stop()


@pytest.mark.parametrize("name", ["plain", "with a space", 'it\'s "quoted"'])
def test_docs_runner_keeps_folder_variables_names_and_files(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    session = Session(folder, {"old": "new"})
    text = """\
```sh
mkdir a && cd a
export ONE=1
two() { echo 2; }
```
```python file=b/c.py
VALUE = "old"
```
```python
from pathlib import Path
value = Path("b/c.py").read_text()
```
```pycon
>>> value
'VALUE = "new"\\n'
```
```console
$ echo $ONE $(two) $(basename "$PWD")
1 2 a
```
```sh not-run: for this test
false
```
"""
    for block in filter(runs, blocks_of("page.md", text)):
        session.run(block)
    session.stop()
