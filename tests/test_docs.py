"""The documents keep up with the tree: links, titles, commands, dependencies, pinned versions."""

from __future__ import annotations

import os
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.services import kafka

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TEXT = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".xml", ".json", ".ipynb", ".sh", ""}
# Written in pieces, so that this file is no finding of its own.
MACHINE_PATH = re.compile(
    r"(?<![\w.\-/~])/(?:" + "|".join(("work", "farm", "root", "home", "Users")) + r")/\w"
)
REGISTRY = re.compile(
    "|".join(
        re.escape(".".join(host))
        for host in (
            ("files", "pythonhosted", "org"),
            ("pypi", "org/simple"),
            ("registry", "npmjs", "org"),
            ("repo1", "maven", "org"),
            ("repo", "maven", "apache", "org"),
            ("proxy", "golang", "org"),
        )
    )
    + "|index[-]url|trusted[-]host"
)
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")


@cache
def texts() -> dict[str, str]:
    """Every text file of the project, by path."""
    found = {}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(
            f for f in folders if (f[0] != "." or f == ".ci") and f not in {"build", "dist"}
        )
        for path in (Path(folder, name) for name in sorted(files)):
            if path.suffix in TEXT and not path.is_symlink() and path.name != ".git":
                found[path.relative_to(ROOT).as_posix()] = path.read_text("utf-8", "replace")
    return found


def documents() -> dict[str, str]:
    return {path: text for path, text in texts().items() if path.endswith(".md")}


def prose(text: str) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What the headings of a document are called in links to them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def faults(pattern: re.Pattern[str], among: dict[str, str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path, text in among.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_documents_have_one_title_and_it_comes_first():
    wrong = [
        path
        for path, text in documents().items()
        if not text.startswith("# ")
        or len(re.findall(r"^# ", prose(text), flags=re.MULTILINE)) != 1
    ]
    assert not wrong


def test_documents_links_resolve():
    broken = []
    for path, text in documents().items():
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, place = target.partition("#")
            file = (ROOT / path).parent / name if name else ROOT / path
            if not file.exists() or (place and place not in anchors(file.read_text("utf-8"))):
                broken.append(f"{path}: {target}")
    assert not broken


def test_documents_name_targets_of_make_that_exist():
    targets = set(re.findall(r"^([a-z]+):", texts()["Makefile"], re.MULTILINE))
    for path, text in documents().items():
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
        assert named <= targets, path


def test_documents_name_every_decision():
    pages = {p.name for p in (ROOT / "docs/adr").glob("0*.md")}
    assert set(re.findall(r"\((0\d+-[\w-]+\.md)\)", texts()["docs/adr/README.md"])) == pages


def test_documents_python_blocks_parse():
    for path, text in documents().items():
        for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            compile(block, path, "exec")


def test_readme_python_runs_as_written():
    namespace: dict[str, object] = {}
    for block in re.findall(
        r"^```python\n(.*?)^```", texts()["README.md"], re.DOTALL | re.MULTILINE
    ):
        exec(compile(block, "README.md", "exec"), namespace)
    assert {"fraud", "driver"} <= namespace.keys()


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", one)[0] for one in requirements}


@pytest.mark.parametrize(
    ("heading", "requirements"),
    [
        ("To run", PROJECT["dependencies"]),
        ("For the demo", PROJECT["optional-dependencies"]["demo"]),
        ("For imports by SQL", PROJECT["optional-dependencies"]["sql"]),
        ("For the laws", PROJECT["optional-dependencies"]["testing"]),
        ("To build and test", PROJECT["optional-dependencies"]["dev"]),
    ],
)
def test_documents_explain_every_dependency(heading, requirements):
    page = texts()["docs/dependencies.md"]
    section = page.split(f"\n## {heading}")[1].split("\n## ")[0]
    rows = [
        row for row in re.findall(r"^\| ([\w-]+) \|", section, re.MULTILINE) if row != "library"
    ]
    assert set(rows) == names(requirements)
    assert rows == sorted(rows)


def test_constraints_hold_an_exact_version_of_every_dependency():
    lines = [x for x in texts()["constraints.txt"].splitlines() if x and x[0] != "#"]
    assert [x for x in lines if not re.fullmatch(r"[\w.\-]+==[\w.+!]+", x)] == []
    pinned = {re.sub(r"[-_.]+", "-", x.split("==")[0].lower()) for x in lines}
    wanted = names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted |= names(extra)
    assert wanted <= pinned


def test_compose_runs_the_broker_that_tests_run():
    assert f"image: apache/kafka:{kafka.VERSION}\n" in texts()["docker-compose.kafka.yml"]


def test_files_name_no_path_of_a_machine():
    assert not faults(MACHINE_PATH, texts())


def test_files_name_no_package_registry():
    assert not faults(REGISTRY, texts())


def test_documents_are_finished():
    assert not faults(UNFINISHED, {p: t for p, t in texts().items() if not p.endswith(".py")})


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (MACHINE_PATH, "see /" + "home/me/notes"),
        (MACHINE_PATH, "run '/" + "work/main/x'"),
        (REGISTRY, "https://repo1." + "maven.org/maven2"),
        (REGISTRY, "--extra-index" + "-url=x"),
        (UNFINISHED, "TO" + "DO: later"),
    ],
)
def test_files_patterns_catch_what_they_are_for(pattern, line):
    assert faults(pattern, {"a": line})


@pytest.mark.parametrize(
    "line", ["docs/" + "work/plan.md", "~/" + "work/x", "~/.cache/tegula", "/v1/" + "home/x"]
)
def test_files_patterns_let_pass_what_is_no_path_of_a_machine(line):
    assert not faults(MACHINE_PATH, {"a": line})
