"""The import contracts of pyproject.toml hold, and each would notice what it forbids.

One process a contract set: import-linter reads the tree once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"][
    "packages"
]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter in `folder`: a package `tegula` there comes before the installed one."""
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [command, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def hollow(tmp_path: Path) -> Path:
    """The contracts and the package's modules, with nothing in them."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in PACKAGES:
        folder = Path(*name.split(".")[1:])
        target = tmp_path / "tegula" / folder
        target.mkdir(parents=True)
        for module in (ROOT / folder).glob("*.py"):
            (target / module.name).write_text('"""Nothing but its place in the tree."""\n')
    return tmp_path


def test_imports_keep_the_layers():
    run = lint_imports(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("schemas/types.py", "from ..windows import ladder", "Layers"),
        ("windows/ladder.py", "from ..state import keys", "Layers"),
        ("windows/ladder.py", "import time", "pure"),
        ("windows/ladder.py", "import random", "pure"),
        ("state/keys.py", "from .. import connectors", "Layers"),
        ("connectors/source.py", "from ..state import keys", "Layers"),
        ("connectors/source.py", "import lmdb", "Stores"),
        ("engine/__init__.py", "import rocksdict", "Stores"),
        ("state/keys.py", "import confluent_kafka", "Kafka"),
        ("engine/__init__.py", "import bytewax.dataflow", "Bytewax"),
        ("serving/__init__.py", "from ..engine.runtime import clock", "never runs a dataflow"),
        ("serving/__init__.py", "from .. import backfill", "Layers"),
    ],
)
def test_imports_contract_notices_a_breach(hollow, module, line, contract):
    (hollow / "tegula" / module).write_text(f'"""One breach."""\n{line}\n')
    run = lint_imports(hollow)
    assert run.returncode == 1, run.stdout + run.stderr
    broken = [one for one in run.stdout.splitlines() if one.endswith("BROKEN")]
    assert any(contract in one for one in broken), run.stdout


def test_imports_of_a_hollow_tree_break_nothing(hollow):
    run = lint_imports(hollow)
    assert run.returncode == 0, run.stdout + run.stderr
