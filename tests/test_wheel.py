"""The wheel: it claims `tegula` only, holds the whole tree, and works where no checkout is.

Built from a copy in a folder of another name, without the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
FOLDERS = [Path(*name.split(".")[1:]) for name in PACKAGES]

pytestmark = pytest.mark.slow


def run(*argv: str | Path, cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TEGULA_"))}
    done = subprocess.run(
        argv, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = tmp_path_factory.mktemp("any name 2.0") / "a checkout.d"
    shutil.copytree(
        ROOT,
        checkout,
        ignore=lambda _, names: {
            n for n in names if n[0] == "." or n in {"build", "dist", "tests", "__pycache__"}
        },
        symlinks=True,
    )
    out = checkout.parent / "out"
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, checkout),
        cwd=checkout.parent,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of a fresh environment: the wheel is installed, its dependencies are borrowed from
    ours by path (path files inside a borrowed folder are not read, so our checkout is not)."""
    home = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    site = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home
    ).strip()
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(site, "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return home / "bin"


def test_packages_list_names_every_package_of_the_tree():
    found = {
        ".".join(("tegula", *path.parent.relative_to(ROOT).parts))
        for top in FOLDERS
        for path in (ROOT / top).glob("__init__.py" if top == Path() else "**/__init__.py")
    }
    assert sorted(found) == sorted(PACKAGES)
    assert sorted(PACKAGES) == PACKAGES


def test_wheel_claims_tegula_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert tops == {"tegula", f"tegula-{PROJECT['project']['version']}.dist-info"}


def test_wheel_holds_every_module_and_its_marker_of_types(wheel):
    sources = {
        f"tegula/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).glob("*.py")
    }
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert sources - held == set()
    assert "tegula/py.typed" in held
    assert {name for name in held if name.endswith(".py")} == sources


def test_wheel_imports_whole_where_no_checkout_is(elsewhere, tmp_path):
    script = (
        "import importlib, pkgutil, tegula\n"
        "for m in pkgutil.walk_packages(tegula.__path__, 'tegula.'):\n"
        "    if not m.name.endswith('__main__'): importlib.import_module(m.name)\n"
        "print(tegula.__file__)"
    )
    where = run(elsewhere / "python", "-c", script, cwd=tmp_path).splitlines()[-1]
    assert Path(where).is_relative_to(elsewhere.parent)


def test_wheel_brings_the_command(elsewhere, tmp_path):
    assert "Usage" in run(elsewhere / "tegula", "--help", cwd=tmp_path)
