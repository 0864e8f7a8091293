"""The command line inside the test process: exit code, standard output, standard error."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from planner.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


def gpuplan(*arguments: str) -> Done:
    """Run `gpuplan ARGUMENTS`; there is no terminal."""
    out, err = io.StringIO(), io.StringIO()
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdin = stdin
    return Done(code, out.getvalue(), err.getvalue())
