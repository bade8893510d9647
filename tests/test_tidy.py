"""The rules of the house that the linter does not know (it keeps columns and imports sorted).

Each rule is a function from one parsed file to the faults in it; `RULES` lists them, one test runs
each over the whole tree, and the last tests show that each rule catches what it is for.

`ALLOWED` starts empty and may only shrink: an entry that nothing needs any more fails too.
"""

from __future__ import annotations

import ast
import builtins
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    "schemas", "windows", "state", "connectors", "engine", "serving", "backfill", "cli", "testing",
)  # fmt: skip
LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# (rule, path): exceptions that were agreed on.
ALLOWED: frozenset[tuple[str, str]] = frozenset()

# What may not be called or imported, where it may all the same (prefixes), and what to do instead.
CLOCK = ("engine/runtime/clock.py", "tests/integration/", "tests/services/", "benchmarks/")
WAITING = (*CLOCK, "connectors/", "engine/runtime/", "cli/", "testing/", "tests/", "benchmarks/")
WALL = "take `now_us: Callable[[], int]` as an argument; engine/runtime/clock.py makes it"
SEED = "make a generator from a seed that is printed: random.Random(seed), default_rng(seed)"
BANNED: dict[str, tuple[tuple[str, ...], str]] = {
    "time.time": (CLOCK, WALL),
    "time.time_ns": (CLOCK, WALL),
    "datetime.datetime.now": (CLOCK, WALL),
    "datetime.datetime.utcnow": ((), WALL),
    "datetime.datetime.today": ((), WALL),
    "datetime.date.today": ((), WALL),
    "time.monotonic": (WAITING, "only a wait with a deadline needs it; durations: perf_counter"),
    "time.sleep": (
        ("benchmarks/",),
        "wait for what you wait for: Event.wait(seconds), a poll with a timeout",
    ),
    "pickle": (("tests/",), "write a documented format (docs/formats): pickle runs what it reads"),
    "marshal": ((), "write a documented format (docs/formats)"),
    "print": (("cli/", "benchmarks/", "examples/"), "log, return the text, or do it in cli"),
    "random.": ((), SEED),
    "numpy.random.": ((), SEED),
    "pyarrow.json.read_json": ((), "read with Polars: pyarrow's reader dies on a line `null`"),
    "os.system": ((), "subprocess.run with a list of arguments"),
}
MAKERS = {"random.Random", "numpy.random.default_rng", "numpy.random.Generator"}
# Names for new things (a trace, a log) must differ, not repeat; windows are pure by contract.
IDENTITIES = {"random.getrandbits"}
BARE = {"ValueError", "Exception", "BaseException", "RuntimeError", "NotImplementedError"}
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")


@dataclass(frozen=True)
class Source:
    """One Python file: where it is, what it says, and its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def is_ours(self) -> bool:
        """Part of the package, not a test, benchmark or example."""
        return "/" not in self.path or self.path.split("/")[0] in LAYERS

    @property
    def module(self) -> tuple[str, ...]:
        """`windows/tiles.py` is `("windows", "tiles")`; the root `__init__.py` is `()`."""
        parts = self.path.removesuffix(".py").split("/")
        return tuple(parts[:-1] if parts[-1] == "__init__" else parts)


def source(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text))


@cache
def tree() -> tuple[Source, ...]:
    """Every Python file of the project, by path."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if f[0] != "." and f not in {"build", "dist"})
        for name in sorted(files):
            if name.endswith(".py"):
                path = Path(folder, name)
                found.append(source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")))
    return tuple(found)


def sizes(file: Source) -> Iterator[str]:
    lines = file.text.splitlines()
    if len(lines) > LINES_MAX:
        yield f"{len(lines)} lines: past {LINES_MAX} it is two modules"
    for node in ast.walk(file.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            if length > FUNCTION_LINES_MAX:
                yield (
                    f"{node.lineno}: {node.name} has {length} lines beside its docstring, "
                    f"at most {FUNCTION_LINES_MAX}"
                )


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """A long docstring is no fault: it does not make a function longer."""
    first = node.body[0]
    if ast.get_docstring(node) is None or first.end_lineno is None:
        return 0
    return first.end_lineno - first.lineno + 1


def aliases(tree: ast.Module) -> dict[str, str]:
    """Local name -> the dotted name it was imported as, wherever in the file."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for a in node.names:
                names[a.asname or a.name.split(".")[0]] = (
                    a.name if a.asname else a.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """`t.time` under `import time as t` is `time.time`; None for what was not imported."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id if hasattr(builtins, node.id) else None)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, names)
        return f"{before}.{node.attr}" if before else None
    return None


def banned(file: Source) -> Iterator[str]:
    names = aliases(file.tree)
    calls = {id(node.func): node for node in ast.walk(file.tree) if isinstance(node, ast.Call)}
    hits = {}
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        name = dotted(node, names)
        if name is None or (name in MAKERS and _is_seeded(calls.get(id(node)))):
            continue
        if name in IDENTITIES and file.is_ours:
            continue
        for ban, (where, instead) in BANNED.items():
            hit = f"{name}.".startswith(ban if ban.endswith(".") else f"{ban}.")
            if hit and f"{name}." != ban and not file.path.startswith(where):
                hits[node.lineno, ban] = f"{node.lineno}: {name}: {instead}"
    yield from hits.values()


def _is_seeded(call: ast.Call | None) -> bool:
    """Made from an argument; a maker that is only named (a type, a reference) makes nothing."""
    return call is None or bool(call.args or call.keywords)


def bare_errors(file: Source) -> Iterator[str]:
    if not file.is_ours:
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(raised, ast.Name) and raised.id in BARE:
                yield f"{node.lineno}: raise {raised.id}: take a class of schemas/errors"


def unfinished(file: Source) -> Iterator[str]:
    for number, line in enumerate(file.text.splitlines(), 1):
        if UNFINISHED.search(line):
            yield f"{number}: do it, or say in an issue that it is to be done"


def own_imports(file: Source) -> Iterator[str]:
    """Sources import each other relatively, so that the folder's name never matters."""
    if not file.is_ours:
        return
    for node in ast.walk(file.tree):
        named = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            named = [node.module or ""]
        for name in named:
            if name.split(".")[0] == "tegula":
                yield f"{node.lineno}: import {name}: inside the package, import relatively"


def docstrings(file: Source) -> Iterator[str]:
    """Public modules, classes and functions say what they are for. A method may leave it to the
    protocol that it keeps, and one that only returns an expression to its name."""
    if not file.is_ours:
        return
    if not ast.get_docstring(file.tree):
        yield "1: the module says nothing about itself"
    for node in file.tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{node.lineno}: {node.name} has no docstring"
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and _owes(method):
                yield f"{method.lineno}: {node.name}.{method.name} has no docstring"


def _owes(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    if method.name.startswith("_") or ast.get_docstring(method):
        return False
    return method.name not in documented() and not isinstance(method.body[0], ast.Return)


@cache
def documented() -> frozenset[str]:
    """Names of methods that some class of the package documents."""
    return frozenset(
        method.name
        for file in tree()
        if file.is_ours
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(method)
    )


def dead(file: Source) -> Iterator[str]:
    """A module that no module of the package imports (tests do not count) is dead."""
    is_entry = file.path.endswith(("__init__.py", "__main__.py")) or file.path == "cli/main.py"
    if file.is_ours and not is_entry and file.module not in imported():
        yield "1: no module imports it"


@cache
def imported() -> frozenset[tuple[str, ...]]:
    """Modules of the package that its modules import, or name in a string ("tegula.a.b:C")."""
    found: set[tuple[str, ...]] = set()
    for file in tree():
        if not file.is_ours:
            continue
        package = file.module if file.path.endswith("__init__.py") else file.module[:-1]
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1]
                base += tuple(node.module.split(".")) if node.module else ()
                found |= {base, *((*base, a.name) for a in node.names)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value.split(":")[0].removeprefix("tegula")
                if name.startswith(".") and not name.startswith(".."):
                    found.add(tuple(name[1:].split(".")))
    return frozenset(found)


RULES: dict[str, Callable[[Source], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (sizes, banned, bare_errors, unfinished, own_imports, docstrings, dead)
}


@pytest.mark.parametrize("rule", RULES)
def test_tidy_tree_keeps_the_rule(rule):
    faults = {file.path: list(RULES[rule](file)) for file in tree()}
    report = [f"{p}:{f}" for p, fs in faults.items() if (rule, p) not in ALLOWED for f in fs]
    assert not report, "\n" + "\n".join(report)
    stale = [path for name, path in ALLOWED if name == rule and not faults.get(path)]
    assert not stale, f"no longer needed in ALLOWED: {stale}"


def test_tidy_folders_at_the_top_are_known():
    known = {*LAYERS, "tests", "benchmarks", "examples", "docs", "deploy", "build", "dist"}
    found = {p.name for p in ROOT.iterdir() if p.is_dir() and p.name[0] not in "._"}
    assert {f for f in found if not f.endswith(".egg-info")} <= known


LONG = "def f():\n" + "    a = 1\n" * FUNCTION_LINES_MAX


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        ("sizes", "windows/a.py", "a = 1\n" * (LINES_MAX + 1)),
        ("sizes", "windows/a.py", LONG),
        ("banned", "windows/a.py", "import time as t\nt.time()"),
        ("banned", "state/a.py", "from time import time_ns as now\nnow()"),
        ("banned", "state/a.py", "from datetime import datetime\ndatetime.now()"),
        ("banned", "state/a.py", "import datetime as dt\ndt.datetime.now(dt.UTC)"),
        ("banned", "state/a.py", "f = print"),
        ("banned", "state/a.py", "import pickle\npickle.dumps(1)"),
        ("banned", "tests/a.py", "import random\nrandom.random()"),
        ("banned", "tests/a.py", "import random\nrandom.Random()"),
        ("banned", "tests/a.py", "import numpy as np\nnp.random.default_rng()"),
        ("banned", "tests/a.py", "import numpy as np\nnp.random.rand(3)"),
        ("bare_errors", "state/a.py", "raise ValueError('no')"),
        ("bare_errors", "state/a.py", "raise NotImplementedError"),
        ("unfinished", "tests/a.py", f"# {'TO' + 'DO'}: later"),
        ("own_imports", "state/a.py", "from tegula.windows import tiles"),
        (
            "docstrings",
            "state/a.py",
            "'''Doc.'''\nclass A:\n    '''Doc.'''\n    def zq(self): a = 1",
        ),
        ("docstrings", "state/a.py", "def f(): ..."),
        ("dead", "state/nobody_imports_this.py", "a = 1"),
    ],
)
def test_tidy_rule_catches_what_it_is_for(rule, path, text):
    assert list(RULES[rule](source(path, text)))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        ("sizes", "windows/a.py", LONG.replace("a = 1", "'''" + "\n" * 9 + "'''", 1)[:-10]),
        ("banned", "engine/runtime/clock.py", "import time\ntime.time_ns()"),
        ("banned", "connectors/a.py", "import time\ntime.monotonic()"),
        ("banned", "tests/a.py", "import random\nrandom.Random(7).random()"),
        ("banned", "tests/a.py", "import numpy as np\nnp.random.default_rng(seed)"),
        ("banned", "tests/a.py", "import numpy as np\nr: np.random.Generator"),
        ("banned", "state/a.py", "self.time.time()\nclock.now()"),
        ("banned", "state/a.py", "random = seeded(7)\nrandom.random()"),
        ("banned", "tests/a.py", "import numpy as np\nfrom random import Random"),
        ("bare_errors", "state/a.py", "try:\n    f()\nexcept ValueError:\n    raise"),
        ("docstrings", "state/a.py", "'''Doc.'''\nclass _A:\n    def f(self): a = 1"),
        ("dead", "cli/main.py", "a = 1"),
    ],
)
def test_tidy_rule_lets_pass_what_is_right(rule, path, text):
    assert not list(RULES[rule](source(path, text)))
