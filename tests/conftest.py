"""What every test can ask for by name, and how the run's randomness is chosen and told.

One seed a run: it starts Hypothesis and every generator that a test makes from `seed`. It stands
in the report's header, and `--hypothesis-seed=N` runs the same again.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.mutants import mutants
from tests.mutants.breaches import BREACHES
from tests.simulation.told import lines
from tests.support.oracles import oracle

pytest_plugins = (
    "tests.services.kafka",
    "tests.services.postgres",
    "tests.services.redis",
    "tests.services.s3",
)

if MUTANT := os.environ.get("TEGULA_MUTANT"):
    # Before any test imports what the mutant changes (see tests/mutants).
    mutants()[MUTANT]()

if BREACH := os.environ.get("TEGULA_BREACH"):
    BREACHES[BREACH].apply()

# Images for containers set it; hundreds of processes that tests start would each compile Tegula.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Drawing is slow on a busy machine; a deadline would measure that machine.
_COMMON = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": (HealthCheck.too_slow,),
}
settings.register_profile("short", max_examples=25, **_COMMON)
settings.register_profile("deep", max_examples=1_000, **_COMMON)


ROOT = Path(__file__).parent.parent
SERVICES = {"redis_server", "redis_cluster", "own_redis", "postgres", "postgres_url"}


class RootIsNoTestPackage:
    """Keeps pytest from importing the root's `__init__.py` under the name of the checkout's folder.

    That would be a second copy of `tegula`, or no module at all where the folder is `tegula-main`.
    """

    @pytest.hookimpl
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Dir | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # A conftest's own hooks see its folder only; what it registers sees every folder.
    config.pluginmanager.register(RootIsNoTestPackage())
    # Workers of a distributed run begin with the environment of the run that starts them, so: one
    # seed, also for the names of tests, which must be the same in all of them.
    if config.option.hypothesis_seed is None:
        drawn = os.environ.setdefault("PYTEST_RUN_SEED", str(secrets.randbelow(2**32)))
        config.option.hypothesis_seed = drawn
    if config.option.hypothesis_profile is None:
        settings.load_profile("short")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Distributed runs (`--dist loadgroup`): what is started once a run is dear, so all tests of the
    # broker go to one worker; others go by file, whose fixtures they share. Pages of documentation
    # share nothing, and one after the other they would be what all others wait for.
    for item in items:
        alone = "test_docs_page_runs" in item.nodeid
        given = str(getattr(getattr(item, "callspec", None), "id", ""))
        asks_for_kafka = "kafka" in getattr(item, "fixturenames", ()) or "kafka" in given
        group = "kafka" if asks_for_kafka else item.nodeid if alone else item.nodeid.split("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
        if asks_for_kafka or SERVICES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.services)


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: --hypothesis-seed={config.option.hypothesis_seed}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for line in lines(terminalreporter.stats.get("passed", ())):
        terminalreporter.write_line(line)
    # Quiet runs have no header, and a failure without its seed may never come back.
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"to repeat: --hypothesis-seed={config.option.hypothesis_seed}")


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The run's seed, for a test's own generators: `numpy.random.default_rng(seed)`."""
    return int(pytestconfig.option.hypothesis_seed)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user's project, which is also the working directory; no settings leak into it."""
    for name in list(os.environ):
        if name.startswith("TEGULA_") and name != "TEGULA_SHARED":
            monkeypatch.delenv(name)
    folder = tmp_path / "project"
    (folder / "features").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool], float], None]:
    """`eventually(condition, seconds)`: wait until it holds, or fail; never a sleep for luck."""
    pause = threading.Event()

    def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"did not hold within {seconds} s"
            pause.wait(0.01)

    return wait


@pytest.fixture(scope="session")
def oracles() -> Path:
    """The folder of real data with expected values; `TEGULA_SHARED` says where else it lies."""
    return oracle("")
