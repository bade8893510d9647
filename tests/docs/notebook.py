"""Runs the example notebook in a kernel of its own, as a user's Jupyter would.

`python -m tests.docs.notebook` runs it and writes what its cells show into it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.docs.runner import DEFAULT_PORT, free_port

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
CELL_S = 300
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def environment(folder: Path, port: str) -> dict[str, str]:
    """What a kernel of the test finds: the commands, a port of its own, no files of the user's."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TEGULA_PORT": port,
        "TEGULA_SHARDS": "4",
        "COLUMNS": "100",
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        # Threads of a model that wait for each other by spinning take all of a busy machine.
        "OMP_NUM_THREADS": "1",
    }


def execute(notebook: NotebookNode, folder: Path, port: str) -> None:
    """Run all cells; raises what a cell raised. `os.environ` holds `environment`.

    Whatever the notebook started ends with it, also where a cell failed.
    """
    for cell in notebook.cells:
        cell.source = cell.source.replace(DEFAULT_PORT, port)
    groups: list[int] = []

    def started(**_: object) -> None:
        groups.append(client.km.provisioner.pid)  # the kernel leads a group of processes

    client = NotebookClient(
        notebook,
        timeout=CELL_S,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
        on_notebook_start=started,
    )
    try:
        client.execute()
    finally:
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)
        for cell in notebook.cells:
            cell.source = cell.source.replace(port, DEFAULT_PORT)


def shown(notebook: NotebookNode) -> Iterator[str]:
    """What each cell of code prints or gives, as text without colours.

    Not what goes to the standard error, nor what is only displayed: how far long work is, which
    shows where a machine is slow.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            printed = [one.text for one in cell.outputs if one.get("name") == "stdout"]
            given = [one for one in cell.outputs if one.output_type == "execute_result"]
            texts = [*printed, *(one.data["text/plain"] for one in given)]
            lines = _COLOURS.sub("", "".join(texts)).splitlines()
            yield "\n".join(line.rstrip() for line in lines)


def write() -> None:
    """Run the notebook, and write it with what it shows."""
    notebook, port = nbformat.read(NOTEBOOK, 4), free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment(Path(folder), str(port)))
        execute(notebook, Path(folder), str(port))
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "text" in output:
                output.text = _COLOURS.sub("", output.text)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    write()
