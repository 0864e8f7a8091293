"""What `modal_command` starts: `python -m modal ARGUMENTS`, which ends when the process that started it has gone.

Run as a script: FD ARGUMENTS. FD is the reading end of a pipe whose other end that process alone holds and never
writes to: however it ends (kill -9 too), the kernel closes it, on Linux as on macOS. Nobody would see then what is
published, nor prove it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

GRACE_S = 5.0  # after an interrupt, for the client to tell the server


def end_with(pipe: int) -> None:
    """Wait for the other end to be closed, then interrupt our process group, then end it."""
    os.read(pipe, 1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # a pipe that nobody reads would break in the middle of the goodbye
        os.dup2(nowhere, output)
    os.killpg(os.getpgrp(), signal.SIGINT)
    time.sleep(GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """As `python -m modal` would: its name, the current folder on the path."""
    pipe, arguments = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a script otherwise
    threading.Thread(target=end_with, args=(pipe,), daemon=True).start()
    sys.argv[1:] = arguments
    sys.path.insert(0, os.getcwd())
    runpy.run_module("modal", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
