"""The command line's entry: runs a verb, and ends with the exit code that its outcome has.

An error of Tegula's own is one block without a traceback; anything else is a fault of Tegula, said
so in one line. `--debug`, anywhere on the line, shows where either came from. `exits` lists the
codes.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from ..engine.progress import stderr
from ..schemas.errors import TegulaError
from . import dataset_verbs as _dataset_verbs  # noqa: F401 - declares its verb
from . import history_verbs as _history_verbs  # noqa: F401 - declares its verbs
from .exits import INTERNAL, INTERRUPTED, OK, exit_code
from .output import note, write_error
from .verbs import app

__all__ = ["app", "main", "program"]

DEBUG = "--debug"


def program() -> NoReturn:
    """What the process `tegula` does: `main`, at less cost at its beginning and its end.

    A quarter of the second that a command takes went to the collector and to taking the interpreter
    apart (measured). What imports make is no garbage, and when `main` returns all is closed.
    """
    gc.set_threshold(100_000, 20, 50)
    code = main()
    atexit._run_exitfuncs()  # noqa: SLF001 - what libraries do at the end, all but the taking apart
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. `arguments` are those of the process without it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    words = [word for word in given if word != DEBUG]
    as_json = "--json" in words
    try:
        app(args=words, prog_name="tegula")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python must not complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except TegulaError as error:
        if debug:
            traceback.print_exc()
        write_error(error, as_json)
        return exit_code(error)
    except Exception as fault:  # noqa: BLE001 (the edge of the program)
        if debug:
            traceback.print_exc()
        stderr.print(f"TG-000: a fault of Tegula itself: {fault!r}", style="bold red", markup=False)
        note(f"  `{DEBUG}` shows where; please report it with that")
        return INTERNAL
    return OK


if __name__ == "__main__":
    program()
