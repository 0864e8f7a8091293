"""The console script, and `python -m planner`: a command, then out, with no more than that command needs of Python."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

gc.disable()  # what a start allocates stays until the end: looking for garbage in it finds none

from planner.cli import main  # noqa: E402 - importing click is part of the start

# Commands that read, reckon and print: nothing of theirs runs on, so nothing is to be taken down at the end.
ANSWERS = frozenset({"plan", "cost", "fits", "validate", "schema", "models", "gpus", "prices", "completion"})


def script() -> None:
    """Run the command line. Python's own teardown is a sixth of a plan's time; an answer that is printed skips it."""
    open_streams()
    if len(sys.argv) > 1 and not (sys.argv[1].startswith("-") or sys.argv[1] in ANSWERS):
        gc.enable()
        main()
        return
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        leave(end.code or 0)
    leave(0)


def open_streams() -> None:
    """A stream that was closed leads nowhere; a character that an old terminal has not is printed as ?."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - until the process ends
        elif mode == "w":
            stream.reconfigure(errors="replace")


def leave(code: int) -> None:
    """End the process now; a reader that went away early (`gpuplan models | head`) is no failure."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # gone, closed, or never there
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    script()
